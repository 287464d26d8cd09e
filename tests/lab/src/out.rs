// SPDX-License-Identifier: GPL-2.0-only

//! The folder of a run: emptied at the start, so that it holds this run and nothing older, and in use by one run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use rustix::fs::{flock, FlockOperation};

/// Held by the run that uses the folder. Its presence also says that the folder is one of the lab's.
const LOCK: &str = ".lab-run";

/// The folder, for as long as this lives.
pub struct Out {
    /// Where it is, from the root.
    pub path: PathBuf,
    _lock: File,
}

impl Out {
    /// Makes or empties the folder.
    ///
    /// # Errors
    ///
    /// When another run uses it, when it holds files that no run has left there, or cannot be written.
    pub fn take(path: &Path) -> Result<Self> {
        let name = path.display();
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make {name}: give another folder with --out"))?;
        let path = path.canonicalize()?;
        let lock = path.join(LOCK);
        let is_empty = fs::read_dir(&path)?.next().is_none();
        ensure!(
            is_empty || lock.is_file() || path.join("topology.toml").is_file(),
            "{name} holds files that are not from a run of the lab, and they would be removed: give --out a new or empty folder"
        );
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .with_context(|| format!("cannot write {name}: give another folder with --out"))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another run of the lab uses {name} now: wait for it, or give this one a folder of its own with --out");
        }
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if entry.file_name() == LOCK {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
        Ok(Self { path, _lock: file })
    }
}

#[cfg(test)]
mod tests {
    use super::Out;
    use std::fs;

    #[test]
    fn it_is_emptied_for_each_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b/run");
        let out = Out::take(&path).unwrap();
        fs::create_dir(out.path.join("shared")).unwrap();
        fs::write(out.path.join("shared/x"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), out.path.join("link")).unwrap();
        drop(out);
        let out = Out::take(&path).unwrap();
        assert_eq!(fs::read_dir(&out.path).unwrap().count(), 1);
        assert!(folder.path().exists());
    }

    #[test]
    fn two_runs_do_not_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let first = Out::take(&path).unwrap();
        fs::write(first.path.join("console"), "").unwrap();
        let error = Out::take(&path).err().unwrap().to_string();
        assert!(error.contains("--out"), "{error}");
        assert!(first.path.join("console").exists());
        drop(first);
        assert!(Out::take(&path).is_ok());
    }

    #[test]
    fn what_is_not_the_labs_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis"), "").unwrap();
        let error = Out::take(folder.path()).err().unwrap().to_string();
        assert!(error.contains("not from a run"), "{error}");
        assert!(folder.path().join("thesis").exists());
        assert!(Out::take(&folder.path().join("thesis")).is_err());
    }
}
