//! Swaps of a filter's code under load, compilation included.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::super::cpu::Cpus;
use super::super::load::Load;
use super::super::statistics::float;
use super::proxies::{Parts, Running, pause};

/// A header that shows that the filter saw the answer.
const SEEN: &str = "x-bench";
/// How many.
const SWAPS: u32 = 100;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that send requests meanwhile.
const CONNECTIONS: u32 = 16;

/// Swaps the module while requests come at half the rate that the proxy sustains, and fails when
/// any request does.
pub(super) fn measure(parts: &Parts, cpus: Cpus) -> Result<String> {
    let module = fs::read(parts.module())?;
    let path = parts.scratch().join("swapped.wasm");
    fs::write(&path, &module)?;
    let running = parts.cairn(&path, "header", &["--watch"])?;
    let load = |seconds: f64, rate: Option<u32>| Load {
        address: running.address.to_string(),
        connections: CONNECTIONS,
        seconds,
        rate,
        bulk: false,
        expect: Some(SEEN.to_owned()),
        watch: vec![running.pid()],
        cpu: cpus.traffic,
    };
    let first = load(3.0, None);
    let sustained = std::thread::spawn(move || first.run());
    let sustained = sustained.join().map_err(|_| anyhow!("panicked"))??;
    let rate = float(sustained.requests) / sustained.seconds;
    let half = format!("{:.0}", rate / 2.0).parse::<u32>()?;
    // As many windows as the swaps take: a window with a failed request is an error.
    let started = Instant::now();
    let mut sent = 0;
    let mut worst: f64 = 0.0;
    let swapping = std::thread::scope(|scope| -> Result<Duration> {
        let swaps = scope.spawn(|| swap_all(&module, &path, &running));
        while !swaps.is_finished() {
            let window = load(2.0, Some(half));
            let window = scope.spawn(move || window.run());
            let window = window.join().map_err(|_| anyhow!("panicked"))??;
            sent += window.requests;
            worst = worst.max(window.latency.map_or(0.0, |latency| latency.p99));
        }
        swaps.join().map_err(|_| anyhow!("panicked"))?
    })?;
    Ok(format!(
        "Hot swaps: {SWAPS} new modules of {} KB, each compiled, tried and swapped in, in {:.0} s, \
         while {half} requests/s were sent, half of the {rate:.0} the same process answered before. \
         **{sent} requests in {:.0} s, none failed**; the p99 of the slowest window was {:.1} ms.\n",
        module.len() / 1024,
        swapping.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        worst / 1e3,
    ))
}

/// Puts a new module in place again and again, each time once the one before runs.
fn swap_all(module: &[u8], path: &Path, running: &Running) -> Result<Duration> {
    let started = Instant::now();
    let output = running.output.as_ref().context("no output")?;
    let runs = || -> Result<usize> {
        let said = fs::read_to_string(output)?;
        Ok(said.matches(" runs, sha256 ").count())
    };
    for number in 0..SWAPS {
        let before = runs()?;
        let next = path.with_extension("next");
        fs::write(&next, numbered(module, number)?)?;
        fs::rename(&next, path)?;
        let until = Instant::now() + PATIENCE;
        while runs()? == before {
            ensure!(Instant::now() < until, "swap {number} did not happen");
            pause();
        }
    }
    Ok(started.elapsed())
}

/// The module with a section nobody looks at, which makes it another module: nothing that was
/// compiled before can be used again.
fn numbered(module: &[u8], number: u32) -> Result<Vec<u8>> {
    let name = format!("bench-{number}");
    let length = u8::try_from(name.len())?;
    let mut bytes = module.to_vec();
    // A custom section: its id, its size, and its name with a size of its own; no contents.
    bytes.extend([0, length + 1, length]);
    bytes.extend(name.as_bytes());
    Ok(bytes)
}
