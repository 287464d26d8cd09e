// SPDX-License-Identifier: GPL-2.0-only

//! The pure modules build without the standard library, see `tests/no_std/`.

use std::path::Path;
use std::process::Command;

#[test]
fn builds_without_the_standard_library() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO"))
        // The main workspace has fetched all it needs.
        .args(["build", "--quiet", "--offline"])
        .arg("--manifest-path")
        .arg(root.join("tests/no_std/Cargo.toml"))
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
