//! Access lines: one per connection, so as cheap as a line can be.

use std::fmt;

use super::filter::Levels;
use super::format::{Format, Level, Line};
use super::sink::Queue;

/// The target of access lines; `access=off` in a filter silences them.
pub(super) const TARGET: &str = "access";

/// Writes access lines. Clones write to the same log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<Queue>,
    format: Format,
    levels: Levels,
}

impl AccessLog {
    pub(super) fn new(queue: Queue, format: Format, levels: &Levels) -> Self {
        Self {
            queue: Some(queue),
            format,
            levels: levels.clone(),
        }
    }

    /// An access log that writes nothing.
    pub fn disabled() -> Self {
        Self {
            queue: None,
            format: Format::Text,
            levels: Levels::off(),
        }
    }

    /// Returns whether lines of this level are wanted: what a line says need not be found out if
    /// not.
    pub fn is_enabled(&self, level: Level) -> bool {
        self.queue.is_some() && self.levels.access().is_some_and(|most| level <= most)
    }

    /// Logs `message` with the fields that `fields` writes: `key=value` pairs between blanks,
    /// values with blanks or quotes in them quoted as Rust does. Never waits.
    pub fn line(
        &self,
        level: Level,
        message: &str,
        fields: impl FnOnce(&mut String) -> fmt::Result,
    ) {
        let Some(queue) = self.queue.as_ref().filter(|_| self.is_enabled(level)) else {
            return;
        };
        let mut line = Line::new(self.format, level, TARGET, message);
        if line.pairs(fields).is_ok() {
            queue.push(line.finish());
        }
    }

    /// Logs a line of a format of its own, which `write` writes without its newline. Never waits.
    pub fn raw(&self, level: Level, write: impl FnOnce(&mut String) -> fmt::Result) {
        let Some(queue) = self.queue.as_ref().filter(|_| self.is_enabled(level)) else {
            return;
        };
        let mut line = String::with_capacity(512);
        if write(&mut line).is_ok() {
            line.push('\n');
            queue.push(line.into_bytes());
        }
    }
}
