// SPDX-License-Identifier: GPL-2.0-only

//! Replays the corpus of the parser's fuzz target, so that what a fuzzer once found stays found.

use std::fs;
use std::path::PathBuf;

use crate::goldens;

#[path = "../fuzz/checks/parse.rs"]
pub mod parse_check;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/parse")
}

#[test]
fn corpus_is_handled() {
    let mut count = 0;
    let mut good = 0;
    for entry in fs::read_dir(directory()).expect("corpus is there") {
        let bytes = fs::read(entry.expect("entry is readable").path()).expect("file is readable");
        good += usize::from(parse_check::check(&bytes));
        count += 1;
    }
    // The seeds are good packets, so the check did get past the first header.
    assert!(good >= 20, "{good} of {count} are packets");
}

#[test]
fn goldens_are_handled() {
    for frame in goldens::upstream_frames() {
        assert!(parse_check::check(&frame));
    }
}
