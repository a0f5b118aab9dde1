//! Manifests in files and folders, followed while they change.
//!
//! One thread of its own does all of it, since watching and reading files blocks: it lists each
//! root, reads what changed, and waits for the kernel to report something. Every report leads to a
//! new listing of the root, so that a lost or a confusing report costs nothing but time.
//!
//! A file is taken when it has settled: no writer has it open, it did not change for
//! [`QUIET`](scan::QUIET), nor while it was read. A root that cannot be read, or does not exist
//! (yet), is reported and what it last held stays.

mod scan;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lines::LineTable;
use super::{Event, Origin, Root, Scope, yaml};
use crate::finding::{Finding, Severity};
use crate::object::FieldPath;
use scan::{Listing, Reading, Stamp};
use watch::{Wake, Watch};

/// How long a source waits for files that are being written before it says what there is.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running source. Dropping it ends it.
#[derive(Debug)]
pub struct Files {
    stop: watch::Stop,
    thread: Option<JoinHandle<()>>,
}

impl Files {
    /// Starts to follow `roots`. Events go to `sink` from a thread of this source's own; it ends
    /// when `sink` fails.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<E>(
        roots: Vec<Root>,
        mut sink: impl FnMut(Event) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let mut watch = Watch::new();
        let stop = watch.stopper();
        let thread = std::thread::Builder::new()
            .name("manifests".to_owned())
            .spawn(move || {
                let mut follower = Follower::new(roots);
                let started = Instant::now();
                let mut is_synced = false;
                loop {
                    let mut events = Vec::new();
                    watch.follow(follower.paths());
                    let pace = follower.look(&watch, &mut events);
                    if !is_synced && (pace != Pace::Soon || started.elapsed() > PATIENCE) {
                        is_synced = true;
                        events.push(Event::Synced);
                    }
                    if events.into_iter().any(|event| sink(event).is_err()) {
                        return;
                    }
                    if watch.wait(pace.interval()) == Wake::Stop {
                        return;
                    }
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the source and waits until its thread is gone.
    pub fn stop(mut self) {
        self.stop.now();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows manifests panicked");
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.stop.now();
    }
}

/// Reads `roots` once, as they are.
pub fn read(roots: Vec<Root>) -> Vec<Event> {
    let mut events = Vec::new();
    Follower::new(roots).look(&Watch::new(), &mut events);
    events.push(Event::Synced);
    events
}

/// How soon to look again if nothing is reported.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Pace {
    /// Some file has not settled.
    Soon,
    /// Some root is missing.
    Often,
    /// All is well; reports may get lost on some file systems.
    Seldom,
}

impl Pace {
    fn interval(self) -> Duration {
        match self {
            Self::Soon => scan::QUIET,
            Self::Often => Duration::from_secs(1),
            Self::Seldom => Duration::from_secs(30),
        }
    }
}

/// What is known of each root.
struct Follower {
    roots: Vec<Followed>,
}

struct Followed {
    root: Root,
    path: PathBuf,
    /// Files by the name that people know them by, as they were when they were last read.
    files: BTreeMap<Arc<str>, Stamp>,
    trouble: Option<Vec<Finding>>,
}

impl Follower {
    fn new(roots: Vec<Root>) -> Self {
        let followed = |root: Root| match &root {
            Root::Written { path, .. } | Root::Recorded { path, .. } => Some(Followed {
                path: path.to_path_buf(),
                root,
                files: BTreeMap::new(),
                trouble: None,
            }),
            Root::Generated | Root::Builtin => None,
        };
        Self {
            roots: roots.into_iter().filter_map(followed).collect(),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.roots.iter().map(|followed| &followed.path)
    }

    fn look(&mut self, watch: &Watch, events: &mut Vec<Event>) -> Pace {
        let paces = self
            .roots
            .iter_mut()
            .map(|followed| followed.look(watch, events));
        paces.min().unwrap_or(Pace::Seldom)
    }
}

impl Followed {
    fn look(&mut self, watch: &Watch, events: &mut Vec<Event>) -> Pace {
        let listing = match scan::list(&self.path) {
            Ok(listing) => listing,
            Err(error) => {
                self.report(vec![self.unreachable(&error)], events);
                return Pace::Often;
            }
        };
        let mut pace = Pace::Seldom;
        for (name, path) in &listing.files {
            let known = self.files.get(name).copied();
            let reading = if watch.is_being_written(path) {
                Ok(Reading::Unsettled)
            } else {
                scan::read(path, known)
            };
            match reading {
                Ok(Reading::Unchanged) => {}
                Ok(Reading::Unsettled) => pace = Pace::Soon,
                Ok(Reading::Text(stamp, text)) => {
                    self.files.insert(name.clone(), stamp);
                    let manifest = yaml::parse(name, &text);
                    events.push(Event::Snapshot {
                        scope: Scope {
                            root: self.root.clone(),
                            name: name.clone(),
                        },
                        documents: manifest.documents,
                        unreadable: manifest.unreadable,
                    });
                }
                Ok(Reading::Unfit(stamp, what)) => {
                    self.files.insert(name.clone(), stamp);
                    self.refuse(name, what.to_owned(), events);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => pace = Pace::Soon,
                Err(error) => {
                    self.files.remove(name);
                    self.refuse(name, format!("cannot be read: {error}"), events);
                    pace = pace.min(Pace::Often);
                }
            }
        }
        self.forget(&listing, events);
        self.report(listing.findings, events);
        pace
    }

    /// A file that is there and cannot be used keeps what it last held.
    fn refuse(&self, name: &Arc<str>, what: String, events: &mut Vec<Event>) {
        let origin = Origin {
            file: Some(name.clone()),
            lines: LineTable::default(),
        };
        let finding = Finding {
            effect: "what it last held stays in effect".to_owned(),
            ..origin.finding(None, &FieldPath::root(), Severity::Error, what)
        };
        events.push(Event::Snapshot {
            scope: Scope {
                root: self.root.clone(),
                name: name.clone(),
            },
            documents: Vec::new(),
            unreadable: vec![finding],
        });
    }

    /// Files that are gone take their objects with them.
    fn forget(&mut self, listing: &Listing, events: &mut Vec<Event>) {
        if !listing.is_complete {
            return;
        }
        self.files
            .retain(|name, _| listing.files.contains_key(name));
        events.push(Event::Scopes {
            root: self.root.clone(),
            names: listing.files.keys().cloned().collect(),
        });
    }

    fn report(&mut self, findings: Vec<Finding>, events: &mut Vec<Event>) {
        if self.trouble.as_ref() != Some(&findings) {
            self.trouble = Some(findings.clone());
            events.push(Event::Trouble {
                root: self.root.clone(),
                findings,
            });
        }
    }

    fn unreachable(&self, error: &io::Error) -> Finding {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        scan::finding(
            &self.path,
            Severity::Error,
            what,
            "what it last held stays in effect",
            "create it or correct the path",
        )
    }
}

#[cfg(test)]
mod tests;
