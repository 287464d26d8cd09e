// SPDX-License-Identifier: GPL-2.0-only

//! One end of one cable's handshake: who asks, who answers, when a life of the rail begins and ends.
//!
//! ```text
//!                 open                      Ask answered, or their Login heard
//!     Closed ------------> Asking ------------------------------------------------> Agreed
//!       ^                  |    ^   rest over                     began               | |
//!       |                  |    '-------------- Resting <---- failed, down, Logout ---' |
//!       '------------------'----------- close, gone ------------------------------------'
//! ```
//!
//! Both ends run the same machine. Either end's Login is enough, and crossing ones make the same
//! life: an end says the same of itself in Login and Accept until that life is over. Whoever hears
//! a Login it has not answered yet knows that the other end has no life any more, so its own is
//! over, too; one that it has answered gets the same answer, for the first may have been lost.
//!
//! Nothing here sends, sleeps or takes anything down. The owner hands in what happens and does what
//! [`Login::step`] says, one step after the other, until that says [`Step::Wait`]; [`Login::hear`]
//! may come in between from elsewhere.
//!
//! A life that does not last is followed by a rest, longer each time, in which Logins are not
//! answered: neither a cable that carries control messages only nor a peer that logs in all the
//! time keeps this end busy.

use super::frame::hello::{Agreement, Cause, Hello, Message, Refusal, NO_WIRE};
use super::id::RailId;
use crate::rxe::time::{Nanos, Time};

/// The wait for another Login after the first one that was not answered; doubles each time.
pub const ASK_AGAIN: Nanos = Nanos::from_millis(250);
/// The longest such wait.
pub const ASK_AGAIN_MAX: Nanos = Nanos::from_millis(4_000);
/// The wait after a refusal: nothing changes until somebody loads another version, and then the
/// other end logs in.
pub const REFUSED: Nanos = Nanos::from_millis(60_000);
/// The wait after a Logout: whoever logs out to begin anew logs in itself.
pub const LOGGED_OUT: Nanos = Nanos::from_millis(500);
/// A life that is shorter counts as failed. Longer than one in which the peer never answers on the rail.
pub const SHORT: Nanos = Nanos::from_millis(8_000);
/// The rest after the second failure in a row; doubles each time.
pub const REST: Nanos = Nanos::from_millis(100);
/// The longest rest.
pub const REST_MAX: Nanos = Nanos::from_millis(5_000);

/// What both ends agreed on, and in which words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// What we said of us.
    pub mine: Hello,
    /// What they said of them.
    pub theirs: Hello,
    /// What follows.
    pub agreement: Agreement,
}

/// What becomes of the wire's numbers when a rail comes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbers {
    /// They go on.
    GoOn,
    /// They begin anew, at both ends: rails from before are dead.
    BeginAnew,
    /// One end has begun anew since this life was agreed on, or did not know yet whose cable it is.
    /// The next life will tell.
    AskAgain,
}

impl Life {
    /// What becomes of the numbers, at an end that would now say `wire` of itself, see
    /// [`Hello::wire`]. `is_same`: it is the load of the peer's module that the wire began with.
    ///
    /// Both ends go by what both have said, so both begin anew or neither does, unless one of them asks
    /// again; and whoever has begun anew alone says another wire the next time.
    pub fn numbers(&self, wire: u32, is_same: bool) -> Numbers {
        let has = |wire: u32| wire & NO_WIRE == 0;
        let (mine, theirs) = (self.mine.wire, self.theirs.wire);
        if wire == self.agreement.wire {
            // They began anew with another cable, and for the same reason.
            Numbers::GoOn
        } else if mine != wire {
            Numbers::AskAgain
        } else if !has(wire) {
            Numbers::BeginAnew
        } else if theirs == wire {
            Numbers::GoOn
        } else if !has(theirs) && is_same {
            // It may know us by other cables only. If it has forgotten us it says another wire soon.
            Numbers::AskAgain
        } else {
            Numbers::BeginAnew
        }
    }
}

/// What the owner is to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Take the rail of this life down.
    End(Life),
    /// Send [`Message::Logout`].
    Tell {
        /// Of which life.
        epoch: u8,
    },
    /// Bring the rail of this life up, then call [`Login::began`].
    Begin(Life),
    /// Send [`Message::Login`], then call [`Login::answered`].
    Ask(Hello),
    /// Nothing before this time, unless something happens.
    Wait(Time),
}

/// What people are told, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// We do not talk to the peer.
    WeRefuse(Refusal),
    /// The peer does not talk to us.
    TheyRefuse(Refusal),
}

/// One end of a cable.
#[derive(Debug)]
pub struct Login {
    /// What we say of us in the next life.
    mine: Hello,
    is_open: bool,
    /// The life that is agreed on.
    agreed: Option<Life>,
    /// When it was.
    since: Time,
    /// The life whose rail is up, or being brought up or down.
    present: Option<Life>,
    /// The peer is to hear that this life is over.
    tell: Option<u8>,
    /// No Login is sent before.
    ask_at: Time,
    unanswered: u32,
    /// No life is agreed on before.
    rest_until: Time,
    /// Lives in a row that did not last.
    failures: u32,
    /// Why no life can begin here, until `ask_at`.
    obstacle: Option<Refusal>,
    /// What people are to be told: of our refusals, and of theirs.
    news: [Option<News>; 2],
    /// What they were told last.
    told: [Option<News>; 2],
}

impl Login {
    /// An end that is closed. `mine` says what it offers, its epoch that no rail of this host to
    /// that peer had later ones: the peer may still speak of those, and a cable that is new here can
    /// be a rail by the number of an old one.
    pub fn new(mine: Hello) -> Self {
        Self {
            mine,
            is_open: false,
            agreed: None,
            since: Time::ZERO,
            present: None,
            tell: None,
            ask_at: Time::ZERO,
            unanswered: 0,
            rest_until: Time::ZERO,
            failures: 0,
            obstacle: None,
            news: [None; 2],
            told: [None; 2],
        }
    }

    /// The life that is agreed on, if there is one.
    pub fn agreed(&self) -> Option<&Life> {
        self.agreed.as_ref()
    }

    /// Whether we talk.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Begins to talk, or to talk again.
    pub fn open(&mut self, now: Time) {
        if !self.is_open {
            self.is_open = true;
            self.failures = 0;
            self.unanswered = 0;
            self.obstacle = None;
            self.rest_until = now;
            self.ask_at = now;
        }
    }

    /// Stops talking: we go away, and say so.
    pub fn close(&mut self) {
        self.tell = self.over();
        self.is_open = false;
    }

    /// Stops talking: the cable is out.
    pub fn gone(&mut self) {
        self.over();
        self.tell = None;
        self.is_open = false;
    }

    /// The rail of this life is down.
    pub fn down(&mut self, now: Time, epoch: u8) {
        if self.is_agreed(epoch) {
            self.tell = self.over();
            self.fail(now);
        }
    }

    /// The rail of this life is up, or the owner has undone what it did, and could not.
    ///
    /// With a refusal the peer hears it, until some time has passed.
    pub fn began(&mut self, now: Time, life: &Life, result: Result<(), Option<Refusal>>) {
        let Err(obstacle) = result else { return };
        self.present = None;
        if self.agreed.as_ref() == Some(life) {
            self.tell = self.over();
            self.fail(now);
        }
        if let Some(refusal) = obstacle {
            self.obstacle = Some(refusal);
            self.ask_at = now.after(REFUSED);
            self.say(News::WeRefuse(refusal));
        }
    }

    /// Takes a message of the peer's that is no answer. Returns the answer, if it gets one.
    pub fn hear(&mut self, now: Time, message: &Message) -> Option<Message> {
        match message {
            Message::Login(theirs) => self.hear_login(now, theirs),
            Message::Logout { epoch } => {
                if self.is_agreed(*epoch) {
                    self.over();
                    self.tell = None;
                    self.fail(now);
                    self.ask_at = self.ask_at.max(now.after(LOGGED_OUT));
                }
                Some(*message)
            }
            // These are answers.
            Message::Accept(_) | Message::Refuse(_) => None,
        }
    }

    fn hear_login(&mut self, now: Time, theirs: &Hello) -> Option<Message> {
        if !self.is_open {
            let (cause, ours, theirs) = (Cause::Shutdown, 0, 0);
            return Some(Message::Refuse(Refusal {
                cause,
                ours,
                theirs,
            }));
        }
        if let Some(life) = &self.agreed {
            if life.theirs == *theirs {
                return Some(Message::Accept(life.mine));
            }
            // They have none any more, and need not be told.
            self.over();
            self.tell = None;
            self.fail(now);
        }
        if now < self.rest_until {
            return None;
        }
        if let Some(refusal) = self.obstacle {
            if now < self.ask_at {
                return Some(Message::Refuse(refusal));
            }
        }
        let mine = self.mine;
        Some(match self.agree(now, theirs) {
            Ok(()) => Message::Accept(mine),
            Err(refusal) => Message::Refuse(refusal),
        })
    }

    /// What became of [`Step::Ask`]: the answer, or `None`.
    pub fn answered(&mut self, now: Time, asked: &Hello, answer: Option<&Message>) {
        if !self.is_open {
            return;
        }
        match answer {
            Some(Message::Accept(theirs)) => match &self.agreed {
                Some(life) if life.mine == *asked && life.theirs == *theirs => {}
                // They have been anew in between: before or after their Login, who knows.
                Some(_) => {
                    self.tell = self.over();
                    self.fail(now);
                }
                // They accepted what we do not say any more.
                None if self.mine != *asked => {}
                None => {
                    let _ = self.agree(now, theirs);
                }
            },
            Some(Message::Refuse(refusal)) => {
                if self.agreed.is_none() {
                    self.ask_at = now.after(REFUSED);
                    self.unanswered = 0;
                    if refusal.cause != Cause::Shutdown {
                        self.say(News::TheyRefuse(*refusal));
                    }
                }
            }
            Some(Message::Login(_) | Message::Logout { .. }) | None => {
                if self.agreed.is_none() {
                    let wait = longer(ASK_AGAIN, self.unanswered, ASK_AGAIN_MAX);
                    self.unanswered = self.unanswered.saturating_add(1);
                    self.ask_at = self.ask_at.max(now.after(wait));
                }
            }
        }
    }

    /// What to do next.
    pub fn step(&mut self, now: Time) -> Step {
        if let Some(life) = self.present {
            if self.agreed != Some(life) {
                self.present = None;
                return Step::End(life);
            }
            return Step::Wait(Time::NEVER);
        }
        if let Some(life) = self.agreed {
            // Who has agreed anew knows that the old life is over.
            self.tell = None;
            self.present = Some(life);
            return Step::Begin(life);
        }
        if let Some(epoch) = self.tell.take() {
            return Step::Tell { epoch };
        }
        if !self.is_open {
            return Step::Wait(Time::NEVER);
        }
        let at = self.ask_at.max(self.rest_until);
        if now < at {
            return Step::Wait(at);
        }
        self.obstacle = None;
        Step::Ask(self.mine)
    }

    /// Would go on with this wire, from the next life on.
    pub fn renew(&mut self, wire: u32) {
        if self.agreed.is_none() {
            self.mine.wire = wire;
        }
    }

    /// Calls the rail by another number, from the next life on.
    pub fn renumber(&mut self, rail: RailId) {
        if self.agreed.is_none() {
            self.mine.rail = rail;
        }
    }

    /// The number we would call the rail.
    pub fn number(&self) -> RailId {
        self.mine.rail
    }

    /// What people have not been told yet; call it until there is no more.
    pub fn news(&mut self) -> Option<News> {
        self.news.iter_mut().find_map(Option::take)
    }

    fn is_agreed(&self, epoch: u8) -> bool {
        let agreed = self.agreed.as_ref();
        agreed.is_some_and(|life| life.agreement.epoch == epoch)
    }

    fn agree(&mut self, now: Time, theirs: &Hello) -> Result<(), Refusal> {
        match self.mine.agree(theirs) {
            Ok(agreement) => {
                self.agreed = Some(Life {
                    mine: self.mine,
                    theirs: *theirs,
                    agreement,
                });
                self.since = now;
                self.unanswered = 0;
                self.told = [None; 2];
                self.news = [None; 2];
                Ok(())
            }
            Err(refusal) => {
                self.ask_at = now.after(REFUSED);
                self.say(News::WeRefuse(refusal));
                Err(refusal)
            }
        }
    }

    /// The life is over. Returns its epoch, if there was one.
    fn over(&mut self) -> Option<u8> {
        let epoch = self.agreed.take()?.agreement.epoch;
        self.mine.epoch = epoch.wrapping_add(1);
        Some(epoch)
    }

    /// Counts a life that is over, and rests after too many short ones.
    fn fail(&mut self, now: Time) {
        if now.since(self.since) >= SHORT {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.rest_until = match self.failures.checked_sub(2) {
            Some(earlier) => now.after(longer(REST, earlier, REST_MAX)),
            None => now,
        };
        self.ask_at = now;
        self.unanswered = 0;
    }

    fn say(&mut self, news: News) {
        let place = match news {
            News::WeRefuse(_) => 0,
            News::TheyRefuse(_) => 1,
        };
        if self.told[place] != Some(news) {
            self.told[place] = Some(news);
            self.news[place] = Some(news);
        }
    }
}

/// Doubles a span some times, up to a limit.
fn longer(span: Nanos, times: u32, most: Nanos) -> Nanos {
    // Sixteen doublings are beyond any limit here.
    span.saturating_mul(1 << times.min(16)).min(most)
}
