// SPDX-License-Identifier: GPL-2.0-only

//! Entries that no librxe would write: the corpus of the fuzz target, and random ones.

use proptest::prelude::*;

use crate::user_abi_check::check;

#[test]
fn corpus() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/user_abi");
    let mut requests = 0;
    for entry in std::fs::read_dir(path).expect("the corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        requests += usize::from(check(&bytes));
    }
    // Every operation is among the seeds, so the check did get past the opcode.
    assert!(requests >= 20, "{requests} requests");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any bytes with an opcode that there is, and a number of pieces that is likely.
    #[test]
    fn random_entries(
        how: u8,
        mut entry in prop::collection::vec(any::<u8>(), 0..300),
        opcode in prop_oneof![0u32..16, Just(0x20), any::<u32>()],
        pieces in prop_oneof![0u32..5, any::<u32>()],
        length in prop_oneof![0u32..64, any::<u32>()],
    ) {
        for (at, value) in [(12, opcode), (196, pieces), (28, pieces), (184, length)] {
            if let Some(place) = entry.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_ne_bytes());
            }
        }
        let mut input = vec![how];
        input.append(&mut entry);
        check(&input);
    }
}
