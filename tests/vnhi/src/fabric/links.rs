// SPDX-License-Identifier: GPL-2.0-only

//! Links: when they come up and go down, how wide they are, and who is told.

use crate::cable::{Cable, Content, End, Link, TRAINING};
use crate::control::request::plug_event;
use crate::fabric::Fabric;
use crate::router::adapter::{LaneState, LaneStatus};
use crate::router::Router;
use crate::time::Time;

impl Fabric {
    /// Looks at every cable: starts to train links whose ends are both ready, ends links where one is not any more.
    pub(super) fn update_links(&mut self, now: Time) {
        for number in 0..self.cables.len() {
            let cable = &self.cables[number];
            let ready = cable.plugged && cable.ends.iter().all(|end| self.is_ready(*end));
            match cable.link {
                Link::Down if ready => self.cables[number].link = Link::Training(now + TRAINING),
                Link::Training(until) if ready && until <= now => {
                    self.cables[number].link = Link::Up;
                    self.tell_ends(number, false);
                }
                Link::Training(_) | Link::Up if !ready => self.take_down(number),
                Link::Down | Link::Training(_) | Link::Up => {}
            }
            self.update_width(number);
            self.report(number);
        }
    }

    /// Ends a link at once: everything on the cable is lost, and who listens is told.
    pub(super) fn take_down(&mut self, number: usize) {
        self.links_changed = true;
        let was_up = self.cables[number].is_up();
        let cable = &mut self.cables[number];
        cable.link = Link::Down;
        cable.bonded = false;
        let ends = cable.ends;
        for (pipe, to) in cable.pipes.iter_mut().zip([ends[1], ends[0]]) {
            for frame in pipe.lose_all() {
                if let Content::Data {
                    reserved: Some(ring),
                    ..
                } = frame.content
                {
                    self.nodes[to.node].unreserve(ring);
                }
            }
        }
        for end in ends {
            let router = &mut self.nodes[end.node].router;
            for lane in router.lanes_mut(end.port) {
                lane.link_down();
            }
            router.settle_paths(end.port, |_| false);
        }
        if was_up {
            self.tell_ends(number, true);
        }
    }

    /// An end is ready when its machine is on, its connection manager listens for plug events, and the port is in use.
    fn is_ready(&self, end: End) -> bool {
        let node = &self.nodes[end.node];
        node.listens()
            && node.router.lanes(end.port).is_some_and(|(lane0, _)| {
                lane0.sends_events() && !lane0.in_reset() && !lane0.disabled()
            })
    }

    /// Sends plug events to the ends that listen.
    fn tell_ends(&mut self, number: usize, unplug: bool) {
        for end in self.cables[number].ends {
            let node = &mut self.nodes[end.node];
            let wanted = node
                .router
                .lanes(end.port)
                .is_some_and(|(lane0, _)| lane0.sends_events());
            if node.listens() && wanted {
                node.control.events += 1;
                node.receive(&plug_event(Router::lane0(end.port), unplug));
            }
        }
    }

    /// Two lanes are used when both connection managers want that, and one of them has bonded. A generation 4 link knows
    /// nothing else.
    fn update_width(&mut self, number: usize) {
        let cable = &self.cables[number];
        let lanes = cable
            .ends
            .map(|end| self.nodes[end.node].router.lanes(end.port));
        let [Some(a), Some(b)] = lanes else {
            return;
        };
        let both = |check: fn(&crate::router::adapter::Adapter) -> bool| {
            [a.0, a.1, b.0, b.1].into_iter().all(check)
        };
        let bonded = cable.is_up()
            && cable.lanes == 2
            && (cable.is_gen4()
                || both(|lane| lane.wants_dual() && !lane.disabled())
                    && (a.0.bonds() || b.0.bonds()));
        self.cables[number].bonded = bonded;
    }

    /// Lets software at both ends see the link.
    fn report(&mut self, number: usize) {
        let cable = &self.cables[number];
        let lane1_disabled = cable.ends.map(|end| {
            let lanes = self.nodes[end.node].router.lanes(end.port);
            lanes.is_some_and(|(_, lane1)| lane1.disabled())
        });
        for end in cable.ends {
            let own = usize::from(end == cable.ends[1]);
            let states = lane_states(cable, lane1_disabled[own], lane1_disabled[1 - own]);
            let possible = cable.link != Link::Down && cable.lanes == 2;
            let lanes = self.nodes[end.node].router.lanes_mut(end.port);
            for (lane, state) in lanes.iter_mut().zip(states) {
                let status = LaneStatus {
                    state,
                    gbps: cable.gbps(),
                    width: cable.width(),
                };
                lane.set_status(status, possible);
            }
        }
    }
}

/// The state of lane 0 and lane 1 at an end.
fn lane_states(cable: &Cable, disabled_here: bool, disabled_there: bool) -> [LaneState; 2] {
    let lane0 = match cable.link {
        Link::Down => LaneState::Unplugged,
        Link::Training(_) => LaneState::Training,
        Link::Up => LaneState::Up,
    };
    let lane1 = if disabled_here {
        LaneState::Disabled
    } else if cable.lanes < 2 || cable.link == Link::Down {
        LaneState::Unplugged
    } else if disabled_there {
        LaneState::Training
    } else {
        lane0
    };
    [lane0, lane1]
}
