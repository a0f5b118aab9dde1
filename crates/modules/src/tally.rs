//! Counts what becomes of requests, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Phase, Result};

/// How often what happened since the fetcher was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Modules fetched from a network.
    pub success: u64,
    /// Fetches that failed for another reason than the two below.
    pub download_failure: u64,
    /// Fetches whose manifest could not be read, or led to no module.
    pub manifest_failure: u64,
    /// Fetches of something else than was asked for.
    pub checksum_mismatched: u64,
    /// Requests that the cache answered.
    pub cache_hits: u64,
    /// Requests that it did not.
    pub cache_misses: u64,
}

#[derive(Default)]
pub(crate) struct Tally {
    success: AtomicU64,
    download_failure: AtomicU64,
    manifest_failure: AtomicU64,
    checksum_mismatched: AtomicU64,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
}

impl Tally {
    pub(crate) fn lookup(&self, is_hit: bool) {
        count(if is_hit {
            &self.cache_hits
        } else {
            &self.cache_misses
        });
    }

    pub(crate) fn fetched<T>(&self, result: &Result<T>) {
        count(match result {
            Ok(_) => &self.success,
            Err(error) => match error.phase {
                Phase::Manifest | Phase::Unpack => &self.manifest_failure,
                Phase::Verify => &self.checksum_mismatched,
                _ => &self.download_failure,
            },
        });
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            success: read(&self.success),
            download_failure: read(&self.download_failure),
            manifest_failure: read(&self.manifest_failure),
            checksum_mismatched: read(&self.checksum_mismatched),
            cache_hits: read(&self.cache_hits),
            cache_misses: read(&self.cache_misses),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
