//! The one task that asks the authority.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mesh::spiffe::SpiffeId;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::entry::Now;
use super::{Fetcher, Keyring, Table};
use crate::error::with_causes;
use crate::{Certified, Error, crypto};

/// Requests to the authority at once.
pub const MAX_FETCHES: usize = 8;
/// How long one request may take.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest sleep: a wall clock that was set is noticed this soon.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Obtains and renews the certificates of a [`Keyring`].
pub struct Renewal<F> {
    keyring: Keyring,
    fetcher: Arc<F>,
    fetches: JoinSet<Result<Certified, Error>>,
    /// Which identity, in which turn, each fetch is for.
    asked: HashMap<Id, (SpiffeId, u64)>,
}

impl<F: Fetcher> Renewal<F> {
    pub(super) fn new(keyring: Keyring, fetcher: F) -> Self {
        Self {
            keyring,
            fetcher: Arc::new(fetcher),
            fetches: JoinSet::new(),
            asked: HashMap::new(),
        }
    }

    /// Runs until cancelled; requests under way are then dropped.
    pub async fn run(mut self) {
        let keyring = self.keyring.clone();
        loop {
            let sleep = self.start_due();
            tokio::select! {
                () = keyring.0.changed.notified() => {}
                Some(done) = self.fetches.join_next_with_id() => self.settle(done),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Starts what is due, the most pressing first; returns how long nothing else will be.
    fn start_due(&mut self) -> Duration {
        let now = self.now();
        let mut table = self.keyring.0.table.lock();
        let Table { entries, turns } = &mut *table;
        let mut sleep = LONGEST_SLEEP;
        for entry in entries.values_mut() {
            sleep = entry
                .advance(now, turns)
                .map_or(sleep, |wait| wait.min(sleep));
        }
        while self.fetches.len() < MAX_FETCHES {
            let line = entries
                .iter_mut()
                .filter_map(|(id, entry)| Some((entry.place()?, id, entry)));
            let Some((_, id, entry)) = line.max_by_key(|(place, ..)| *place) else {
                break;
            };
            let Some(turn) = entry.start() else { break };
            let task = self
                .fetches
                .spawn(fetch(Arc::clone(&self.fetcher), id.clone()));
            self.asked.insert(task.id(), (id.clone(), turn));
        }
        sleep
    }

    fn settle(&mut self, done: Result<(Id, Result<Certified, Error>), JoinError>) {
        let (task, answer) = match done {
            Ok((task, answer)) => (task, Some(answer)),
            // Only a panic gets here: nobody aborts a fetch.
            Err(error) => (error.id(), None),
        };
        let Some((id, turn)) = self.asked.remove(&task) else {
            return;
        };
        let now = self.now();
        let mut table = self.keyring.0.table.lock();
        let Some(entry) = table
            .entries
            .get_mut(&id)
            .filter(|entry| entry.is_fetching(turn))
        else {
            return;
        };
        let answer = answer.unwrap_or_else(|| {
            Err(Error::Certificate {
                id: id.clone(),
                reason: "the request panicked".to_owned(),
            })
        });
        match answer.and_then(|certified| check_validity(certified, now)) {
            Ok(certified) => {
                tracing::debug!(identity = %id, "certificate obtained");
                entry.succeed(certified, now, crypto::draw());
            }
            Err(error) => {
                let retry_in = entry.fail(&error, now, crypto::draw());
                let error = with_causes(&error);
                tracing::warn!(identity = %id, error, ?retry_in, "certificate not obtained");
            }
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: (self.keyring.0.now)(),
            steady: Instant::now(),
        }
    }
}

impl<F> fmt::Debug for Renewal<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal")
            .field("keyring", &self.keyring)
            .finish_non_exhaustive()
    }
}

async fn fetch<F: Fetcher>(fetcher: Arc<F>, id: SpiffeId) -> Result<Certified, Error> {
    match tokio::time::timeout(FETCH_TIMEOUT, fetcher.fetch(&id)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Timeout {
            id,
            seconds: FETCH_TIMEOUT.as_secs(),
        }),
    }
}

/// A certificate nobody would accept is no success, whatever its other merits.
fn check_validity(certified: Certified, now: Now) -> Result<Certified, Error> {
    let reason = if now.wall < certified.not_before() {
        "it is not valid yet; compare this machine's clock with the control plane's"
    } else if certified.not_after() <= now.wall {
        "it has expired; compare this machine's clock with the control plane's"
    } else {
        return Ok(certified);
    };
    Err(Error::Certificate {
        id: certified.id().clone(),
        reason: reason.to_owned(),
    })
}
