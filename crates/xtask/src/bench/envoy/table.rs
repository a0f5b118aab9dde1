//! The figures of both proxies, side by side, as people and programs read them.

use std::fmt::{self, Display};

use serde::Serialize;

use super::super::cpu::Memory;
use super::super::statistics::{Spread, float};
use super::window::Window;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) connections: u32,
    pub(super) rows: Vec<Row>,
}

/// A filter in both proxies.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) filter: &'static str,
    pub(super) envoy: Side,
    pub(super) cairn: Side,
}

/// A filter in one of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Side {
    /// CPU-µs per request.
    cost: Spread,
    /// What of it is due to the filter.
    added: Option<Spread>,
    /// Requests per second.
    rate: Spread,
    /// The share of its CPU that the proxy used.
    busy: Spread,
    /// The share of theirs that clients and server used.
    generating: Spread,
    /// What it holds at the end.
    memory: Memory,
}

impl Side {
    /// What the rounds came to, and those of the same proxy without the filter, in the same order.
    pub(super) fn of(with: &[Window], without: Option<&[Window]>, memory: Memory) -> Option<Self> {
        let spread = |figure: fn(&Window) -> f64| {
            let figures: Vec<f64> = with.iter().map(figure).collect();
            Spread::of(&figures)
        };
        // Within a round: what the machine's neighbours do hits both alike.
        let added = without.map(|without| {
            let rounds = with.iter().zip(without);
            let added: Vec<f64> = rounds
                .map(|(with, without)| with.cost() - without.cost())
                .collect();
            Spread::of(&added)
        });
        Some(Self {
            cost: spread(Window::cost)?,
            added: match added {
                Some(added) => Some(added?),
                None => None,
            },
            rate: spread(Window::rate)?,
            busy: spread(Window::busy)?,
            generating: spread(Window::generating)?,
            memory,
        })
    }
}

impl Row {
    /// What the filter adds here over what it adds there. Where a round has nothing or less than
    /// nothing, that is a ratio of noise.
    fn ratio(&self) -> Option<f64> {
        let (envoy, cairn) = (self.envoy.added?, self.cairn.added?);
        let is_clear = envoy.min > 0.0 && cairn.min > 0.0;
        is_clear.then(|| cairn.median / envoy.median)
    }
}

impl Table {
    fn costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "CPU-µs per request, median (min .. max) of {} rounds of {} s; {} connections, each with \
             the next request as soon as it has its answer; one worker.\n\n\
             | filter | Envoy | added | Cairn | added | Cairn's added / Envoy's |\n\
             |---|---|---|---|---|---|",
            self.rounds, self.seconds, self.connections
        )?;
        for row in &self.rows {
            write!(f, "| {} |", row.filter)?;
            for side in [&row.envoy, &row.cairn] {
                write!(f, " {} |", shown(&side.cost))?;
                match &side.added {
                    Some(added) => write!(f, " {} |", shown(added))?,
                    None => write!(f, " |")?,
                }
            }
            match (row.ratio(), row.envoy.added) {
                (Some(ratio), _) => writeln!(f, " {ratio:.2} |")?,
                (None, Some(_)) => writeln!(f, " lost in noise |")?,
                (None, None) => writeln!(f, " |")?,
            }
        }
        Ok(())
    }

    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nThe same windows and processes: requests per second, the least share of its CPU that \
             the proxy used and the largest that clients and server used of theirs, and what the \
             proxy held in memory at the end, resident (proportional), in MiB.\n\n\
             | filter | Envoy, requests/s | CPU | clients | memory | Cairn, requests/s | CPU | clients | memory |\n\
             |---|---|---|---|---|---|---|---|---|"
        )?;
        for row in &self.rows {
            write!(f, "| {} |", row.filter)?;
            for side in [&row.envoy, &row.cairn] {
                let [rss, pss] =
                    [side.memory.rss_kib, side.memory.pss_kib].map(|kib| float(kib) / 1024.0);
                write!(
                    f,
                    " {:.0} | {:.1} % | {:.1} % | {rss:.1} ({pss:.1}) |",
                    side.rate.median,
                    side.busy.min * 100.0,
                    side.generating.max * 100.0,
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.costs(f)?;
        self.processes(f)
    }
}

fn shown(spread: &Spread) -> String {
    format!(
        "{:.1} ({:.1} .. {:.1})",
        spread.median, spread.min, spread.max
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of one second with a thousand requests, each of which costs this many CPU-µs.
    fn windows(costs: &[u64]) -> Vec<Window> {
        let window = |cost: &u64| Window {
            seconds: 1.0,
            requests: 1000,
            proxy: cost * 1_000_000,
            generator: 500_000_000,
            idle: 0.0,
            stolen: 0.0,
        };
        costs.iter().map(window).collect()
    }

    fn side(with: &[u64], without: Option<&[u64]>) -> Side {
        let without = without.map(windows);
        let memory = Memory {
            rss_kib: 2048,
            pss_kib: 1024,
        };
        Side::of(&windows(with), without.as_deref(), memory).unwrap()
    }

    #[test]
    fn what_a_filter_adds_is_taken_within_a_round() {
        // The neighbours were busy in the second round.
        let side = side(&[120, 220, 130], Some(&[100, 200, 100]));
        let added = side.added.unwrap();
        assert!((added.median - 20.0).abs() < 1e-9, "{added:?}");
        assert!((added.max - 30.0).abs() < 1e-9, "{added:?}");
    }

    #[test]
    fn the_ratio_is_that_of_medians_unless_it_is_lost_in_noise() {
        let row = |envoy: &[u64], cairn: &[u64]| Row {
            filter: "no-op",
            envoy: side(envoy, Some(&[100, 100, 100])),
            cairn: side(cairn, Some(&[100, 100, 100])),
        };
        let ratio = row(&[140, 120, 120], &[110, 105, 130]).ratio();
        assert!((ratio.unwrap() - 0.5).abs() < 1e-9, "{ratio:?}");
        assert_eq!(row(&[140, 120, 120], &[110, 99, 130]).ratio(), None);
    }

    #[test]
    fn every_filter_has_its_line_in_both_tables() {
        let none = Row {
            filter: "none",
            envoy: side(&[100], None),
            cairn: side(&[50], None),
        };
        let noop = Row {
            filter: "no-op",
            envoy: side(&[120], Some(&[100])),
            cairn: side(&[55], Some(&[50])),
        };
        let table = Table {
            rounds: 1,
            seconds: 1.0,
            connections: 32,
            rows: vec![none, noop],
        };
        let text = table.to_string();
        for line in [
            "| none | 100.0 (100.0 .. 100.0) | | 50.0 (50.0 .. 50.0) | | |",
            "| no-op | 120.0 (120.0 .. 120.0) | 20.0 (20.0 .. 20.0) | 55.0 (55.0 .. 55.0) | 5.0 (5.0 .. 5.0) | 0.25 |",
            "| none | 1000 | 10.0 % | 50.0 % | 2.0 (1.0) | 1000 | 5.0 % | 50.0 % | 2.0 (1.0) |",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
