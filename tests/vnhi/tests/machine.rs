// SPDX-License-Identifier: GPL-2.0-only

//! Machines at a served fabric, played by the client of the `vfio_user` crate: an implementation of the protocol that is not ours.

mod common;

use std::os::fd::AsRawFd;

use common::{guest_memory, Event, Fabric, RawClient, PATIENCE};
use vfio_user::Client;
use vnhi::vfio_user::message::{
    IRQ_ACTION_TRIGGER, IRQ_DATA_BOOL, IRQ_DATA_EVENTFD, IRQ_DATA_NONE,
};

const BAR0: u32 = 0;
const CONFIG: u32 = 7;
const MSIX: u32 = 2;

fn read32(client: &mut Client, region: u32, offset: u64) -> u32 {
    let mut data = [0; 4];
    client.region_read(region, offset, &mut data).unwrap();
    u32::from_le_bytes(data)
}

#[test]
fn a_machine_finds_a_usb4_host_router() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let mut client = Client::new(&fabric.socket("1.0")).unwrap();
    let size = |index| client.region(index).unwrap().size;
    assert_eq!((size(0), size(2), size(7)), (0x4_0000, 0x1000, 256));
    assert_eq!((size(1), size(6), size(8)), (0, 0, 0));
    let irqs = client.get_irq_info(MSIX).unwrap();
    assert_eq!((irqs.count, irqs.flags), (16, 1));
    assert_eq!(client.get_irq_info(0).unwrap().count, 0);
    assert_eq!(read32(&mut client, CONFIG, 0), 0x4e48_1b36);
    assert_eq!(read32(&mut client, CONFIG, 8) >> 8, 0x0c_0340);
}

#[test]
fn hop_counts_can_be_chosen() {
    for (arguments, hops) in [
        (&["--hosts", "2"][..], 12),
        (&["--hosts", "2", "--hops", "3"], 3),
    ] {
        let fabric = Fabric::start(arguments);
        let mut client = Client::new(&fabric.socket("2.0")).unwrap();
        let register = read32(&mut client, BAR0, 0x3_9640);
        assert_eq!(register & 0x3ff, hops);
    }
}

#[test]
fn memory_comes_and_goes_and_comes_again() {
    let fabric = Fabric::start(&["--hosts", "1"]);
    let before = fabric.open_files();
    let mut client = Client::new(&fabric.socket("1.0")).unwrap();
    let memory = guest_memory(0x20_0000);
    for _ in 0..50 {
        let fd = memory.as_raw_fd();
        client.dma_map(0, 0, 0xa_0000, fd).unwrap();
        client.dma_map(0x10_0000, 0x10_0000, 0x10_0000, fd).unwrap();
        client.dma_unmap(0, 0xa_0000).unwrap();
        client.dma_unmap(0x10_0000, 0x10_0000).unwrap();
    }
    fabric.wait_for_open_files(before + 1);
}

#[test]
fn vectors_reach_eventfds() {
    let fabric = Fabric::start(&["--hosts", "1"]);
    let mut client = Client::new(&fabric.socket("1.0")).unwrap();
    let events: Vec<Event> = (0..16).map(|_| Event::new()).collect();
    let fds: Vec<i32> = events.iter().map(Event::raw).collect();
    let eventfd = IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER;
    client.set_irqs(MSIX, eventfd, 0, 16, &fds).unwrap();
    let none = IRQ_DATA_NONE | IRQ_ACTION_TRIGGER;
    client.set_irqs(MSIX, none, 3, 1, &[]).unwrap();
    assert!(events[3].wait(PATIENCE));
    // All are taken away; vector 5 fires; and is signalled when the eventfds are back.
    client.set_irqs(MSIX, none, 0, 0, &[]).unwrap();
    client.set_irqs(MSIX, none, 5, 1, &[]).unwrap();
    assert!(!events[5].wait(std::time::Duration::from_millis(20)));
    client.set_irqs(MSIX, eventfd, 0, 16, &fds).unwrap();
    assert!(events[5].wait(PATIENCE));
    assert!(!events[3].wait(std::time::Duration::ZERO));
    // Without data bytes this is refused, and nothing happens.
    client
        .set_irqs(MSIX, IRQ_DATA_BOOL | IRQ_ACTION_TRIGGER, 0, 1, &[])
        .unwrap();
    assert!(!events[0].wait(std::time::Duration::ZERO));
}

#[test]
fn a_machine_can_go_and_come_back() {
    let fabric = Fabric::start(&["--hosts", "2"]);
    let before = fabric.open_files();
    for round in 1..=5 {
        let mut client = Client::new(&fabric.socket("1.0")).unwrap();
        client
            .dma_map(0, 0, 0x1000, guest_memory(0x1000).as_raw_fd())
            .unwrap();
        let machine = fabric.stats()["machines"]["1.0"].clone();
        assert_eq!(machine["attached"], true);
        assert_eq!(machine["connections"], round);
        client.reset().unwrap();
        client.shutdown().unwrap();
        fabric.wait_for("the machine is gone", |stats| {
            stats["machines"]["1.0"]["attached"] == false
        });
    }
    fabric.wait_for_open_files(before);
}

#[test]
fn a_second_machine_waits_for_the_first_to_go() {
    let fabric = Fabric::start(&["--hosts", "1"]);
    let first = RawClient::attach(&fabric, "1.0");
    let socket = fabric.socket("1.0");
    let second = std::thread::spawn(move || Client::new(&socket).is_ok());
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(fabric.stats()["machines"]["1.0"]["connections"], 1);
    drop(first);
    assert!(second.join().unwrap());
    assert_eq!(fabric.stats()["machines"]["1.0"]["connections"], 2);
}

#[test]
fn the_fabric_ends_cleanly() {
    let mut fabric = Fabric::start(&["--hosts", "2", "--cables", "2"]);
    let _client = Client::new(&fabric.socket("2.1")).unwrap();
    assert!(fabric.stop());
    let left = std::fs::read_dir(fabric.folder.path()).unwrap().count();
    assert_eq!(left, 0, "sockets are left");
}
