// SPDX-License-Identifier: GPL-2.0-only

//! Two ends of a cable and the control channel between them.

use std::collections::BTreeMap;

use usb4_rxe::rxe::time::{Nanos, Time};
use usb4_rxe::usb4::rail::frame::header::VERSION;
use usb4_rxe::usb4::rail::frame::hello::{Capabilities, Hello, Message, Refusal};
use usb4_rxe::usb4::rail::id::RailId;
use usb4_rxe::usb4::rail::login::{Life, Login, News, Step};

use crate::rng::Rng;

/// How long an owner waits for an answer.
const TIMEOUT: Nanos = Nanos::from_millis(250);
/// How long a rail waits for the other end, see `rail::config`.
const JOIN: Nanos = Nanos::from_millis(1_000);

pub fn ms(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

/// What an end says of itself.
pub fn hello(instance: u64) -> Hello {
    Hello {
        min_version: VERSION,
        max_version: VERSION,
        epoch: 1,
        offers: Capabilities::E2E.with(Capabilities::TRAINS),
        requires: Capabilities::REQUIRED,
        instance,
        wire: 0,
        rx_ring: 511,
        tx_ring: 511,
        hop: 8,
        rail: RailId::new((instance % 8) as u8).unwrap(),
    }
}

#[derive(Debug)]
enum Event {
    /// A question arrives at an end.
    Question(usize, u64, Message),
    /// An answer arrives.
    Answer(usize, u64, Message),
    /// The owner gives up waiting for it.
    Timeout(usize, u64),
    /// The owner's timer.
    Wake(usize),
    /// The rail at this end hears nothing from the other.
    Silence(usize, Life),
}

pub struct End {
    pub login: Login,
    /// The life whose rail is up.
    pub rail: Option<Life>,
    /// The question out, and what was asked if it was a Login.
    waiting: Option<(u64, Option<Hello>)>,
    /// Rails fail to come up like this.
    pub fault: Option<Option<Refusal>>,
    /// Lives begun.
    pub lives: u32,
    pub asked: u32,
    pub news: Vec<News>,
    /// In no state to do anything: the host is off, or has no module.
    pub is_off: bool,
}

pub struct World {
    pub now: Time,
    pub ends: [End; 2],
    pub rng: Rng,
    /// Control messages lost, per mille.
    pub loss: u64,
    /// The longest time a control message takes.
    pub delay: Nanos,
    /// Rails do not carry frames.
    pub is_stalled: bool,
    events: BTreeMap<(Time, u64), Event>,
    next: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let end = |instance| End {
            login: Login::new(hello(instance)),
            rail: None,
            waiting: None,
            fault: None,
            lives: 0,
            asked: 0,
            news: Vec::new(),
            is_off: true,
        };
        Self {
            now: Time(1),
            ends: [end(1), end(2)],
            rng: Rng::new(seed),
            loss: 0,
            delay: ms(5),
            is_stalled: false,
            events: BTreeMap::new(),
            next: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn put(&mut self, after: Nanos, event: Event) {
        let key = (self.now.after(after), self.number());
        self.events.insert(key, event);
    }

    fn send(&mut self, event: Event) {
        if !self.rng.chance(self.loss) {
            let after = Nanos(self.rng.below(self.delay.get()).max(1));
            self.put(after, event);
        }
    }

    /// The module is loaded at one end, or the service probed.
    pub fn open(&mut self, at: usize) {
        self.ends[at].is_off = false;
        self.ends[at].login.open(self.now);
        self.carry_out(at);
    }

    /// The end closes in good order.
    pub fn close(&mut self, at: usize) {
        self.ends[at].login.close();
        self.carry_out(at);
    }

    /// A host loses all memory and begins with another instance. Its rail is gone with it.
    pub fn crash(&mut self, at: usize) {
        let instance = self.number() + 10;
        let end = &mut self.ends[at];
        end.login = Login::new(hello(instance));
        end.rail = None;
        end.waiting = None;
        end.is_off = true;
    }

    /// The wire says that the rail is dead.
    pub fn kill_rail(&mut self, at: usize) {
        if let Some(life) = self.ends[at].rail {
            self.ends[at].login.down(self.now, life.agreement.epoch);
            self.carry_out(at);
        }
    }

    pub fn carry_out(&mut self, at: usize) {
        for _ in 0..1000 {
            let now = self.now;
            let end = &mut self.ends[at];
            if end.is_off || end.waiting.is_some() {
                return;
            }
            let step = end.login.step(now);
            while let Some(news) = end.login.news() {
                end.news.push(news);
            }
            match step {
                Step::Begin(life) => {
                    assert_eq!(end.rail, None, "a life began before the last one ended");
                    end.lives += 1;
                    match end.fault {
                        Some(fault) => end.login.began(now, &life, Err(fault)),
                        None => {
                            end.rail = Some(life);
                            end.login.began(now, &life, Ok(()));
                            self.put(JOIN, Event::Silence(at, life));
                        }
                    }
                }
                Step::End(life) => {
                    assert_eq!(end.rail.take(), Some(life), "ended what never began")
                }
                Step::Ask(mine) => {
                    end.asked += 1;
                    self.ask(at, Message::Login(mine), Some(mine));
                }
                Step::Tell { epoch } => self.ask(at, Message::Logout { epoch }, None),
                Step::Wait(Time::NEVER) => return,
                Step::Wait(until) => {
                    assert!(until > now, "the owner would never rest");
                    self.put(until.since(now), Event::Wake(at));
                    return;
                }
            }
        }
        panic!("the owner never rests");
    }

    fn ask(&mut self, at: usize, message: Message, login: Option<Hello>) {
        let number = self.number();
        self.ends[at].waiting = Some((number, login));
        self.send(Event::Question(1 - at, number, message));
        self.put(TIMEOUT, Event::Timeout(at, number));
    }

    fn answered(&mut self, at: usize, number: u64, answer: Option<&Message>) {
        match self.ends[at].waiting {
            Some((waiting, login)) if waiting == number => {
                self.ends[at].waiting = None;
                if let Some(asked) = login {
                    self.ends[at].login.answered(self.now, &asked, answer);
                }
                self.carry_out(at);
            }
            // Too late.
            _ => {}
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Question(at, number, message) => {
                if self.ends[at].is_off {
                    return;
                }
                let answer = self.ends[at].login.hear(self.now, &message);
                if let Some(answer) = answer {
                    self.send(Event::Answer(1 - at, number, answer));
                }
                self.carry_out(at);
            }
            Event::Answer(at, number, answer) => self.answered(at, number, Some(&answer)),
            Event::Timeout(at, number) => self.answered(at, number, None),
            Event::Wake(at) => self.carry_out(at),
            Event::Silence(at, life) => {
                if self.ends[at].rail == Some(life) {
                    if self.is_stalled || !self.is_joined() {
                        self.kill_rail(at);
                    } else {
                        // Somebody listens all the time.
                        self.put(ms(100), Event::Silence(at, life));
                    }
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Nanos) {
        let end = self.now.after(span);
        while let Some((&(time, number), _)) = self.events.first_key_value() {
            if time > end {
                break;
            }
            self.now = time;
            if let Some(event) = self.events.remove(&(time, number)) {
                self.happen(event);
            }
        }
        self.now = end;
    }

    /// Whether both ends have the same life, each from its side.
    pub fn is_joined(&self) -> bool {
        match (&self.ends[0].rail, &self.ends[1].rail) {
            (Some(a), Some(b)) => {
                a.agreement.epoch == b.agreement.epoch
                    && a.agreement.rail == b.agreement.rail
                    && a.mine == b.theirs
                    && a.theirs == b.mine
            }
            _ => false,
        }
    }

    pub fn epoch(&self) -> u8 {
        self.ends[0]
            .rail
            .as_ref()
            .map_or(0, |life| life.agreement.epoch)
    }
}
