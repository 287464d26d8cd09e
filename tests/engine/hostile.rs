// SPDX-License-Identifier: GPL-2.0-only

//! Hostile users, peers and links: the corpus of the fuzz target, and random operations.

use proptest::prelude::*;

use crate::operations::check;

#[test]
fn corpus() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/engine");
    let mut count = 0;
    for entry in std::fs::read_dir(path).expect("the corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        check(&bytes);
        count += 1;
    }
    assert!(count > 0, "the corpus is there");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_operations(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&bytes);
    }
}
