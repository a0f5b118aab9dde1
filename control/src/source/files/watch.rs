//! Waiting for the kernel to report a change to any of some paths.
//!
//! Reports are hints: they say when to look, and which files have a writer. Folders are watched,
//! not files, so that a file that is replaced by renaming, or whose link is turned, is seen. The
//! folder above a path is watched too: the path may come, go, or be turned itself.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::scan::QUIET;

/// Reports waiting to be looked at. When there are more, all of them are forgotten and everything
/// is looked at.
const WAITING: usize = 4096;

/// How long reports may keep coming before somebody looks.
const PATIENCE: Duration = Duration::from_millis(400);

/// A file with a writer is left alone for so long at most.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// Why the waiting ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wake {
    /// It is time to look.
    Look,
    /// The source is to end.
    Stop,
}

#[derive(Debug)]
enum Report {
    /// Something is different.
    Changed,
    /// A writer has written to these and has not closed them.
    Writing(Vec<PathBuf>),
    /// No writer has these open any more.
    Settled(Vec<PathBuf>),
    Stop,
}

/// Ends a [`Watch`].
#[derive(Clone, Debug)]
pub(super) struct Stop {
    reports: SyncSender<Report>,
    is_stopped: Arc<AtomicBool>,
}

impl Stop {
    pub(super) fn now(&self) {
        self.is_stopped.store(true, Ordering::Release);
        // A full queue wakes the reader as well.
        let _ = self.reports.try_send(Report::Stop);
    }
}

/// Watches paths.
pub(super) struct Watch {
    sender: SyncSender<Report>,
    reports: Receiver<Report>,
    is_overrun: Arc<AtomicBool>,
    is_stopped: Arc<AtomicBool>,
    watched: HashMap<PathBuf, Watched>,
    writing: HashMap<PathBuf, Instant>,
}

struct Watched {
    /// What the path and the folder above it were when the watch was set.
    identity: [Option<(u64, u64)>; 2],
    /// `None` if the kernel has no watch left; then looking from time to time has to do.
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let (sender, reports) = sync_channel(WAITING);
        Self {
            sender,
            reports,
            is_overrun: Arc::default(),
            is_stopped: Arc::default(),
            watched: HashMap::new(),
            writing: HashMap::new(),
        }
    }

    pub(super) fn stopper(&self) -> Stop {
        Stop {
            reports: self.sender.clone(),
            is_stopped: self.is_stopped.clone(),
        }
    }

    /// Sees to it that each of `paths` is watched as it now is.
    pub(super) fn follow<'p>(&mut self, paths: impl Iterator<Item = &'p PathBuf>) {
        for path in paths {
            let path = &absolute(path);
            let above = existing_above(path);
            let identity = [identity(path), identity(&above)];
            if self
                .watched
                .get(path)
                .is_some_and(|watched| watched.identity == identity)
            {
                continue;
            }
            let watcher = self.watcher(path, &above).map_err(|error| {
                let path = path.display();
                tracing::warn!(%path, %error, "changes are looked for, not reported");
            });
            self.watched.insert(
                path.clone(),
                Watched {
                    identity,
                    watcher: watcher.ok(),
                },
            );
        }
    }

    fn watcher(&self, path: &Path, above: &Path) -> notify::Result<RecommendedWatcher> {
        let (sender, is_overrun) = (self.sender.clone(), self.is_overrun.clone());
        let followed = path.to_path_buf();
        let mut watcher = notify::recommended_watcher(move |event| {
            if let Some(report) = report(event, &followed)
                && let Err(TrySendError::Full(_)) = sender.try_send(report)
            {
                is_overrun.store(true, Ordering::Release);
            }
        })?;
        watcher.watch(above, RecursiveMode::NonRecursive)?;
        if path.is_dir() {
            watcher.watch(path, RecursiveMode::Recursive)?;
        }
        Ok(watcher)
    }

    /// Whether some process has begun to write to the file and not closed it.
    pub(super) fn is_being_written(&self, path: &Path) -> bool {
        let since = self.writing.get(&absolute(path));
        since.is_some_and(|since| since.elapsed() < LONGEST_WRITE)
    }

    /// Waits for a report, and then until reports pause; at most `interval` if there is none.
    pub(super) fn wait(&mut self, interval: Duration) -> Wake {
        let any_unwatched = self
            .watched
            .values()
            .any(|watched| watched.watcher.is_none());
        let interval = if any_unwatched {
            interval.min(Duration::from_secs(1))
        } else {
            interval
        };
        let mut pause = interval;
        let mut began: Option<Instant> = None;
        while began.is_none_or(|began| began.elapsed() < PATIENCE) {
            match self.reports.recv_timeout(pause) {
                Ok(Report::Stop) | Err(RecvTimeoutError::Disconnected) => return Wake::Stop,
                Ok(report) => self.note(report),
                Err(RecvTimeoutError::Timeout) => break,
            }
            began.get_or_insert_with(Instant::now);
            pause = QUIET;
        }
        if self.is_overrun.swap(false, Ordering::AcqRel) {
            self.writing.clear();
        }
        self.writing
            .retain(|_, since| since.elapsed() < LONGEST_WRITE);
        if self.is_stopped.load(Ordering::Acquire) {
            Wake::Stop
        } else {
            Wake::Look
        }
    }

    fn note(&mut self, report: Report) {
        match report {
            Report::Writing(paths) => {
                let now = Instant::now();
                self.writing
                    .extend(paths.into_iter().map(|path| (path, now)));
            }
            Report::Settled(paths) => {
                self.writing.retain(|path, _| !paths.contains(path));
            }
            Report::Changed | Report::Stop => {}
        }
    }
}

/// What a report of the kernel says, if it says something about `path`. That a file was opened or
/// read says nothing: we read them ourselves.
fn report(event: notify::Result<notify::Event>, path: &Path) -> Option<Report> {
    let Ok(event) = event else {
        return Some(Report::Changed);
    };
    if event.need_rescan() {
        return Some(Report::Changed);
    }
    // The folder above is watched for the path alone, and while that is missing, for what leads
    // to it.
    let concerns = |changed: &PathBuf| changed.starts_with(path) || path.starts_with(changed);
    if !event.paths.iter().any(concerns) {
        return None;
    }
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => Some(Report::Writing(event.paths)),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => Some(Report::Settled(event.paths)),
        EventKind::Access(_) => None,
        _ => Some(Report::Changed),
    }
}

/// The nearest folder above `path` that exists.
fn existing_above(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|folder| folder.is_dir());
    above.map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

/// Reports name files by the path that was watched, so watches and questions use one form.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}
