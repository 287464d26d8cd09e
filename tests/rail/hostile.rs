// SPDX-License-Identifier: GPL-2.0-only

//! A peer that breaks the rules, byte by byte and by the corpus of the fuzz target.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use crate::rng::Rng;

#[path = "../fuzz/checks/rail.rs"]
mod rail_check;

#[test]
fn corpus_is_handled() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/rail");
    let (mut count, mut packets) = (0, 0);
    for entry in fs::read_dir(directory).expect("corpus is there") {
        let bytes = fs::read(entry.expect("entry is readable").path()).expect("file is readable");
        packets += rail_check::check(&bytes);
        count += 1;
    }
    // The seeds get past the header: packets come out.
    assert!(count >= 10 && packets > 100, "{packets} from {count}");
}

#[test]
fn long_plays_are_handled() {
    let mut packets = 0;
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let bytes: Vec<u8> = (0..3000).map(|_| rng.next() as u8).collect();
        packets += rail_check::check(&bytes);
    }
    assert!(packets > 5_000, "{packets}");
}

proptest! {
    #[test]
    fn any_play_is_handled(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        rail_check::check(&bytes);
    }
}
