// SPDX-License-Identifier: GPL-2.0-only

//! One thing at a time.

use usb4_rxe::rxe::time::Time;
use usb4_rxe::usb4::rail::frame::hello::{Cause, Hello, Message, Refusal};
use usb4_rxe::usb4::rail::login::{Login, News, Step, REFUSED};

use crate::world::{hello, ms, World};

/// Two ends that have found each other.
fn joined() -> World {
    let mut world = World::new(1);
    world.open(0);
    world.open(1);
    world.run(ms(100));
    assert!(world.is_joined());
    world
}

#[test]
fn crossing_logins_make_one_life() {
    let world = joined();
    assert_eq!([world.ends[0].lives, world.ends[1].lives], [1, 1]);
    assert_eq!(world.epoch(), 1);
}

#[test]
fn the_end_that_comes_late_is_not_waited_for_long() {
    let mut world = World::new(1);
    world.open(0);
    world.run(ms(20_000));
    assert!(
        world.ends[0].asked < 12,
        "{} questions in 20 s",
        world.ends[0].asked
    );
    world.open(1);
    world.run(ms(50));
    assert!(world.is_joined());
}

#[test]
fn the_same_login_again_is_the_same_life() {
    let mut login = Login::new(hello(1));
    login.open(Time(1));
    let theirs = Message::Login(Hello {
        epoch: 1,
        ..hello(2)
    });
    let first = login.hear(Time(2), &theirs);
    assert!(matches!(first, Some(Message::Accept(_))));
    assert!(matches!(login.step(Time(2)), Step::Begin(_)));
    assert_eq!(login.hear(Time(3), &theirs), first);
    assert_eq!(login.step(Time(3)), Step::Wait(Time::NEVER));
}

#[test]
fn a_rail_that_dies_begins_anew_with_the_next_epoch() {
    let mut world = joined();
    world.run(ms(10_000));
    world.kill_rail(1);
    world.run(ms(100));
    assert!(world.is_joined());
    assert_eq!(world.epoch(), 2);
    // Both notice at the same time.
    world.run(ms(10_000));
    world.kill_rail(0);
    world.kill_rail(1);
    world.run(ms(100));
    assert!(world.is_joined());
    assert_eq!(world.epoch(), 3);
}

/// It carries control messages, but no frames: each of its lives ends after the 5 s for which the module
/// waits for a first answer.
#[test]
fn a_cable_that_carries_no_frames_is_tried_ever_less_often() {
    let mut world = joined();
    for _ in 0..10 {
        world.run(ms(5_000));
        if world.is_joined() {
            world.kill_rail(0);
        }
    }
    world.run(ms(2_000));
    assert!(!world.is_joined());
    world.run(ms(6_000));
    assert!(world.is_joined());
}

#[test]
fn a_peer_that_forgot_everything_takes_over_our_epoch() {
    let mut world = joined();
    for _ in 0..300 {
        world.run(ms(10_000));
        world.kill_rail(0);
        world.run(ms(100));
        assert!(world.is_joined());
    }
    // It wraps, and is never 0.
    let epoch = world.epoch();
    world.crash(1);
    world.run(ms(5_000));
    world.open(1);
    world.run(ms(1_000));
    assert!(world.is_joined());
    assert!(
        world.epoch().wrapping_sub(epoch) < 8,
        "{epoch}, then {}",
        world.epoch()
    );
}

#[test]
fn an_end_that_closes_is_not_asked_all_the_time() {
    let mut world = joined();
    world.run(ms(10_000));
    world.close(1);
    world.run(ms(30_000));
    assert_eq!(world.ends[0].rail, None);
    assert_eq!(world.ends[1].rail, None);
    let asked = world.ends[0].asked;
    assert!(asked < 5, "{asked} questions");
    assert_eq!(world.ends[0].news, []);
    world.open(1);
    world.run(ms(1_000));
    assert!(world.is_joined());
}

#[test]
fn another_wire_is_said_from_the_next_life_on() {
    let mut world = joined();
    let lives = world.ends[1].lives;
    world.ends[0].login.renew(7);
    world.run(ms(1_000));
    assert_eq!(world.ends[1].lives, lives, "the present life says the same");
    world.close(1);
    world.run(ms(100));
    world.ends[0].login.renew(7);
    world.open(1);
    world.run(ms(1_000));
    let life = world.ends[1].login.agreed().expect("joined again");
    assert_eq!(life.theirs.wire, 7);
}

#[test]
fn versions_that_do_not_meet_are_told_once_at_both_ends() {
    let mut world = World::new(1);
    let newer = Hello {
        min_version: 9,
        max_version: 9,
        ..hello(2)
    };
    world.ends[1].login = Login::new(newer);
    world.open(0);
    world.open(1);
    world.run(ms(300_000));
    for end in &world.ends {
        assert_eq!(end.lives, 0);
        assert!(end.asked < 10, "{} questions in 5 minutes", end.asked);
        assert!(
            !end.news.is_empty() && end.news.len() <= 2,
            "{:?}",
            end.news
        );
        let (News::WeRefuse(refusal) | News::TheyRefuse(refusal)) = end.news[0];
        assert_eq!(refusal.cause, Cause::Version);
    }
    // Another version is loaded there.
    world.crash(1);
    world.open(1);
    world.run(ms(1_000));
    assert!(world.is_joined());
}

#[test]
fn an_end_without_a_rail_left_says_so() {
    let mut world = World::new(1);
    let full = Refusal {
        cause: Cause::Rails,
        ours: 8,
        theirs: 0,
    };
    world.ends[0].fault = Some(Some(full));
    world.open(0);
    world.open(1);
    world.run(ms(20_000));
    assert!(world.ends[0].news.contains(&News::WeRefuse(full)));
    assert!(world.ends[1].news.contains(&News::TheyRefuse(full)));
    assert!(world.ends[0].lives < 5, "{} tries", world.ends[0].lives);
    // There is one, later.
    world.ends[0].fault = None;
    world.run(REFUSED);
    world.run(ms(10_000));
    assert!(world.is_joined());
}

#[test]
fn a_cable_that_carries_control_messages_only_is_tried_ever_more_seldom() {
    let mut world = World::new(1);
    world.is_stalled = true;
    world.open(0);
    world.open(1);
    world.run(ms(120_000));
    let lives = world.ends[0].lives;
    assert!((10..60).contains(&lives), "{lives} lives in two minutes");
    world.is_stalled = false;
    world.run(ms(12_000));
    assert!(world.is_joined());
}

#[test]
fn an_unplugged_end_says_nothing() {
    let mut login = Login::new(hello(1));
    login.open(Time(1));
    login.hear(
        Time(1),
        &Message::Login(Hello {
            epoch: 1,
            ..hello(2)
        }),
    );
    let Step::Begin(life) = login.step(Time(1)) else {
        panic!("no life")
    };
    login.began(Time(1), &life, Ok(()));
    login.gone();
    assert_eq!(login.step(Time(2)), Step::End(life));
    assert_eq!(login.step(Time(2)), Step::Wait(Time::NEVER));
}

#[test]
fn an_answer_to_what_we_do_not_say_any_more_is_no_agreement() {
    let mut login = Login::new(hello(1));
    login.open(Time(1));
    let Step::Ask(asked) = login.step(Time(1)) else {
        panic!("does not ask")
    };
    // Meanwhile a life begins by the other's Login, and is over.
    login.hear(
        Time(2),
        &Message::Login(Hello {
            epoch: 1,
            ..hello(2)
        }),
    );
    login.down(Time(3), 1);
    let late = Message::Accept(Hello {
        epoch: 1,
        ..hello(2)
    });
    login.answered(Time(4), &asked, Some(&late));
    assert_eq!(login.agreed(), None);
}
