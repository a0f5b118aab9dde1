//! Whether a process can serve, and what it still waits for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// What a process waits for before it is ready. Clones share it.
#[derive(Clone, Debug)]
pub struct Gates(Arc<watch::Sender<Pending>>);

/// How many wait under each name: workers may all be waiting for the same thing.
type Pending = BTreeMap<&'static str, usize>;

/// One thing that is waited for.
#[derive(Clone)]
pub struct Readiness {
    gates: Gates,
    name: &'static str,
    state: Arc<Mutex<bool>>,
}

impl Default for Gates {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Gates {
    /// Adds something to wait for; it is pending until it says otherwise.
    pub fn gate(&self, name: &'static str) -> Readiness {
        self.add(name);
        Readiness {
            gates: self.clone(),
            name,
            state: Arc::new(Mutex::new(false)),
        }
    }

    /// What is still waited for; ready when there is nothing.
    pub fn pending(&self) -> Vec<&'static str> {
        self.0.borrow().keys().copied().collect()
    }

    /// Resolves when nothing is waited for any more. Cancel safe.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(BTreeMap::is_empty).await;
    }

    fn add(&self, name: &'static str) {
        self.0
            .send_modify(|pending| *pending.entry(name).or_default() += 1);
    }

    fn remove(&self, name: &'static str) {
        self.0.send_modify(|pending| {
            if let Some(waiting) = pending.get_mut(name) {
                *waiting -= 1;
                if *waiting == 0 {
                    pending.remove(name);
                }
            }
        });
    }
}

impl Readiness {
    /// This no longer has to be waited for.
    pub fn ready(&self) {
        self.set(true);
    }

    /// This has to be waited for, again.
    pub fn pending(&self) {
        self.set(false);
    }

    fn set(&self, ready: bool) {
        let mut state = self.state.lock();
        if *state == ready {
            return;
        }
        *state = ready;
        if ready {
            self.gates.remove(self.name);
        } else {
            self.gates.add(self.name);
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
