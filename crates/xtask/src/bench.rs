//! `cargo xtask bench`: what a request and a byte cost in the proxies, in a real mesh.
//!
//! The figure is CPU time of a proxy per request, not requests per second: it says the same on a
//! fast and on a slow machine's neighbours, and who pays. `docs/benchmark.md` tells the method.

mod binaries;
mod cpu;
mod envoy;
mod http;
mod load;
mod report;
mod schedule;
mod server;
mod statistics;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::geteuid;
use serde::Serialize;

use self::binaries::Binaries;
use self::cpu::{Cpus, Memory};
use self::load::Load;
use self::report::{Figures, Report, Traffic, note};
use self::statistics::Samples;
use self::world::{SUBJECTS, Subject, World};

/// What to measure, and for how long.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct Options {
    /// Length of one window
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// How often each subject has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections of the client
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Requests per second where latency is measured
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Measure the binaries `cairn`, `waypoint` and `ztunnel` of this folder instead of building
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Compare what filters cost with what the same modules cost in Envoy, and see what a filter
    /// that loops and swaps of filters do to other requests
    #[arg(long)]
    wasm: bool,
    /// Print JSON
    #[arg(long, short, value_enum)]
    #[serde(skip)]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Json,
}

/// A part of the benchmark that runs inside the mesh.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Send requests and print what a window came to
    Load(Load),
    /// Answer requests
    Serve {
        /// The only CPU to use
        #[arg(long)]
        cpu: Option<usize>,
        /// Where to listen
        #[arg(long, default_value_t = server::PORT)]
        port: u16,
    },
    /// Become a program that has one CPU
    Pinned {
        /// The only CPU to use
        #[arg(long)]
        cpu: Option<usize>,
        /// The program
        program: PathBuf,
    },
}

impl Part {
    /// Does the part's work.
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Load(load) => {
                interrupts().thread_unblock()?;
                say(&serde_json::to_string(&load.run()?)?);
                Ok(())
            }
            Self::Serve { cpu, port } => server::serve(cpu, port),
            Self::Pinned { cpu, program } => binaries::pinned(cpu, &program),
        }
    }
}

/// Measures everything and prints it.
pub(crate) fn run(options: Options) -> Result<()> {
    if options.wasm {
        return envoy::run(&options);
    }
    ensure!(geteuid().is_root(), "a mesh needs root");
    let binaries = if let Some(folder) = &options.binaries {
        Binaries::of(folder)?
    } else {
        tell("building cairn, waypoint and ztunnel as they are released");
        Binaries::build()?
    };
    let scratch = Scratch::new()?;
    let output = options.output;
    let report = measure(options, &binaries, &scratch.0)?;
    match output {
        Some(Output::Json) => say(&serde_json::to_string_pretty(&report)?),
        None => say(report.to_string().trim_end()),
    }
    Ok(())
}

fn measure(options: Options, binaries: &Binaries, scratch: &Path) -> Result<Report> {
    let stripped_bytes = binaries.stripped_sizes(scratch)?;
    let cpus = Cpus::choose()?;
    tell("starting a mesh of two nodes out of the thin binaries");
    let world = World::start(binaries, scratch, cpus)?;
    // From here a Ctrl-C is for the generator alone: its window fails, and on the way out of that
    // failure the mesh is taken down.
    interrupts().thread_block()?;
    let memory_at_start = memory(&world)?;
    let mut samples = BTreeMap::new();
    for round in 1..=options.rounds {
        tell(&format!("round {round} of {}", options.rounds));
        // Every subject in turn: what the machine's neighbours do hits all alike.
        for traffic in [Traffic::ClosedLoop, Traffic::FixedRate, Traffic::Bulk] {
            for (place, subject) in SUBJECTS.iter().enumerate() {
                if !subject.carries(traffic) {
                    continue;
                }
                let measured = world.measure(subject, &load(&options, traffic))?;
                let samples: &mut Samples = samples.entry((place, traffic)).or_default();
                note(samples, traffic, &measured);
            }
        }
    }
    let memory_at_end = memory(&world)?;
    world.check_unchanged()?;
    let spreads = |place: usize, traffic: Traffic| {
        samples
            .get(&(place, traffic))
            .map(Samples::spreads)
            .unwrap_or_default()
    };
    let figures = |(place, subject): (usize, &Subject)| Figures {
        subject: subject.name.to_owned(),
        closed_loop: spreads(place, Traffic::ClosedLoop),
        fixed_rate: spreads(place, Traffic::FixedRate),
        bulk: spreads(place, Traffic::Bulk),
    };
    Ok(Report {
        subjects: SUBJECTS.iter().enumerate().map(figures).collect(),
        options,
        cpus,
        stripped_bytes,
        memory_at_start,
        memory_at_end,
    })
}

/// The window's traffic; where it goes is the subject's.
fn load(options: &Options, traffic: Traffic) -> Load {
    let is_bulk = traffic == Traffic::Bulk;
    Load {
        address: String::new(),
        connections: if is_bulk { 1 } else { options.connections },
        seconds: options.seconds,
        rate: (traffic == Traffic::FixedRate).then_some(options.rate),
        bulk: is_bulk,
        expect: None,
        watch: Vec::new(),
        cpu: None,
    }
}

/// What the thin binaries hold now.
fn memory(world: &World) -> Result<BTreeMap<String, Memory>> {
    let processes = [
        ("waypoint", "plain-waypoint-"),
        ("waypoint, Wasm filter", "filtering-waypoint-"),
        ("ztunnel", "ztunnel-node1"),
    ];
    let memory = |(name, pod): (&str, &str)| -> Result<_> {
        Ok((name.to_owned(), Memory::of(world.pid(pod)?)?))
    };
    processes.into_iter().map(memory).collect()
}

/// What a Ctrl-C sends.
fn interrupts() -> SigSet {
    SigSet::from_iter([Signal::SIGINT])
}

/// A folder that is gone with the value.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("cairn-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok();
    let allowed = seconds.filter(|seconds| (0.1..=60.0).contains(seconds));
    allowed.ok_or_else(|| "say a number from 0.1 to 60".to_owned())
}

#[expect(clippy::print_stdout, reason = "a tool for people")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(
    clippy::print_stderr,
    reason = "a tool for people; stdout is for the result"
)]
fn tell(line: &str) {
    eprintln!("{line}");
}
