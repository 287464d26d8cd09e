// SPDX-License-Identifier: GPL-2.0-only

//! Control packets: from ring 0 to the router or over a cable, and back into ring 0.

use crate::cable::{Content, End};
use crate::control::packet::{Kind, Packet, MAX_LEN};
use crate::control::request::{Refusal, Request, Space};
use crate::fabric::transfer::{Arrival, Payload};
use crate::fabric::Fabric;
use crate::router::Router;
use crate::sink::{Fate, Sink, TapFrame};
use crate::time::Time;

/// Most control packets of one host in one run.
const BUDGET: usize = 32;

impl Fabric {
    /// Takes requests from a host's ring 0. Says whether more may be there.
    pub(super) fn take_control(&mut self, now: Time, place: usize, sink: &mut dyn Sink) -> bool {
        for _ in 0..BUDGET {
            if self.nodes[place].busy() {
                return false;
            }
            let Some(descriptor) = self.next_transmit(place, 0) else {
                return false;
            };
            let mut bytes = vec![0; descriptor.length()];
            let read = self.memories[place].read(descriptor.buffer, &mut bytes);
            self.complete_transmit(place, 0, &descriptor);
            if bytes.len() > MAX_LEN {
                self.nodes[place].nhi.errors.bad_length += 1;
            } else if read.is_err() {
                self.nodes[place].nhi.errors.bad_buffer += 1;
            } else if let Some(packet) = Packet::parse(descriptor.eof(), &bytes) {
                self.handle_packet(now, place, &packet, sink);
            } else {
                self.nodes[place].nhi.errors.bad_packet += 1;
            }
        }
        true
    }

    fn handle_packet(&mut self, now: Time, place: usize, packet: &Packet, sink: &mut dyn Sink) {
        match packet.kind {
            Kind::Read | Kind::Write => match Request::parse(packet) {
                Some(request) => self.configure(place, &request),
                None => self.nodes[place].nhi.errors.bad_packet += 1,
            },
            Kind::XdomainRequest | Kind::XdomainResponse => {
                self.forward(now, place, packet, sink);
            }
            // Acknowledgements: an event is sent once, and cannot get lost on the way.
            Kind::Error | Kind::NotifyAck => {}
            Kind::Event => self.nodes[place].nhi.errors.bad_packet += 1,
        }
    }

    /// Reads or writes configuration space and answers.
    fn configure(&mut self, place: usize, request: &Request<'_>) {
        if let Some(adapter) = request.next_adapter() {
            let refusal = self.refuse_beyond(place, adapter);
            self.nodes[place].control.refused += 1;
            self.nodes[place].receive(&request.refuse(refusal));
            return;
        }
        if request.space == Space::Path {
            self.settle_paths(place);
        }
        let node = &mut self.nodes[place];
        let answer = match node.router.serve(request) {
            Ok(data) if request.data.is_some() => {
                node.control.writes += 1;
                request.answer(node.router.upstream(), &data)
            }
            Ok(data) => {
                node.control.reads += 1;
                request.answer(node.router.upstream(), &data)
            }
            Err(refusal) => {
                node.control.refused += 1;
                request.refuse(refusal)
            }
        };
        node.receive(&answer);
        if request.data.is_some() {
            self.links_changed = true;
            if request.space == Space::Path {
                self.settle_paths(place);
            }
        }
    }

    /// Routers beyond a cable are never this host's: they belong to the domain at the other end.
    fn refuse_beyond(&self, place: usize, adapter: u8) -> Refusal {
        let node = &self.nodes[place];
        match node.router.port_of(adapter) {
            None => Refusal::NoSuchAdapter,
            Some(port) => match node.cable(port) {
                Some(cable) if self.cables[cable].is_up() => Refusal::Locked,
                Some(_) | None => Refusal::NotConnected,
            },
        }
    }

    fn settle_paths(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        for port in 1..=node.router.ports() {
            let incoming = node.cable(port).and_then(|cable| {
                let cable = &self.cables[cable];
                let direction = cable.direction_from(End { node: place, port })?;
                Some(cable.pipe(direction.opposite()))
            });
            node.router
                .settle_paths(port, |hop| incoming.is_some_and(|pipe| pipe.under_way(hop)));
        }
    }

    /// Sends an XDomain packet over the cable that its route names.
    fn forward(&mut self, now: Time, place: usize, packet: &Packet, sink: &mut dyn Sink) {
        let Some((number, end)) = self.beyond(place, packet.route()) else {
            self.nodes[place].control.dropped += 1;
            return;
        };
        let far_end = Router::lane0(end.port);
        let packet = Packet::new(packet.kind, true, u64::from(far_end), packet.rest());
        let bytes = packet.to_bytes();
        let pdf = packet.kind.pdf();
        self.nodes[place].control.xdomain_sent += 1;
        let cable = &mut self.cables[number];
        let Some(direction) = cable.direction_from(end).map(|d| d.opposite()) else {
            return;
        };
        let pipe = cable.pipe_mut(direction);
        pipe.count(bytes.len());
        if pipe.is_direct() {
            self.arrive_control(now, number, end, pdf, bytes, sink);
        } else if !pipe.push(now, Content::Control { pdf }, bytes) {
            self.nodes[place].control.dropped += 1;
        }
    }

    /// The cable by which a route of one step leaves, and its far end, if the link is up.
    fn beyond(&self, place: usize, route: u64) -> Option<(usize, End)> {
        let node = &self.nodes[place];
        let port = node.router.port_of(u8::try_from(route).ok()?)?;
        let number = node.cable(port)?;
        let cable = &self.cables[number];
        let direction = cable.direction_from(End { node: place, port })?;
        cable.is_up().then(|| (number, cable.end_of(direction)))
    }

    /// A control packet has come over a cable.
    pub(super) fn arrive_control(
        &mut self,
        now: Time,
        number: usize,
        end: End,
        pdf: u8,
        bytes: Vec<u8>,
        sink: &mut dyn Sink,
    ) {
        let cable = &self.cables[number];
        if cable.tap {
            if let Some(direction) = cable.direction_from(end) {
                let frame = TapFrame {
                    cable: number,
                    direction: direction.opposite(),
                    hop: 0,
                    sof: 0,
                    eof: pdf,
                    crc_error: false,
                    fate: Fate::Delivered,
                    payload: &bytes,
                };
                sink.frame(now, &frame);
            }
        }
        self.nodes[end.node].receive_from_cable(pdf, bytes);
    }

    /// Writes waiting control packets into a host's ring 0, as far as it has buffers.
    pub(super) fn deliver_control(&mut self, place: usize) {
        if self.nodes[place].inbox.is_empty() {
            return;
        }
        if !self.nodes[place]
            .nhi
            .rx
            .first()
            .is_some_and(|ring| ring.enabled())
        {
            let node = &mut self.nodes[place];
            node.control.dropped += u64::try_from(node.inbox.len()).unwrap_or(0);
            node.inbox.clear();
            return;
        }
        while self.nodes[place].nhi.rx[0].posted() > 0 {
            let Some((pdf, bytes)) = self.nodes[place].inbox.pop_front() else {
                return;
            };
            let arrival = Arrival {
                sof: 0,
                eof: pdf,
                crc_error: false,
            };
            self.receive(place, 0, arrival, Payload::Bytes(&bytes));
        }
    }
}
