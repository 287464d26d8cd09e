// SPDX-License-Identifier: GPL-2.0-only

//! Clients that mean harm or are broken: each costs its own connection at most, and leaves nothing behind.

mod common;

use std::cell::RefCell;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use common::{guest_memory, message, Fabric, RawClient};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use vnhi::vfio_user::message::{
    command, DmaMap, RegionAccess, SetIrqs, FLAG_NO_REPLY, IRQ_ACTION_TRIGGER, IRQ_DATA_EVENTFD,
};
use zerocopy::IntoBytes;

fn read_request() -> RegionAccess {
    RegionAccess {
        offset: 0x3_9640.into(),
        region: 0.into(),
        count: 4.into(),
    }
}

fn send_with_fds(client: &RawClient, bytes: &[u8], fds: &[&dyn AsFd]) {
    let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    let bytes = [IoSlice::new(bytes)];
    sendmsg(&client.socket, &bytes, &mut control, SendFlags::empty()).unwrap();
}

/// The fabric serves others, and the router is free for the next machine.
fn assert_unharmed(fabric: &Fabric, other: &mut RawClient) {
    let read = other.ask(command::REGION_READ, read_request().as_bytes());
    assert_eq!(read.unwrap().len(), 20);
    let mut next = RawClient::attach(fabric, "1.0");
    let read = next.ask(command::REGION_READ, read_request().as_bytes());
    assert_eq!(read.unwrap().len(), 20);
    assert!(fabric.is_well());
}

#[test]
fn garbage_ends_only_its_own_connection() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let mut other = RawClient::attach(&fabric, "2.0");
    for garbage in [&[0xff; 4096][..], &[0; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = RawClient::connect(&fabric, "1.0");
        client.socket.write_all(garbage).unwrap();
        assert!(client.is_ended());
        assert_unharmed(&fabric, &mut other);
    }
}

#[test]
fn half_a_message_waits_and_then_is_forgotten() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let mut other = RawClient::attach(&fabric, "2.0");
    let mut client = RawClient::attach(&fabric, "1.0");
    let read = message(command::REGION_READ, 0, read_request().as_bytes());
    client.socket.write_all(&read[..20]).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    client.socket.write_all(&read[20..]).unwrap();
    assert!(client.reply().is_ok());
    client.socket.write_all(&read[..20]).unwrap();
    drop(client);
    assert_unharmed(&fabric, &mut other);
}

#[test]
fn a_client_that_says_nothing_holds_up_nobody() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let silent = RawClient::connect(&fabric, "1.0");
    let mut other = RawClient::attach(&fabric, "2.0");
    drop(silent);
    assert_unharmed(&fabric, &mut other);
}

#[test]
fn floods_of_file_descriptors_are_closed() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let mut other = RawClient::attach(&fabric, "2.0");
    let before = fabric.open_files();
    let file = std::fs::File::open("/dev/null").unwrap();
    let many: Vec<&dyn AsFd> = vec![&file; 250];
    let mut client = RawClient::attach(&fabric, "1.0");
    let read = message(command::REGION_READ, 0, read_request().as_bytes());
    for _ in 0..100 {
        send_with_fds(&client, &read, &many);
        assert_eq!(client.reply(), Err(24));
        send_with_fds(&client, &read, &many[..16]);
        assert!(client.reply().is_ok());
    }
    fabric.wait_for_open_files(before + 1);
    drop(client);
    assert_unharmed(&fabric, &mut other);
}

#[test]
fn wrong_file_descriptors_are_refused() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let mut client = RawClient::attach(&fabric, "1.0");
    let before = fabric.open_files();
    let map = DmaMap {
        argsz: 32.into(),
        flags: 3.into(),
        offset: 0.into(),
        address: 0.into(),
        size: 0x1000.into(),
    };
    let map = message(command::DMA_MAP, 0, map.as_bytes());
    let set = SetIrqs {
        argsz: 20.into(),
        flags: (IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER).into(),
        index: 2.into(),
        start: 0.into(),
        count: 1.into(),
    };
    let set = message(command::DEVICE_SET_IRQS, 0, set.as_bytes());
    let null = std::fs::File::open("/dev/null").unwrap();
    let memory = guest_memory(0x800);
    for (request, fd, errno) in [
        (&map, &null as &dyn AsFd, 1),
        (&map, &memory, 22),
        (&set, &null, 22),
        (&set, &memory, 22),
        (&map, &client.socket.try_clone().unwrap(), 1),
    ] {
        send_with_fds(&client, request, &[fd]);
        assert_eq!(client.reply(), Err(errno));
    }
    fabric.wait_for_open_files(before);
}

#[test]
fn a_client_that_reads_no_replies_is_not_waited_for() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let mut other = RawClient::attach(&fabric, "2.0");
    let mut client = RawClient::attach(&fabric, "1.0");
    client.socket.set_nonblocking(true).unwrap();
    let big = RegionAccess {
        count: 0x1_0000.into(),
        offset: 0.into(),
        region: 0.into(),
    };
    let read = message(command::REGION_READ, 0, big.as_bytes());
    let mut sent = 0;
    while sent < 10_000 && client.socket.write_all(&read).is_ok() {
        sent += 1;
    }
    assert!(sent < 10_000, "it swallows requests without end");
    let answer = other.ask(command::REGION_READ, read_request().as_bytes());
    assert!(answer.is_ok());
    drop(client);
    assert_unharmed(&fabric, &mut other);
}

#[test]
fn arbitrary_commands_do_no_harm() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let mut other = RawClient::attach(&fabric, "2.0");
    let client = RefCell::new(RawClient::attach(&fabric, "1.0"));
    let before = fabric.open_files();
    let values = prop_oneof![
        any::<u32>(),
        0u32..64,
        Just(u32::MAX),
        Just(0x8000_0000),
        (0u32..0x1_0000).prop_map(|register| register * 4),
    ];
    let words = prop::collection::vec(values, 0..12);
    let mut runner = TestRunner::new(Config::with_cases(2000));
    let done = runner.run(
        &(0u16..20, words, any::<bool>()),
        |(command, words, quiet)| {
            let flags = if quiet { FLAG_NO_REPLY } else { 0 };
            let bytes = message(command, flags, words.as_bytes());
            let mut client = client.borrow_mut();
            client.socket.write_all(&bytes).unwrap();
            if !quiet {
                let _ = client.reply();
            }
            Ok(())
        },
    );
    done.unwrap();
    fabric.wait_for_open_files(before);
    drop(client);
    assert_unharmed(&fabric, &mut other);
}
