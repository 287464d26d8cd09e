// SPDX-License-Identifier: GPL-2.0-only

//! The pure modules stay pure: what the host tests is what the kernel runs.
//!
//! The compiler already refuses `unsafe` and the kernel crate on the host. It cannot refuse code
//! that hides from the host behind a `cfg`; this test does.

use std::fs;
use std::path::{Path, PathBuf};

/// The pure modules.
const PURE: [&str; 2] = ["src/rxe", "src/usb4/rail"];

/// What may not stand in them, and why.
const FORBIDDEN: [(&str, &str); 12] = [
    ("unsafe", "unsafe code has its own modules"),
    ("kernel", "the kernel crate"),
    ("bindings", "C bindings"),
    ("extern", "foreign code or crates"),
    ("std", "the standard library"),
    ("alloc", "the heap"),
    ("cfg", "code that only one side sees"),
    ("cfg_attr", "attributes that only one side sees"),
    ("asm", "assembly"),
    ("include", "code from elsewhere"),
    ("path", "code from elsewhere"),
    ("transmute", "reinterpretation; zerocopy's traits do it"),
];

/// The identifiers of a line of code that may not be there.
fn violations(line: &str) -> Vec<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    let mut found = Vec::new();
    let words = code
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    for word in words {
        for (forbidden, _) in FORBIDDEN {
            let hit = match forbidden {
                // The test build sees more than the kernel, never less.
                "cfg" => {
                    code.contains("cfg(") && !code.contains("cfg(test)") || code.contains("cfg!")
                }
                // Only as the start of a path, as a macro or as an attribute: the words are common.
                "std" | "kernel" | "alloc" => code.contains(&format!("{forbidden}::")),
                "include" => code.contains("include!"),
                "asm" => code.contains("asm!"),
                "path" => code.contains("#[path"),
                _ => true,
            };
            if word == forbidden && hit {
                found.push(forbidden);
            }
        }
        // include_str!, include_bytes!
        if word.starts_with("include_") && code.contains(&format!("{word}!")) {
            found.push("include");
        }
    }
    found
}

/// All Rust files below `directory`.
fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("entry is readable").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn pure_modules_are_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in PURE {
        rust_files(&root.join(directory), &mut files);
    }
    assert!(files.len() > 20, "the pure modules are found");
    let mut report = String::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("file is readable");
        assert!(
            text.starts_with("// SPDX-License-Identifier: GPL-2.0-only\n"),
            "{} begins with its license",
            file.display()
        );
        for (number, line) in text.lines().enumerate() {
            for word in violations(line) {
                report += &format!("{}:{}: {word}\n", file.display(), number + 1);
            }
        }
    }
    assert!(report.is_empty(), "forbidden in pure modules:\n{report}");
}

#[test]
fn the_root_forbids_unsafe_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = fs::read_to_string(root.join("src/lib.rs")).expect("lib.rs is there");
    assert!(lib.contains("#![forbid(unsafe_code)]"));
}

/// Files with unsafe code in them, from the root of the checkout.
fn files_with_unsafe_code(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for directory in ["src", "compat"] {
        rust_files(&root.join(directory), &mut files);
    }
    let is_unsafe = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("file is readable");
        text.lines().any(has_unsafe_code)
    };
    let mut names: Vec<String> = files
        .iter()
        .filter(|path| is_unsafe(path))
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root");
            name.to_string_lossy().into_owned()
        })
        .collect();
    names.sort();
    names
}

fn has_unsafe_code(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == "unsafe")
}

#[test]
fn every_unsafe_island_is_on_its_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/unsafe.md")).expect("the page is there");
    let mut listed: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    listed.sort();
    let found = files_with_unsafe_code(root);
    assert!(found.len() > 20, "the sources are found");
    assert_eq!(listed, found, "left: docs/unsafe.md; right: the sources");
}

#[test]
fn unsafe_code_is_found_and_the_word_alone_is_not() {
    for line in ["unsafe impl Send for X {}", "    let x = unsafe { *p };"] {
        assert!(has_unsafe_code(line), "{line}");
    }
    for line in [
        "// unsafe",
        "#![forbid(unsafe_code)]",
        "let x = 1; // unsafe",
    ] {
        assert!(!has_unsafe_code(line), "{line}");
    }
}

#[test]
fn the_check_finds_what_it_looks_for() {
    for (line, word) in [
        ("    unsafe { *p }", "unsafe"),
        ("use kernel::prelude::*;", "kernel"),
        ("use crate::bindings;", "bindings"),
        ("extern crate alloc;", "extern"),
        ("use std::vec::Vec;", "std"),
        ("let v = alloc::vec![];", "alloc"),
        ("#[cfg(MODULE)]", "cfg"),
        ("#[cfg(not(test))]", "cfg"),
        ("if cfg!(MODULE) {", "cfg"),
        ("#[cfg_attr(MODULE, path = \"x.rs\")]", "cfg_attr"),
        ("core::arch::asm!(\"nop\");", "asm"),
        ("include!(\"x.rs\");", "include"),
        ("include_bytes!(\"x\");", "include"),
        ("#[path = \"x.rs\"]", "path"),
        ("core::mem::transmute::<A, B>(a)", "transmute"),
    ] {
        assert!(violations(line).contains(&word), "{line}");
    }
    for line in [
        "// unsafe kernel::x cfg(MODULE)",
        "#[cfg(test)]",
        "let kernel = 1; let path = 2; let alloc = 3;",
        "use core::fmt;",
    ] {
        assert!(violations(line).is_empty(), "{line}");
    }
}
