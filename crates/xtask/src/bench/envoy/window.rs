//! What one window of one proxy came to, and whether it says what the proxy costs.

use super::super::statistics::float;

/// Less than this share of its CPU, and the proxy waited for its clients.
const BUSY: f64 = 0.93;
/// From this share of its CPU, the clients may have waited for themselves.
const FULL: f64 = 0.90;

/// What one window came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// How long it was.
    pub(super) seconds: f64,
    /// Answers that arrived in it.
    pub(super) requests: u64,
    /// Nanoseconds on a CPU, of the proxy.
    pub(super) proxy: u64,
    /// The same of clients and server.
    pub(super) generator: u64,
    /// The share of time in which the proxy's CPU had nothing to do.
    pub(super) idle: f64,
    /// The share in which it was another machine's.
    pub(super) stolen: f64,
}

impl Window {
    /// CPU-µs of the proxy for one request.
    pub(super) fn cost(&self) -> f64 {
        float(self.proxy) / 1e3 / float(self.requests)
    }

    /// Answers per second.
    pub(super) fn rate(&self) -> f64 {
        float(self.requests) / self.seconds
    }

    /// The share of its CPU that the proxy used.
    pub(super) fn busy(&self) -> f64 {
        float(self.proxy) / 1e9 / self.seconds
    }

    /// The share of their CPU that clients and server used.
    pub(super) fn generating(&self) -> f64 {
        float(self.generator) / 1e9 / self.seconds
    }

    /// Why it says nothing about the proxy, if it does not.
    ///
    /// A proxy that waits pays a wake-up for every message, and the faster one of two waits more
    /// often: only where each has more to do than it can does the difference lie in the filter.
    pub(super) fn refusal(&self) -> Option<String> {
        if self.requests == 0 {
            return Some("no request was answered".to_owned());
        }
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let (busy, generating) = (self.busy(), self.generating());
        let why = if busy < BUSY {
            "the proxy was not kept busy"
        } else if generating >= FULL {
            "clients and server had no time to spare"
        } else {
            return None;
        };
        Some(format!(
            "{why}: the proxy used {} of its CPU, which was idle for {}, another machine's for {} \
             and other processes' for the rest; clients and server used {} of theirs. Wanted are \
             {} or more and less than {}. End other work on this machine; where there is none, \
             raise --connections",
            percent(busy),
            percent(self.idle),
            percent(self.stolen),
            percent(generating),
            percent(BUSY),
            percent(FULL),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(proxy: u64, generator: u64) -> Window {
        Window {
            seconds: 2.0,
            requests: 40_000,
            proxy,
            generator,
            idle: 0.01,
            stolen: 0.0,
        }
    }

    #[test]
    fn a_requests_cost_is_cpu_time_over_requests() {
        let window = window(2_000_000_000, 1_000_000_000);
        assert!((window.cost() - 50.0).abs() < 1e-9);
        assert!((window.rate() - 20_000.0).abs() < 1e-9);
        assert!((window.busy() - 1.0).abs() < 1e-9);
        assert!((window.generating() - 0.5).abs() < 1e-9);
        assert_eq!(window.refusal(), None);
    }

    #[test]
    fn a_window_in_which_the_proxy_waited_is_refused() {
        let why = window(1_800_000_000, 1_000_000_000).refusal().unwrap();
        assert!(why.contains("the proxy was not kept busy"), "{why}");
        assert!(why.contains("90.0 %") && why.contains("1.0 %"), "{why}");
    }

    #[test]
    fn a_window_in_which_the_generator_was_full_is_refused() {
        let why = window(1_990_000_000, 1_800_000_000).refusal().unwrap();
        assert!(why.contains("no time to spare"), "{why}");
    }

    #[test]
    fn a_window_without_an_answer_is_refused() {
        let nothing = Window {
            requests: 0,
            ..window(2_000_000_000, 0)
        };
        assert!(nothing.refusal().unwrap().contains("no request"));
    }
}
