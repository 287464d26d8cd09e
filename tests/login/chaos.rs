// SPDX-License-Identifier: GPL-2.0-only

//! Anything at any time; then quiet.

use proptest::prelude::*;
use usb4_rxe::rxe::time::Time;
use usb4_rxe::usb4::rail::frame::hello::{Capabilities, Cause, Hello, Message, Refusal};
use usb4_rxe::usb4::rail::login::{Login, Step};

use crate::rng::Rng;
use crate::world::{hello, ms, World};

/// Longer than anything waits.
const QUIET_MS: u64 = 70_000;

fn disturb(world: &mut World, rng: &mut Rng) {
    let at = rng.below(2) as usize;
    match rng.below(12) {
        0 => world.crash(at),
        1 | 2 => world.open(at),
        3 => world.close(at),
        4..=6 => world.kill_rail(at),
        7 => world.ends[at].fault = Some(None),
        8 => {
            let (cause, ours, theirs) = (Cause::Rails, 8, 0);
            world.ends[at].fault = Some(Some(Refusal {
                cause,
                ours,
                theirs,
            }));
        }
        9 => world.ends[at].fault = None,
        10 => world.is_stalled = !world.is_stalled,
        _ => world.loss = rng.pick(&[0, 100, 500, 1000]),
    }
}

#[test]
fn after_anything_both_ends_have_the_same_life() {
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(seed);
        world.delay = ms(rng.pick(&[1, 20, 200, 400]));
        for _ in 0..rng.below(60) {
            disturb(&mut world, &mut rng);
            let span = ms(rng.pick(&[0, 1, 30, 300, 3_000]));
            world.run(span);
        }
        world.loss = 0;
        world.is_stalled = false;
        for at in 0..2 {
            world.ends[at].fault = None;
            world.open(at);
        }
        world.run(ms(QUIET_MS));
        assert!(
            world.is_joined(),
            "seed {seed}: the ends did not find each other"
        );
        let lives = [world.ends[0].lives, world.ends[1].lives];
        world.run(ms(QUIET_MS));
        assert_eq!(
            lives,
            [world.ends[0].lives, world.ends[1].lives],
            "seed {seed}: it did not last"
        );
    }
}

#[test]
fn with_half_of_the_messages_lost_it_takes_some_seconds() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.loss = 500;
        world.open(0);
        world.open(1);
        world.run(ms(60_000));
        assert!(world.is_joined(), "seed {seed}");
    }
}

/// A message that a hostile peer might send.
fn any_message() -> impl Strategy<Value = Message> {
    let some_hello = (any::<u8>(), any::<u8>(), 0..3u64, any::<u8>(), any::<u16>()).prop_map(
        |(epoch, max_version, instance, offers, hop)| Hello {
            epoch,
            max_version: max_version % 3,
            offers: Capabilities(u32::from(offers % 4)),
            hop,
            ..hello(instance)
        },
    );
    prop_oneof![
        4 => some_hello.clone().prop_map(Message::Login),
        2 => some_hello.prop_map(Message::Accept),
        1 => any::<u8>().prop_map(|epoch| Message::Logout { epoch }),
        1 => any::<[u8; 40]>().prop_map(|bytes| {
            Message::parse(&bytes).unwrap_or(Message::Logout { epoch: bytes[0] })
        }),
    ]
}

proptest! {
    /// Whatever a peer says, and whenever: steps make sense, and a peer that talks all the time
    /// does not keep us busy.
    #[test]
    fn a_peer_that_lies_gets_little_done(
        says in proptest::collection::vec((any_message(), 0..40u64, any::<bool>()), 1..400),
    ) {
        let mut login = Login::new(hello(1));
        let mut now = Time(1);
        login.open(now);
        let (mut rail, mut lives) = (None, 0u64);
        let mut asked: Option<Hello> = None;
        for (message, span, is_answer) in says {
            now = now.after(ms(span));
            if is_answer {
                if let Some(asked) = asked.take() {
                    login.answered(now, &asked, Some(&message));
                }
            } else {
                let answer = login.hear(now, &message);
                prop_assert!(!matches!(answer, Some(Message::Login(_))));
            }
            if asked.is_some() {
                continue;
            }
            for round in 0.. {
                prop_assert!(round < 10, "never rests");
                match login.step(now) {
                    Step::Begin(life) => {
                        prop_assert!(rail.is_none());
                        prop_assert_ne!(life.agreement.epoch, 0);
                        rail = Some(life);
                        lives += 1;
                        login.began(now, &life, Ok(()));
                    }
                    Step::End(life) => prop_assert_eq!(rail.take(), Some(life)),
                    Step::Tell { .. } => {}
                    Step::Ask(mine) => {
                        asked = Some(mine);
                        break;
                    }
                    Step::Wait(until) => {
                        prop_assert!(until > now);
                        break;
                    }
                }
            }
        }
        // The first ones come for nothing, then each costs a rest.
        prop_assert!(lives <= 8 + now.0 / 100_000_000, "{} lives in {} ms", lives, now.0 / 1_000_000);
    }
}
