//! How many certificates are signed, for whom (C-07).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Nodes that are remembered. A mesh with more of them at once is limited as a whole alone.
const MAX_NODES: usize = 10_000;

/// A rate with a reserve for the start.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// One node starts a hundred pods at once and renews a few now and then.
const PER_NODE: Rate = Rate {
    per_second: 10.0,
    burst: 100.0,
};
/// About what one core can sign.
const IN_TOTAL: Rate = Rate {
    per_second: 500.0,
    burst: 500.0,
};

/// Certificates that may still be signed, by node and in total.
pub struct RateLimits(Mutex<Buckets>);

struct Buckets {
    total: Bucket,
    nodes: HashMap<Arc<str>, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst,
            at: now,
        }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        *self = Self {
            left: (self.left + since * rate.per_second).min(rate.burst),
            at: now,
        };
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        let total = Bucket::full(IN_TOTAL, Instant::now());
        Self(Mutex::new(Buckets {
            total,
            nodes: HashMap::new(),
        }))
    }
}

impl RateLimits {
    /// Takes one certificate from what is left to `node`; false when nothing is.
    pub fn take(&self, node: &str) -> bool {
        let now = Instant::now();
        let mut buckets = self.0.lock();
        let Buckets { total, nodes } = &mut *buckets;
        total.refill(IN_TOTAL, now);
        if nodes.len() >= MAX_NODES && !nodes.contains_key(node) {
            nodes.retain(|_, bucket| {
                bucket.refill(PER_NODE, now);
                bucket.left < PER_NODE.burst
            });
        }
        let crowded = nodes.len() >= MAX_NODES;
        let mut stranger = Bucket::full(PER_NODE, now);
        let bucket = match nodes.get_mut(node) {
            Some(bucket) => bucket,
            None if crowded => &mut stranger,
            None => nodes.entry(node.into()).or_insert(stranger),
        };
        bucket.refill(PER_NODE, now);
        if bucket.left < 1.0 || total.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        total.left -= 1.0;
        true
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buckets = self.0.lock();
        f.debug_struct("RateLimits")
            .field("nodes", &buckets.nodes.len())
            .finish_non_exhaustive()
    }
}
