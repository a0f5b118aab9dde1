//! Waits for changes of a filter's sources, or of a module.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What builds write, and what they do not read.
const IGNORED: [&str; 8] = [
    "target",
    "build",
    "node_modules",
    ".git",
    "Cargo.lock",
    "package-lock.json",
    "go.sum",
    "tests",
];
/// An editor writes a file in several steps: they are one change.
const QUIET: Duration = Duration::from_millis(80);

/// Changes of files.
#[derive(Debug)]
pub struct Changes {
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<PathBuf>,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    /// Everything below a folder but what builds write.
    Sources(PathBuf),
    /// One file.
    File(PathBuf),
}

impl Changes {
    /// Of the sources in a folder.
    ///
    /// # Errors
    /// When the system does not tell of changes.
    pub fn of_sources(root: &Path) -> anyhow::Result<Self> {
        let mut changes = Self::new(Wanted::Sources(root.to_owned()))?;
        changes.watch(root, RecursiveMode::NonRecursive)?;
        changes.watch_folders(root);
        Ok(changes)
    }

    /// Of one file, also when another takes its place.
    ///
    /// # Errors
    /// As [`Self::of_sources`].
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let mut changes = Self::new(Wanted::File(path.to_owned()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        changes.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(changes)
    }

    fn new(wanted: Wanted) -> anyhow::Result<Self> {
        // Unbounded because the system's thread cannot wait; drained at each change.
        let (tell, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if is_change(event.kind) {
                for path in event.paths {
                    // Nobody listens any more when the program ends.
                    let _ = tell.send(path);
                }
            }
        })
        .context("watch for changes")?;
        Ok(Self {
            watcher,
            events,
            wanted,
        })
    }

    fn watch(&mut self, path: &Path, how: RecursiveMode) -> anyhow::Result<()> {
        let watching = self.watcher.watch(path, how);
        watching.with_context(|| format!("watch {}", path.display()))
    }

    /// Watches the folders with sources; the others may be large.
    fn watch_folders(&mut self, root: &Path) {
        for entry in root.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !is_ignored(root, &path) {
                // One that is gone again is none.
                let _ = self.watcher.watch(&path, RecursiveMode::Recursive);
            }
        }
    }

    /// Waits until something has changed and is quiet again. Returns one of the files.
    pub async fn next(&mut self) -> PathBuf {
        loop {
            let Some(path) = self.events.recv().await else {
                return std::future::pending().await;
            };
            if !self.concerns(&path) {
                continue;
            }
            while timeout(QUIET, self.events.recv())
                .await
                .is_ok_and(|event| event.is_some())
            {}
            if let Wanted::Sources(root) = &self.wanted {
                let root = root.clone();
                self.watch_folders(&root);
            }
            return path;
        }
    }

    fn concerns(&self, path: &Path) -> bool {
        match &self.wanted {
            Wanted::Sources(root) => !is_ignored(root, path),
            Wanted::File(file) => path == file,
        }
    }
}

fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Whether a change of a path below the root says nothing about sources.
fn is_ignored(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    let first = below.components().next().map(Component::as_os_str);
    let is_named = first.is_some_and(|first| IGNORED.iter().any(|name| first == OsStr::new(name)));
    // Editors keep their own files beside those that are edited.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_editors = name.ends_with('~') || name.ends_with(".swp") || name.starts_with(".#");
    is_named || is_editors || name == "4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_matter_and_what_builds_write_does_not() {
        let root = Path::new("/f");
        for path in [
            "/f/src/lib.rs",
            "/f/Cargo.toml",
            "/f/filter.yaml",
            "/f/a/build",
        ] {
            assert!(!is_ignored(root, Path::new(path)), "{path}");
        }
        for path in [
            "/f/target/x",
            "/f/build/a.wasm",
            "/f/Cargo.lock",
            "/f/src/lib.rs~",
            "/f/src/.lib.rs.swp",
        ] {
            assert!(is_ignored(root, Path::new(path)), "{path}");
        }
    }
}
