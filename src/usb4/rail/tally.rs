// SPDX-License-Identifier: GPL-2.0-only

//! What happened on a rail, for people: counts over all its lives, how it is now, and a table of both.
//!
//! The counts lie in the halves, under the locks that a frame takes anyway. `docs/status.md` says how
//! to read the table.

use core::fmt;

use super::id::RailId;
use super::port::Down;

/// What was sent on a rail, in all its lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxTally {
    /// Frames put into the ring.
    pub posted: u64,
    /// Frames the ring has sent.
    pub completed: u64,
    /// Control frames among those posted: credits, probes, answers, goodbyes.
    pub control: u64,
    /// Times that packets waited for the peer's ring.
    pub starved: u64,
    /// Lives begun.
    pub lives: u32,
    /// Lives that we ended because frames did not arrive, or could not be sent.
    pub given_up: u32,
    /// Lives that the peer ended.
    pub by_peer: u32,
    /// Lives that ended because the peer broke the rules.
    pub violations: u32,
}

impl TxTally {
    /// A life ends.
    pub(super) fn ended(&mut self, why: Down) {
        let count = match why {
            Down::Stalled | Down::Silent | Down::Starved => &mut self.given_up,
            Down::Peer | Down::Closed(_) => &mut self.by_peer,
            Down::Violation => &mut self.violations,
            Down::Local => return,
        };
        *count = count.wrapping_add(1);
    }
}

/// What was received on a rail, in all its lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RxTally {
    /// Frames taken.
    pub frames: u64,
    /// Times that a frame was not the next one.
    pub gaps: u64,
    /// Frames that those gaps lack.
    pub missing: u64,
    /// Frames that the ring marked as damaged: they are missing, too.
    pub damaged: u64,
    /// Frames refused, see [`Refused`](super::port::Refused).
    pub refused: u64,
}

impl RxTally {
    /// Frames are missing before one that came; or none are.
    #[inline]
    pub(super) fn gap(&mut self, missing: u32) {
        if missing != 0 {
            self.gaps = self.gaps.wrapping_add(1);
            self.missing = self.missing.wrapping_add(missing.into());
        }
    }

    /// A frame is taken.
    #[inline]
    pub(super) fn frame(&mut self) {
        self.frames = self.frames.wrapping_add(1);
    }
}

/// Whether a rail carries packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It does.
    Up,
    /// The peer has not answered yet.
    Joining,
    /// Another rail says that the peer is there, and this one is silent.
    Suspect,
    /// It has no life.
    Down,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Joining => "joining",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// The sending end of a rail, as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxView {
    /// Whether it carries packets.
    pub state: State,
    /// Frames in the ring.
    pub in_flight: u32,
    /// Frames the ring has room for.
    pub room: u32,
    /// Frames the peer's ring has room for.
    pub credit: u32,
    /// Frames the peer was not seen to receive.
    pub unseen: u32,
    /// The counts.
    pub tally: TxTally,
}

/// The receiving end of a rail, as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RxView {
    /// Frames held: those before them have not come yet, on this rail or another.
    pub held: u32,
    /// Frames in the ring, for the peer to fill.
    pub room: u32,
    /// The counts.
    pub tally: RxTally,
}

/// A line of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RailView<'a> {
    /// Which rail.
    pub id: RailId,
    /// One half.
    pub tx: TxView,
    /// The other half.
    pub rx: RxView,
    /// Why its last life ended, if one did.
    pub ended: Option<&'a str>,
}

/// Rails as a table for people.
///
/// ```text
///   sending         posted    completed  in flight    room  credit  unseen      control  starved
///     rail 0           812          812          0     511     502       3          122        0
///   receiving       frames         gaps    missing damaged refused    held         room
///     rail 0           810            0          0       0       0       0          511
///   lives            state        begun   given up by peer  broken  last ended
///     rail 0            up            1          0       0       0  -
/// ```
pub struct Table<'a>(pub &'a [RailView<'a>]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "  sending         posted    completed  in flight    room  credit  unseen      control  starved\n",
        )?;
        for rail in self.0 {
            let (id, tx) = (rail.id.get(), &rail.tx);
            let tally = &tx.tally;
            writeln!(
                f,
                "    rail {id} {:>13} {:>12} {:>10} {:>7} {:>7} {:>7} {:>12} {:>8}",
                tally.posted,
                tally.completed,
                tx.in_flight,
                tx.room,
                tx.credit,
                tx.unseen,
                tally.control,
                tally.starved,
            )?;
        }
        f.write_str(
            "  receiving       frames         gaps    missing damaged refused    held         room\n",
        )?;
        for rail in self.0 {
            let (id, rx) = (rail.id.get(), &rail.rx);
            let tally = &rx.tally;
            writeln!(
                f,
                "    rail {id} {:>13} {:>12} {:>10} {:>7} {:>7} {:>7} {:>12}",
                tally.frames,
                tally.gaps,
                tally.missing,
                tally.damaged,
                tally.refused,
                rx.held,
                rx.room,
            )?;
        }
        f.write_str(
            "  lives            state        begun   given up by peer  broken  last ended\n",
        )?;
        for rail in self.0 {
            let (id, tally) = (rail.id.get(), &rail.tx.tally);
            writeln!(
                f,
                "    rail {id} {:>13} {:>12} {:>10} {:>7} {:>7}  {}",
                rail.tx.state.name(),
                tally.lives,
                tally.given_up,
                tally.by_peer,
                tally.violations,
                rail.ended.unwrap_or("-"),
            )?;
        }
        Ok(())
    }
}
