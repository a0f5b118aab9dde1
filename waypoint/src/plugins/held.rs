//! How much plugins hold back, of all requests of a process together.
//!
//! Each plugin has a limit for each body; many requests at a time could still fill the memory. What
//! is held is counted while it is held, and what would go beyond the total is refused, whatever
//! the plugin's `failStrategy`: the plugin can run, and a body of which it has seen a part must
//! not get past it.

use std::rc::Rc;

use prometheus_client::metrics::gauge::Gauge;

use super::vms::Running;
use crate::http::error::{Error, Kind};

#[cfg(test)]
mod tests;

/// What may be held. Clones are the same total.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    /// The metric is the count: nothing else could be as true.
    held: Gauge,
    most: i64,
}

impl Allowance {
    /// * `held` — where it is counted.
    /// * `most` — bytes.
    pub(crate) fn new(held: Gauge, most: usize) -> Self {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Self { held, most }
    }

    /// Holds nothing yet.
    pub(super) fn holding(&self) -> Holding {
        Holding {
            allowance: self.clone(),
            bytes: 0,
        }
    }
}

/// What one body holds; it is given back when this goes, however that comes.
#[derive(Debug)]
pub(super) struct Holding {
    allowance: Allowance,
    bytes: i64,
}

impl Holding {
    /// Holds so many bytes instead of what it held.
    ///
    /// * `running` — the plugin, of which is told when it may not.
    ///
    /// # Errors
    /// `Overload` when that is more than may be held.
    pub(super) fn hold(
        &mut self,
        bytes: usize,
        running: impl FnOnce() -> Option<Rc<Running>>,
    ) -> Result<(), Error> {
        if self.set(bytes) {
            return Ok(());
        }
        if let Some(running) = running() {
            running.surroundings().refused("held_bodies");
        }
        Err(Error::new(Kind::Overload))
    }

    /// Holds nothing any more.
    pub(super) fn release(&mut self) {
        self.set(0);
    }

    fn set(&mut self, bytes: usize) -> bool {
        let Allowance { held, most } = &self.allowance;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let more = bytes - self.bytes;
        if more == 0 {
            return true;
        }
        let before = held.inc_by(more);
        if more > 0 && before.saturating_add(more) > *most {
            held.dec_by(more);
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.release();
    }
}
