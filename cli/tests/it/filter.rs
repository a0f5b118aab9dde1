//! `cairn filter` as a person who writes a filter calls it.

mod bench;
mod build;
mod calls;
mod guest;
mod inspect;
mod registry;
mod run;
mod test;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::cairn;

/// Tells the folders of one test process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder of a test's own; gone with its drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cairn-filter-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// Writes a file, and the folders it needs.
    fn write(&self, below: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs `cairn filter` in it.
    fn filter(&self, words: &[&str]) -> Run {
        run(self.command(words))
    }

    /// As [`filter`](Self::filter), with something to read.
    fn filter_with(&self, words: &[&str], input: &str) -> Run {
        let file = self.write(".input", input);
        let mut command = self.command(words);
        command.stdin(fs::File::open(file).unwrap());
        run(command)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(cairn());
        command.arg("filter").args(words).current_dir(&self.0);
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a call came to.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(mut command: Command) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Run {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

impl Run {
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A module of this repository.
fn prebuilt(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../filters/prebuilt")
        .join(name)
}
