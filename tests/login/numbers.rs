// SPDX-License-Identifier: GPL-2.0-only

//! Two hosts, several cables between them, and what they remember of each other: the numbers of a wire go
//! on at both ends, or begin anew at both.

use proptest::prelude::*;
use usb4_rxe::usb4::rail::frame::hello::NO_WIRE;
use usb4_rxe::usb4::rail::login::{Life, Numbers};

use crate::world::hello;

const CABLES: usize = 3;

#[derive(Default)]
struct End {
    /// Of this load of the module.
    instance: u64,
    forgotten: u32,
    /// The name of the wire; 0: none.
    wire: u32,
    /// The instance at the other end when it began.
    met: u64,
    /// How far the numbers are.
    number: u32,
    cables: [Cable; CABLES],
}

#[derive(Default)]
struct Cable {
    /// It is known whom it leads to.
    is_known: bool,
    /// Agreed on, and not begun.
    agreed: Option<Life>,
    /// Which life's rail is up.
    up: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Both ends agree on a life.
    Agree(usize),
    /// One end begins it.
    Begin(usize, usize),
    /// One end forgets the other, and stays loaded.
    Forget(usize),
    /// One end is loaded anew.
    Load(usize),
    /// A cable is out; known by its router when it comes again, or not.
    Pull(usize, [bool; 2]),
    /// A packet goes over each rail that is up at both ends.
    Packets,
}

impl End {
    fn says(&self, cable: usize) -> u32 {
        match self.cables[cable].is_known {
            true => self.name(),
            false => NO_WIRE | self.forgotten,
        }
    }

    fn name(&self) -> u32 {
        match self.wire {
            0 => NO_WIRE | self.forgotten,
            wire => wire,
        }
    }

    fn forget(&mut self) {
        self.wire = 0;
        self.number = 0;
        self.forgotten += 1;
        self.cables.iter_mut().for_each(|cable| cable.up = None);
    }

    fn begin(&mut self, at: usize, serial: u32) {
        let Some(life) = self.cables[at].agreed.take() else {
            return;
        };
        self.cables[at].is_known = true;
        match life.numbers(self.name(), self.met == life.theirs.instance) {
            Numbers::AskAgain => return,
            Numbers::GoOn => {}
            Numbers::BeginAnew => {
                self.cables.iter_mut().for_each(|cable| cable.up = None);
                self.number = 0;
                self.wire = life.agreement.wire;
                self.met = life.theirs.instance;
            }
        }
        self.cables[at].up = Some(serial);
    }
}

struct World {
    ends: [End; 2],
    /// Of each cable's last life.
    serials: [u32; CABLES],
    loads: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            ends: Default::default(),
            serials: [0; CABLES],
            loads: 0,
        };
        world.load(0);
        world.load(1);
        world
    }

    fn load(&mut self, end: usize) {
        self.loads += 1;
        self.ends[end] = End {
            instance: self.loads.wrapping_mul(0x1234_5678_9abc_def1),
            ..End::default()
        };
    }

    fn agree(&mut self, cable: usize) {
        let says = [0, 1].map(|end: usize| {
            let end = &self.ends[end];
            let mut hello = hello(end.instance);
            hello.wire = end.says(cable);
            hello
        });
        self.serials[cable] += 1;
        for (end, (mine, theirs)) in [(says[0], says[1]), (says[1], says[0])]
            .into_iter()
            .enumerate()
        {
            let agreement = mine.agree(&theirs).expect("nothing speaks against it");
            let cable = &mut self.ends[end].cables[cable];
            cable.up = None;
            cable.agreed = Some(Life {
                mine,
                theirs,
                agreement,
            });
        }
    }

    fn packets(&mut self) {
        for cable in 0..CABLES {
            let [a, b] = &mut self.ends;
            if a.cables[cable].up.is_some() && a.cables[cable].up == b.cables[cable].up {
                assert_eq!((a.wire, a.number), (b.wire, b.number), "cable {cable}");
                a.number += 1;
                b.number += 1;
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Agree(cable) => self.agree(cable),
            Event::Begin(end, cable) => self.ends[end].begin(cable, self.serials[cable]),
            Event::Forget(end) => self.ends[end].forget(),
            Event::Load(end) => self.load(end),
            Event::Pull(cable, known) => {
                for (end, known) in self.ends.iter_mut().zip(known) {
                    let is_known = end.cables[cable].is_known && known;
                    end.cables[cable] = Cable {
                        is_known,
                        ..Cable::default()
                    };
                }
            }
            Event::Packets => self.packets(),
        }
    }

    /// Logs in on all cables until all rails are up; returns how often.
    fn settle(&mut self) -> u32 {
        for round in 1..10 {
            for cable in 0..CABLES {
                let [a, b] = &self.ends;
                if a.cables[cable].up.is_none() || a.cables[cable].up != b.cables[cable].up {
                    self.agree(cable);
                }
            }
            // The ends go about it in their own order.
            for cable in 0..CABLES {
                self.happens(Event::Begin(0, cable));
                self.happens(Event::Begin(1, CABLES - 1 - cable));
            }
            self.packets();
            let is_up = |end: &End| end.cables.iter().all(|cable| cable.up.is_some());
            let [a, b] = &self.ends;
            if is_up(a) && is_up(b) && (0..CABLES).all(|at| a.cables[at].up == b.cables[at].up) {
                return round;
            }
        }
        panic!("they never agree");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let cable = || 0..CABLES;
    let end = || 0..2usize;
    prop_oneof![
        8 => cable().prop_map(Event::Agree),
        16 => (end(), cable()).prop_map(|(end, cable)| Event::Begin(end, cable)),
        8 => Just(Event::Packets),
        1 => end().prop_map(Event::Forget),
        1 => end().prop_map(Event::Load),
        2 => (cable(), any::<[bool; 2]>()).prop_map(|(cable, known)| Event::Pull(cable, known)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn both_ends_go_on_or_begin_anew(events in proptest::collection::vec(any_event(), 1..120)) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
        }
        let rounds = world.settle();
        prop_assert!(rounds <= 5, "{rounds} rounds");
    }
}

#[test]
fn one_more_cable_disturbs_nobody() {
    let mut world = World::new();
    assert_eq!(
        world.settle(),
        1,
        "all cables of two that meet are one beginning"
    );
    for _ in 0..5 {
        world.packets();
    }
    let number = world.ends[0].number;
    // Its router was never seen by one end, or by both.
    for known in [[false, false], [true, false], [false, true]] {
        world.happens(Event::Pull(1, known));
        world.settle();
        assert!(world.ends[0].number > number && world.ends[1].number > number);
    }
}

#[test]
fn who_has_forgotten_makes_the_other_begin_anew() {
    let mut world = World::new();
    world.settle();
    for _ in 0..5 {
        world.packets();
    }
    world.happens(Event::Forget(1));
    for cable in 0..CABLES {
        world.happens(Event::Pull(cable, [true, true]));
    }
    world.settle();
    assert_eq!(world.ends[0].number, world.ends[1].number);
    assert!(world.ends[0].number < 10);
}
