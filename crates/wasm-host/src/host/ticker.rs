//! The thread that lets guests notice the time.
//!
//! Guests check a counter at loops and calls; this thread raises it. It sleeps while no guest has
//! run for a while, so that an idle proxy does not wake a thousand times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// The ticker of one engine; stops and is joined when dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// A guest was entered since the last tick.
    active: AtomicBool,
    /// The thread sleeps until woken.
    parked: AtomicBool,
    /// How often the thread went to sleep.
    parks: AtomicU64,
    /// How long, in milliseconds, a guest may run without entering anew.
    longest_run: AtomicU64,
    period: Duration,
}

impl Ticker {
    /// Starts ticking.
    pub(crate) fn start(engine: Engine, period: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            active: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            parks: AtomicU64::new(0),
            longest_run: AtomicU64::new(0),
            period,
        });
        let ours = Arc::clone(&shared);
        let handle = thread::Builder::new()
            .name("wasm-ticker".to_owned())
            .spawn(move || ours.run(&engine))?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
            handle: Some(handle),
        })
    }

    /// Returns the time between two ticks.
    pub(crate) fn period(&self) -> Duration {
        self.shared.period
    }

    /// Makes sure that ticks go on for as long as one entry into a guest can take.
    pub(crate) fn expect_runs_of(&self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.shared.longest_run.fetch_max(longest, Ordering::SeqCst);
    }

    /// To be called before every entry into a guest. Nearly always two loads.
    pub(crate) fn note_entry(&self) {
        // The order of both matters: `run` raises `parked` first and then looks at `active`, so
        // that one of the two sides always sees the other.
        if !self.shared.active.load(Ordering::SeqCst) {
            self.shared.active.store(true, Ordering::SeqCst);
        }
        if self.shared.parked.load(Ordering::SeqCst) {
            self.shared.parked.store(false, Ordering::SeqCst);
            self.thread.unpark();
        }
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let mut idle_since = Instant::now();
        while !self.stop.load(Ordering::SeqCst) {
            let next = Instant::now() + self.period;
            loop {
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() || self.stop.load(Ordering::SeqCst) {
                    break;
                }
                thread::park_timeout(left);
            }
            // One tick, however late it is: after a stall of the machine guests get their time.
            engine.increment_epoch();
            if self.active.swap(false, Ordering::SeqCst) {
                idle_since = Instant::now();
            } else if idle_since.elapsed() > self.idle_limit() {
                self.park();
                idle_since = Instant::now();
            }
        }
    }

    /// Longer than any guest that was entered before can still be running.
    fn idle_limit(&self) -> Duration {
        Duration::from_millis(self.longest_run.load(Ordering::SeqCst)) + 100 * self.period
    }

    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        self.parks.fetch_add(1, Ordering::SeqCst);
        while self.parked.load(Ordering::SeqCst)
            && !self.active.load(Ordering::SeqCst)
            && !self.stop.load(Ordering::SeqCst)
        {
            thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            // A panic of the thread was reported by the panic hook; there is nothing to add.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(what: &str, condition: impl Fn() -> bool) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < give_up, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn sleeps_when_idle_wakes_on_entry_and_stops_when_dropped() {
        let ticker = Ticker::start(Engine::default(), Duration::from_micros(100)).unwrap();
        let shared = Arc::clone(&ticker.shared);
        until("it never slept", || {
            shared.parks.load(Ordering::SeqCst) == 1
        });
        ticker.note_entry();
        until("it did not wake and sleep again", || {
            shared.parks.load(Ordering::SeqCst) == 2
        });
        drop(ticker);
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
