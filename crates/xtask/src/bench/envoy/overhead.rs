//! The cost of each filter in each proxy, round by round.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::super::cpu::{Cpus, Memory};
use super::super::{Options, tell};
use super::exchange::Exchange;
use super::proxies::{Parts, Proxy, Running};
use super::table::{Row, Side, Table};
use super::traffic::{Clients, Traffic};
use super::window::Window;

/// Traffic before a window: connections are open, buffers and caches filled.
const WARM_UP: Duration = Duration::from_millis(500);
/// Traffic before the first window: V8 has compiled what it finds worth it.
const FIRST: Duration = Duration::from_secs(2);
/// How often a window is taken that says nothing.
const ATTEMPTS: u32 = 12;
/// Of the proxies, in the order of the table.
const PROXIES: [Proxy; 2] = [Proxy::Envoy, Proxy::Cairn];

/// One line of the table.
struct Way {
    name: &'static str,
    /// As the configuration of the module says it.
    filter: Option<&'static str>,
    /// Where the way without a filter stands that has the same traffic.
    without: usize,
    traffic: Messages,
}

/// What is asked and answered.
#[derive(Clone, Copy)]
enum Messages {
    /// A small answer; the filter adds these headers to request and answer.
    Small(Option<&'static str>, Option<&'static str>),
    /// A page for a page, and whether the filter transforms it.
    Page(bool),
}

const ANSWER: Option<&str> = Some("x-bench");
const REQUEST: Option<&str> = Some("x-bench-request");

/// All of them; those without a filter stand before those that are compared with them.
const WAYS: [Way; 7] = [
    way("none", None, 0, Messages::Small(None, None)),
    way("no-op", Some("noop"), 0, Messages::Small(None, None)),
    way(
        "add a header",
        Some("header"),
        0,
        Messages::Small(None, ANSWER),
    ),
    way(
        "ten host calls",
        Some("calls"),
        0,
        Messages::Small(REQUEST, ANSWER),
    ),
    way("none, with bodies", None, 4, Messages::Page(false)),
    way("no-op, with bodies", Some("noop"), 4, Messages::Page(false)),
    way("transform the body", Some("body"), 4, Messages::Page(true)),
];

const fn way(
    name: &'static str,
    filter: Option<&'static str>,
    without: usize,
    traffic: Messages,
) -> Way {
    Way {
        name,
        filter,
        without,
        traffic,
    }
}

impl Messages {
    fn exchange(self) -> Exchange {
        match self {
            Self::Small(request, answer) => Exchange::small(request, answer),
            Self::Page(is_transformed) => Exchange::page(is_transformed),
        }
    }
}

/// One way through one proxy.
struct Subject<'a> {
    way: &'a Way,
    proxy: Proxy,
    running: &'a Running,
    windows: Vec<Window>,
}

/// Measures them all.
pub(super) fn measure(options: &Options, parts: &Parts, cpus: Cpus) -> Result<Table> {
    let alone = cpus.proxies.context(
        "one CPU is not enough: a proxy is only kept busy by clients that do not run on its own",
    )?;
    let processes = start(parts)?;
    let mut subjects = subjects(&processes)?;
    let mut traffic = Traffic::listen(parts.upstream(), alone)?;
    // On a thread of its own, which alone gives up the other CPUs.
    thread::scope(|scope| {
        let rounds = scope.spawn(|| {
            super::super::cpu::pin(cpus.traffic)?;
            rounds(options, &mut traffic, &mut subjects)
        });
        rounds
            .join()
            .map_err(|_| anyhow!("the generator panicked"))?
    })?;
    let rows = WAYS.iter().map(|way| row(way, &subjects));
    Ok(Table {
        rounds: options.rounds,
        seconds: options.seconds,
        connections: options.connections,
        rows: rows.collect::<Result<_>>()?,
    })
}

/// A process per proxy and filter.
fn start(parts: &Parts) -> Result<Vec<(Proxy, Option<&'static str>, Running)>> {
    let mut processes: Vec<(Proxy, Option<&str>, Running)> = Vec::new();
    for proxy in PROXIES {
        for way in &WAYS {
            let is_new = |(of, filter, _): &(Proxy, Option<&str>, Running)| {
                (*of, *filter) != (proxy, way.filter)
            };
            if processes.iter().all(is_new) {
                let running = parts.start(proxy, way.filter, &[])?;
                processes.push((proxy, way.filter, running));
            }
        }
    }
    Ok(processes)
}

/// Every way through every proxy; the two proxies of a way stand side by side.
fn subjects<'a>(
    processes: &'a [(Proxy, Option<&'static str>, Running)],
) -> Result<Vec<Subject<'a>>> {
    let both = WAYS
        .iter()
        .flat_map(|way| PROXIES.map(|proxy| (way, proxy)));
    let subject = |(way, proxy): (&'static Way, Proxy)| {
        let found = processes
            .iter()
            .find(|(of, filter, _)| (*of, *filter) == (proxy, way.filter));
        let (_, _, running) = found.context("a process is missing")?;
        Ok(Subject {
            way,
            proxy,
            running,
            windows: Vec::new(),
        })
    };
    both.map(subject).collect()
}

fn rounds(options: &Options, traffic: &mut Traffic, subjects: &mut [Subject<'_>]) -> Result<()> {
    tell("warming up");
    for subject in &mut *subjects {
        let clients = subject.clients(options, FIRST, Duration::ZERO);
        traffic.window(&clients, &subject.way.traffic.exchange())?;
    }
    for round in 1..=options.rounds {
        tell(&format!("round {round} of {}", options.rounds));
        for place in turns(round, subjects.len()) {
            if let Some(subject) = subjects.get_mut(place) {
                let window = subject.measure(options, traffic)?;
                subject.windows.push(window);
            }
        }
    }
    Ok(())
}

/// Whose turn it is in a round, one after the other: forth in one round and back in the next, so
/// that nobody always follows the same.
fn turns(round: u32, subjects: usize) -> Vec<usize> {
    let forth = 0..subjects;
    if round.is_multiple_of(2) {
        forth.rev().collect()
    } else {
        forth.collect()
    }
}

impl Subject<'_> {
    fn clients(&self, options: &Options, warm_up: Duration, length: Duration) -> Clients {
        Clients {
            pid: self.running.pid(),
            address: self.running.address,
            connections: options.connections,
            warm_up,
            length,
        }
    }

    /// A window that says something.
    fn measure(&self, options: &Options, traffic: &mut Traffic) -> Result<Window> {
        let length = Duration::try_from_secs_f64(options.seconds)?;
        let clients = self.clients(options, WARM_UP, length);
        let exchange = self.way.traffic.exchange();
        let name = format!("{:?}, {}", self.proxy, self.way.name);
        let mut refusal = String::new();
        for _ in 0..ATTEMPTS {
            let window = traffic.window(&clients, &exchange);
            let window = window.with_context(|| name.clone())?;
            match window.refusal() {
                None => return Ok(window),
                Some(why) => refusal = why,
            }
            tell(&format!("{name}: a window is taken again: {refusal}"));
        }
        bail!("{name}: {ATTEMPTS} windows say nothing of what it costs; in the last, {refusal}")
    }
}

fn row(way: &'static Way, subjects: &[Subject<'_>]) -> Result<Row> {
    let side = |proxy: Proxy| {
        let of = |name: &str| {
            let found = subjects
                .iter()
                .find(|subject| subject.proxy == proxy && subject.way.name == name);
            found.context("a subject is missing")
        };
        let with = of(way.name)?;
        let without = WAYS.get(way.without).filter(|_| way.filter.is_some());
        let without = without.map(|way| of(way.name)).transpose()?;
        let memory = Memory::of(with.running.pid())?;
        Side::of(
            &with.windows,
            without.map(|subject| subject.windows.as_slice()),
            memory,
        )
        .context("no round")
    };
    Ok(Row {
        filter: way.name,
        envoy: side(Proxy::Envoy)?,
        cairn: side(Proxy::Cairn)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_in_each_round_and_not_after_the_same() {
        assert_eq!(turns(1, 4), [0, 1, 2, 3]);
        assert_eq!(turns(2, 4), [3, 2, 1, 0]);
        assert_eq!(turns(3, 4), turns(1, 4));
    }

    #[test]
    fn a_filter_is_compared_with_none_at_the_same_traffic() {
        let size = |way: &Way| way.traffic.exchange().request.len();
        for way in &WAYS {
            let without = &WAYS[way.without];
            assert_eq!(without.filter, None, "{}", way.name);
            assert_eq!(size(without), size(way), "{}", way.name);
        }
    }
}
