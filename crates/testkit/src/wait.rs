//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, and fails with `what` when there is none in half a minute.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, ask)
}

/// As [`eventually`], with a patience of one's own.
///
/// # Panics
/// When there is no answer within it.
#[track_caller]
pub fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two questions a test has nothing to do"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}
