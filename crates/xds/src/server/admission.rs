//! How many streams may be open, and how fast new ones may come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::Limits;

#[cfg(test)]
mod tests;

/// A client is kept waiting this long for its turn, then sent away: it would only queue up.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Why a stream may not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many streams are open")]
    Full,
    #[error("too many new streams at once")]
    TooFast,
}

/// Lets streams in.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    n_open: Arc<AtomicUsize>,
    /// When the next stream may open.
    next: Mutex<Instant>,
}

/// An open stream's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            n_open: Arc::default(),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a place, not for long.
    pub(super) async fn enter(&self) -> Result<Place, Refused> {
        let max = self.limits.streams;
        let taken = self
            .n_open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n_open| {
                (n_open < max).then_some(n_open + 1)
            });
        if taken.is_err() {
            return Err(Refused::Full);
        }
        let place = Place(Arc::clone(&self.n_open));
        sleep_until(self.turn()?).await;
        Ok(place)
    }

    /// One turn each `1 / streams_per_second`; what was not used within a second is lost.
    fn turn(&self) -> Result<Instant, Refused> {
        let interval = Duration::from_secs(1) / self.limits.streams_per_second.max(1);
        let now = Instant::now();
        let mut next = self.next.lock();
        let unused = now.checked_sub(MAX_WAIT).unwrap_or(now);
        let turn = (*next).max(unused);
        if turn > now + MAX_WAIT {
            return Err(Refused::TooFast);
        }
        *next = turn + interval;
        Ok(turn.max(now))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
