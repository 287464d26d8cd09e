// SPDX-License-Identifier: GPL-2.0-only

//! What `make lab` left in the cache: the Debian root, the guests' image, the kernels.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

/// Name of the debug kernel, which is there only on demand (docs/lab.md).
pub const DEBUG: &str = "debug";

/// The finished lab folder, `${XDG_CACHE_HOME:-$HOME/.cache}/usb4-rxe/lab`.
pub struct Cache {
    lab: PathBuf,
}

/// One stock kernel as guests boot it.
#[derive(Clone)]
pub struct Kernel {
    /// Name on the command line: a series such as `7.2`.
    pub name: String,
    /// What `uname -r` prints in the guest.
    pub release: String,
    /// Folder with `vmlinuz`, `initrd`, `modules.erofs` and the prepared tree `build`.
    pub dir: PathBuf,
}

impl Kernel {
    /// How many times longer than on a stock kernel things may take: every access to memory is checked, every lock taken
    /// down.
    pub fn patience(&self) -> u32 {
        if self.name == DEBUG {
            4
        } else {
            1
        }
    }

    /// What it needs on its command line. While the kernel looks at its first CPU, it forgets for a moment that page tables
    /// have five levels; an interrupt then, which emulation is slow enough for, is a wild access to KASAN.
    pub fn words(&self) -> &'static str {
        if self.name == DEBUG {
            "no5lvl"
        } else {
            ""
        }
    }

    /// Memory that it needs to offer scripts `mem` MiB. The debug kernel takes an eighth for KASAN's shadow, and keeps books
    /// on every lock and every allocation.
    pub fn memory(&self, mem: u32) -> u32 {
        if self.name == DEBUG {
            mem + mem / 4 + 512
        } else {
            mem
        }
    }
}

impl Cache {
    /// Finds the lab.
    ///
    /// # Errors
    ///
    /// When `make lab` has not run (or has not finished) for this user.
    pub fn find() -> Result<Self> {
        let cache = match std::env::var_os("XDG_CACHE_HOME") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
        };
        let lab = cache.join("usb4-rxe/lab");
        if !lab.join("stamp").exists() {
            bail!(
                "there is no finished lab in {}: run 'make lab' first",
                lab.display()
            );
        }
        Ok(Self { lab })
    }

    /// The Debian root with QEMU in it.
    pub fn root(&self) -> PathBuf {
        self.lab.join("root")
    }

    /// The image that guests use as their root file system.
    pub fn root_image(&self) -> PathBuf {
        self.lab.join("root.erofs")
    }

    /// Where to keep small facts that cost time to find, such as whether KVM works.
    pub fn facts(&self) -> &Path {
        &self.lab
    }

    /// Names of all kernels that the lab has, in order.
    pub fn kernel_names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = std::fs::read_dir(&self.lab)?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                Some(name.strip_prefix("kernel-")?.to_owned())
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// The kernel of that name.
    ///
    /// # Errors
    ///
    /// When the lab has no such kernel; the message lists those it has.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let dir = self.lab.join(format!("kernel-{name}"));
        let Ok(release) = std::fs::read_to_string(dir.join("release")) else {
            let known = self.kernel_names().unwrap_or_default().join(", ");
            let hint = if name == DEBUG {
                "; 'tests/lab/setup --debug' makes it, which takes long"
            } else {
                ""
            };
            bail!("the lab has no kernel '{name}': choose one of: {known}{hint}");
        };
        Ok(Kernel {
            name: name.to_owned(),
            release: release.trim().to_owned(),
            dir,
        })
    }

    /// The root's QEMU as a command. It is started through the root's own dynamic loader, so it needs neither chroot
    /// nor privileges, and nothing of it has to be installed on the host.
    pub fn qemu(&self) -> Command {
        let root = self.root();
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(&libraries)
            .arg(root.join("usr/bin/qemu-system-x86_64"))
            .arg("-L")
            .arg(root.join("usr/share/qemu"))
            .arg("-L")
            .arg(root.join("usr/share/seabios"))
            .env("QEMU_MODULE_DIR", libraries.join("qemu"));
        command
    }
}
