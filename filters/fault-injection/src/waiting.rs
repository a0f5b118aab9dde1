//! Requests that wait, and until when.

use crate::Abort;

/// The requests of one VM that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    stream: u32,
    due: u64,
    abort: Option<Abort>,
}

impl Waiting {
    /// Adds a request.
    pub fn add(&mut self, stream: u32, due: u64, abort: Option<Abort>) {
        self.entries.push(Entry { stream, due, abort });
    }

    /// Forgets a request, which went on or is gone.
    pub fn forget(&mut self, stream: u32) {
        self.entries.retain(|entry| entry.stream != stream);
    }

    /// Takes out the requests whose time has come, the longest due first.
    pub fn due(&mut self, now: u64) -> Vec<(u32, Option<Abort>)> {
        if self.entries.iter().all(|entry| entry.due > now) {
            return Vec::new();
        }
        let (mut due, later) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition::<Vec<_>, _>(|entry| entry.due <= now);
        self.entries = later;
        due.sort_by_key(|entry| entry.due);
        due.into_iter()
            .map(|entry| (entry.stream, entry.abort))
            .collect()
    }

    /// Returns how many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
