//! When the requests of a fixed rate are due.

use std::time::Duration;

/// Requests at even distances, dealt to connections in turn.
///
/// The schedule never waits for answers: a request whose connection is still busy is late, and its
/// latency counts from when it was due. Otherwise a slow answer would hide those behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: u32,
    connections: u32,
}

impl Schedule {
    /// `rate` requests a second over `connections`; neither may be zero.
    pub(super) fn new(rate: u32, connections: u32) -> Self {
        Self {
            rate: rate.max(1),
            connections: connections.max(1),
        }
    }

    /// When request `number` of `connection` is due, from the beginning.
    pub(super) fn due(self, connection: u32, number: u32) -> Duration {
        let place = u64::from(number) * u64::from(self.connections) + u64::from(connection);
        let rate = u64::from(self.rate);
        // The two parts by themselves, so that nothing overflows or is rounded more than once.
        let part = (place % rate) * 1_000_000_000 / rate;
        Duration::from_secs(place / rate) + Duration::from_nanos(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced_over_all_connections() {
        let schedule = Schedule::new(1000, 4);
        let mut due: Vec<Duration> = (0..4)
            .flat_map(|connection| (0..3).map(move |number| schedule.due(connection, number)))
            .collect();
        due.sort();
        let expected: Vec<Duration> = (0..12).map(Duration::from_millis).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let schedule = Schedule::new(3, 1);
        assert_eq!(schedule.due(0, 1), Duration::from_nanos(333_333_333));
        assert_eq!(schedule.due(0, 3_000_000), Duration::from_secs(1_000_000));
    }
}
