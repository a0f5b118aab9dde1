//! What is let through, and changing it while the process runs.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::Handle;
use super::access;
use super::format::Level;

/// Why a log cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a filter.
    #[error(
        "`{0}` is not a log filter; write a level (off, error, warn, info, debug, trace) or target=level, separated by commas"
    )]
    Filter(String),
    /// Only one log per process.
    #[error("there is a log already")]
    Installed,
    /// The writing thread did not start.
    #[error("cannot start the log thread")]
    Thread(#[source] io::Error),
    /// The log the switch belongs to is gone.
    #[error("the log is gone")]
    Gone,
}

/// The switch for what is logged. Clones switch the same log.
#[derive(Clone)]
pub struct Levels(Arc<Inner>);

struct Inner {
    handle: Option<Handle>,
    initial: Targets,
    current: Mutex<Targets>,
    /// Level of access lines, asked for on the data path.
    access: AtomicU8,
}

impl Levels {
    pub(super) fn new(initial: Targets, handle: Handle) -> Self {
        Self(Arc::new(Inner {
            handle: Some(handle),
            access: AtomicU8::new(access_level(&initial)),
            current: Mutex::new(initial.clone()),
            initial,
        }))
    }

    /// The switch of a log that is off.
    pub(super) fn off() -> Self {
        Self(Arc::new(Inner {
            handle: None,
            initial: Targets::new(),
            current: Mutex::new(Targets::new()),
            access: AtomicU8::new(0),
        }))
    }

    /// Returns the filter in force, in the syntax of [`Self::set`].
    pub fn current(&self) -> String {
        self.0.current.lock().to_string()
    }

    /// Adds directives to the filter in force; the last word on a target stands.
    ///
    /// # Errors
    /// When `directives` make no sense: nothing has changed then.
    pub fn set(&self, directives: &str) -> Result<(), Error> {
        let current = self.0.current.lock().clone();
        self.switch(merge(current, directives)?)
    }

    /// As [`Self::set`], starting from the filter the process began with. May be empty.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn reset(&self, directives: &str) -> Result<(), Error> {
        let initial = self.0.initial.clone();
        self.switch(merge(initial, directives)?)
    }

    fn switch(&self, targets: Targets) -> Result<(), Error> {
        let handle = self.0.handle.as_ref().ok_or(Error::Gone)?;
        handle.reload(targets.clone()).map_err(|_| Error::Gone)?;
        self.0
            .access
            .store(access_level(&targets), Ordering::Relaxed);
        *self.0.current.lock() = targets;
        Ok(())
    }

    /// The most detailed level of access lines that is let through; `None` is below all.
    pub(super) fn access(&self) -> Option<Level> {
        let most = usize::from(self.0.access.load(Ordering::Relaxed));
        most.checked_sub(1).and_then(|i| Level::ALL.get(i)).copied()
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Levels").field(&self.current()).finish()
    }
}

/// How many levels of access lines `targets` lets through.
fn access_level(targets: &Targets) -> u8 {
    let enabled = Level::ALL
        .into_iter()
        .filter(|level| targets.would_enable(access::TARGET, &(*level).into()));
    u8::try_from(enabled.count()).unwrap_or(0)
}

/// Reads a filter.
pub(super) fn parse(text: &str) -> Result<Targets, Error> {
    merge(Targets::new(), text)
}

/// Adds directives to a filter: `level`, `target=level`, and, as Istio's tools write it,
/// `target:level`. Unlike in other filters a word alone is always a level, so that a misspelt
/// level does not switch everything on for a target of that name.
fn merge(mut targets: Targets, text: &str) -> Result<Targets, Error> {
    let directives = text.split(',').map(str::trim).filter(|d| !d.is_empty());
    for directive in directives {
        let wrong = || Error::Filter(directive.to_owned());
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => match directive.rsplit_once(':') {
                Some((target, level)) if !target.ends_with(':') => (Some(target), level),
                _ => (None, directive),
            },
        };
        // The parser of `tracing` takes nothing at all for `error`.
        let level = Some(level.trim()).filter(|level| !level.is_empty());
        let level: LevelFilter = level.ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        targets = match target.map(str::trim) {
            None => targets.with_default(level),
            Some("") => return Err(wrong()),
            Some(target) => targets.with_target(target, level),
        };
    }
    Ok(targets)
}
