use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use tokio::time::Instant;

use super::Termination;

/// One test for all: signals reach every listener of the process.
#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends() {
    for (first, second) in [
        (Signal::SIGTERM, Signal::SIGINT),
        (Signal::SIGINT, Signal::SIGTERM),
    ] {
        let (trigger, mut drain) = crate::drain::channel();
        let termination = Termination::listen().unwrap();
        let grace = Duration::from_hours(1);
        let drained = async {
            assert!(!drain.is_started());
            raise(first).unwrap();
            let deadline = drain.started().await;
            assert!(deadline > Instant::now() + grace / 2);
            raise(second).unwrap();
            drain.expired().await;
        };
        tokio::join!(termination.drain(trigger, grace), drained);
    }
}
