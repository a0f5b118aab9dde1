//! The figures as people and programs read them.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use super::Options;
use super::cpu::{Cpus, Memory};
use super::statistics::{Samples, Spreads, float};
use super::world::Measured;

/// Beyond this share of a core, whoever uses it holds the others up.
const FULL: f64 = 80.0;
/// How the median latency is named.
const P50: &str = "latency p50, µs";
/// How a share of a core is named.
const SHARE: &str = ", % of a core";
/// By whom.
const SHARES: [&str; 3] = ["proxies", "generator", "server"];

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) options: Options,
    pub(super) cpus: Cpus,
    /// Bytes of each thin binary without symbols.
    pub(super) stripped_bytes: BTreeMap<String, u64>,
    /// Of each thin binary, once ready and without traffic yet.
    pub(super) memory_at_start: BTreeMap<String, Memory>,
    /// The same at the end.
    pub(super) memory_at_end: BTreeMap<String, Memory>,
    /// By subject, in the order they were measured.
    pub(super) subjects: Vec<Figures>,
}

/// One subject's figures by name, per kind of traffic.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) subject: String,
    /// Every connection asks again as soon as it has an answer.
    pub(super) closed_loop: Spreads,
    /// Requests at a fixed rate.
    pub(super) fixed_rate: Spreads,
    /// One stream.
    pub(super) bulk: Spreads,
}

/// What kind of traffic a window carried.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Traffic {
    ClosedLoop,
    FixedRate,
    Bulk,
}

/// Adds what a window came to.
pub(super) fn note(samples: &mut Samples, traffic: Traffic, measured: &Measured) {
    let Measured {
        window,
        proxies,
        server,
    } = measured;
    let seconds = |nanoseconds: u64| float(nanoseconds) / 1e9;
    let percent = |nanoseconds: u64| seconds(nanoseconds) / window.seconds * 100.0;
    let (requests, gigabits) = (float(window.requests), float(window.bytes) * 8.0 / 1e9);
    for (name, used) in proxies {
        let (name, unit, figure) = match traffic {
            Traffic::Bulk => (name, "Gbit/s per core", gigabits / seconds(*used)),
            _ => (name, "CPU-µs/request", seconds(*used) * 1e6 / requests),
        };
        samples.push(format!("{name}, {unit}"), figure);
    }
    if traffic == Traffic::Bulk {
        samples.push("Gbit/s", gigabits / window.seconds);
    } else {
        samples.push("requests/s", requests / window.seconds);
    }
    if let Some(latency) = &window.latency {
        samples.push(P50, latency.p50);
        samples.push("latency p99, µs", latency.p99);
    }
    let proxies = proxies.iter().map(|(_, used)| used).sum();
    for (name, used) in SHARES.iter().zip([proxies, window.own_cpu, *server]) {
        samples.push(format!("{name}{SHARE}"), percent(used));
    }
}

/// Writes the figures of one kind of traffic.
fn block(f: &mut fmt::Formatter<'_>, title: &str, spreads: &Spreads) -> fmt::Result {
    if spreads.0.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    let figures = spreads.0.iter().filter(|(name, _)| !name.ends_with(SHARE));
    for (name, spread) in figures {
        writeln!(
            f,
            "  {name:42}{:>9.1}  ({:.1} .. {:.1})",
            spread.median, spread.min, spread.max
        )?;
    }
    let [proxies, generator, server] = SHARES.map(|name| {
        spreads
            .median(&format!("{name}{SHARE}"))
            .unwrap_or_default()
    });
    writeln!(
        f,
        "  of a core: proxies {proxies:.0} %, generator {generator:.0} %, server {server:.0} %"
    )?;
    if generator + server > FULL {
        writeln!(
            f,
            "  note: generator and server may have held the proxies up"
        )?;
    }
    if proxies > FULL && spreads.median(P50).is_some() {
        writeln!(
            f,
            "  note: the proxies were nearly full, latency is of a queue; lower --rate"
        )?;
    }
    Ok(())
}

impl Report {
    fn preamble(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            seconds,
            rounds,
            connections,
            rate,
            ..
        } = &self.options;
        writeln!(
            f,
            "median (min .. max) of {rounds} rounds of {seconds} s; closed loop: {connections} \
             connections; fixed rate: {rate} requests/s over as many"
        )?;
        match (self.cpus.traffic, self.cpus.proxies) {
            (Some(traffic), Some(proxies)) => writeln!(
                f,
                "generator and server share CPU {traffic}, all proxies CPU {proxies}"
            ),
            _ => writeln!(
                f,
                "one CPU for everything: caches are shared, costs too high"
            ),
        }
    }

    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nthin binaries, MiB")?;
        for (name, bytes) in &self.stripped_bytes {
            let mib = float(*bytes) / f64::from(1 << 20);
            writeln!(f, "  {:42}{mib:>9.1}", format!("{name}, stripped file"))?;
        }
        let times = [
            ("start", &self.memory_at_start),
            ("end", &self.memory_at_end),
        ];
        for (when, memories) in times {
            for (name, Memory { rss_kib, pss_kib }) in memories {
                let [rss, pss] = [rss_kib, pss_kib].map(|kib| float(*kib) / 1024.0);
                let name = format!("{name}, resident at {when}");
                writeln!(f, "  {name:42}{rss:>9.1}  (proportional {pss:.1})")?;
            }
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.preamble(f)?;
        for figures in &self.subjects {
            let name = &figures.subject;
            block(f, &format!("{name}, closed loop"), &figures.closed_loop)?;
            block(f, &format!("{name}, fixed rate"), &figures.fixed_rate)?;
            block(f, &format!("{name}, bulk, one stream"), &figures.bulk)?;
        }
        self.processes(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::{Latency, Window};

    fn measured() -> Measured {
        Measured {
            window: Window {
                seconds: 2.0,
                requests: 1000,
                bytes: 250_000_000,
                cpu: BTreeMap::new(),
                own_cpu: 1_000_000_000,
                latency: Some(Latency {
                    p50: 300.0,
                    p99: 900.0,
                }),
            },
            proxies: vec![("waypoint", 100_000_000)],
            server: 500_000_000,
        }
    }

    fn spreads(traffic: Traffic) -> Spreads {
        let mut samples = Samples::default();
        note(&mut samples, traffic, &measured());
        samples.spreads()
    }

    fn assert_median(spreads: &Spreads, figure: &str, expected: f64) {
        let found = spreads.median(figure).unwrap();
        assert!((found - expected).abs() < 1e-9, "{figure}: {found}");
    }

    #[test]
    fn a_requests_cost_is_cpu_time_over_requests() {
        let spreads = spreads(Traffic::ClosedLoop);
        assert_median(&spreads, "waypoint, CPU-µs/request", 100.0);
        assert_median(&spreads, "requests/s", 500.0);
        assert_median(&spreads, "proxies, % of a core", 5.0);
        assert_median(&spreads, "generator, % of a core", 50.0);
        assert_median(&spreads, "server, % of a core", 25.0);
        assert_median(&spreads, "latency p99, µs", 900.0);
    }

    #[test]
    fn bulk_is_told_per_second_of_cpu_and_per_second() {
        let spreads = spreads(Traffic::Bulk);
        assert_median(&spreads, "waypoint, Gbit/s per core", 20.0);
        assert_median(&spreads, "Gbit/s", 1.0);
    }
}
