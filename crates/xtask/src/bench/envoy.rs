//! `cargo xtask bench --wasm`: what a filter costs, here and in Envoy, with the same module.
//!
//! Both proxies have one worker on one CPU and speak plain HTTP. Each filter's window is taken in
//! turn, round by round; its cost is that of a request with it less that of a request without.
//! `docs/benchmark-wasm.md` tells the method.

mod containment;
mod proxies;
mod swaps;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use self::proxies::{Proxy, Running};
use super::cpu::Cpus;
use super::load::Load;
use super::statistics::{Spread, float};
use super::{Options, Output, Scratch, say, tell};

/// The filters, as the configuration of `conformance/wasm/guests/bench` names them.
const FILTERS: [(&str, &str); 4] = [
    ("noop", "no-op"),
    ("header", "add a header"),
    ("calls", "ten host calls"),
    ("body", "transform the body"),
];
/// A header that shows that the filter saw the answer.
const SEEN: &str = "x-bench";

/// One way through one proxy.
struct Subject {
    proxy: Proxy,
    filter: Option<&'static str>,
    running: Running,
    /// CPU-µs per request, by round.
    costs: Vec<f64>,
}

/// Measures and prints all three parts.
pub(super) fn run(options: &Options) -> Result<()> {
    let scratch = Scratch::new()?;
    let cpus = Cpus::choose()?;
    let parts = proxies::Parts::find(options.binaries.as_deref(), &scratch.0, cpus)?;
    let server = parts.server()?;
    let table = overhead(options, &parts, cpus)?;
    tell("a filter that loops, beside other requests");
    let containment = containment::measure(&parts, cpus)?;
    tell("100 swaps under load");
    let swaps = swaps::measure(&parts, cpus)?;
    drop(server);
    let text = format!("{table}\n{containment}\n{swaps}");
    if let Some(Output::Json) = options.output {
        say(&serde_json::to_string_pretty(
            &serde_json::json!({"overhead": table, "containment": containment, "swaps": swaps}),
        )?);
    } else {
        say(text.trim_end());
    }
    write(&text)
}

/// Puts the figures into the page that explains them.
fn write(text: &str) -> Result<()> {
    let page = root().join("docs/benchmark-wasm.md");
    let old = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let (head, rest) = old
        .split_once("<!-- figures -->")
        .context("no place for figures")?;
    let (_, tail) = rest
        .split_once("<!-- end of figures -->")
        .context("no end of figures")?;
    let new = format!("{head}<!-- figures -->\n\n{text}\n<!-- end of figures -->{tail}");
    fs::write(&page, new).with_context(|| page.display().to_string())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cost of each filter in each proxy.
fn overhead(options: &Options, parts: &proxies::Parts, cpus: Cpus) -> Result<String> {
    let mut subjects = Vec::new();
    for proxy in [Proxy::Envoy, Proxy::Cairn] {
        let filters = FILTERS.iter().map(|(filter, _)| Some(*filter));
        for filter in [None].into_iter().chain(filters) {
            subjects.push(Subject {
                proxy,
                filter,
                running: parts.start(proxy, filter, &[])?,
                costs: Vec::new(),
            });
        }
    }
    for round in 1..=options.rounds {
        tell(&format!("round {round} of {}", options.rounds));
        for subject in &mut subjects {
            let pid = subject.running.pid();
            let load = Load {
                address: subject.running.address.to_string(),
                connections: options.connections,
                seconds: options.seconds,
                rate: Some(options.rate),
                bulk: false,
                expect: matches!(subject.filter, Some("header" | "calls")).then(|| SEEN.to_owned()),
                watch: vec![pid],
                cpu: cpus.traffic,
            };
            // On a thread of its own, which alone gives up the other CPUs.
            let window = std::thread::spawn(move || load.run())
                .join()
                .map_err(|_| anyhow::anyhow!("the generator panicked"))??;
            let used = window.cpu.get(&pid).copied().unwrap_or_default();
            ensure!(window.requests > 0, "no request was answered");
            subject
                .costs
                .push(float(used) / 1e3 / float(window.requests));
        }
    }
    table(&subjects, options)
}

fn table(subjects: &[Subject], options: &Options) -> Result<String> {
    let of = |proxy: Proxy, filter: Option<&str>| -> Result<&Subject> {
        let found = subjects
            .iter()
            .find(|subject| subject.proxy == proxy && subject.filter == filter);
        found.context("a subject is missing")
    };
    let spread = |costs: &[f64]| Spread::of(costs).context("no round");
    let mut text = format!(
        "CPU-µs per request, median (min .. max) of {} rounds of {} s, {} requests/s over {} connections, one worker.\n\n",
        options.rounds, options.seconds, options.rate, options.connections
    );
    text.push_str("| filter | Envoy | added | Cairn | added | Cairn's added / Envoy's |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    let rows = [(None, "none")]
        .into_iter()
        .chain(FILTERS.iter().map(|(name, shown)| (Some(*name), *shown)));
    for (filter, shown) in rows {
        write!(text, "| {shown} |")?;
        let mut medians = Vec::new();
        for proxy in [Proxy::Envoy, Proxy::Cairn] {
            let with = of(proxy, filter)?;
            let total = spread(&with.costs)?;
            write!(text, " {} |", shown_spread(total))?;
            let without = of(proxy, None)?;
            // Of the same round: what the machine's neighbours do hits both alike.
            let added: Vec<f64> = with
                .costs
                .iter()
                .zip(&without.costs)
                .map(|(with, without)| with - without)
                .collect();
            let added = spread(&added)?;
            medians.push(added);
            if filter.is_some() {
                write!(text, " {} |", shown_spread(added))?;
            } else {
                text.push_str(" |");
            }
        }
        match (filter, medians.as_slice()) {
            // Where a round has nothing or less than nothing, the ratio is one of noise.
            (Some(_), [envoy, cairn]) if envoy.min > 0.0 && cairn.min > 0.0 => {
                writeln!(text, " {:.2} |", cairn.median / envoy.median)?;
            }
            (Some(_), _) => text.push_str(" lost in noise |\n"),
            _ => text.push_str(" |\n"),
        }
    }
    Ok(text)
}

fn shown_spread(spread: Spread) -> String {
    format!(
        "{:.1} ({:.1} .. {:.1})",
        spread.median, spread.min, spread.max
    )
}
