//! What people type: one module per command.

mod detach;
mod down;
mod exec;
mod filter;
mod get;
mod logs;
mod privileges;
mod status;
mod target;
mod up;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use control::config::Config;

use crate::{print, sample::Sample, state::MeshName};

/// A whole ambient mesh on one machine.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
pub struct Cli {
    /// Which mesh on this machine is meant; several can be up, and do not touch each other.
    #[arg(
        long,
        global = true,
        env = "CAIRN_MESH",
        default_value = MeshName::DEFAULT,
        value_name = "NAME"
    )]
    mesh: MeshName,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a mesh from manifests, or the built-in sample.
    Up(up::Args),
    /// End the mesh and remove all there is of it.
    Down,
    /// Run a command inside a pod.
    Exec(exec::Args),
    /// Print what a pod's containers have written.
    Logs(logs::Args),
    /// Tell what is wrong with the objects.
    Status(status::Args),
    /// Print objects.
    Get(get::Args),
    /// Write a filter: begin, build, look into, try, measure, publish.
    #[command(subcommand)]
    Filter(filter::Filter),
    /// Be the control plane.
    #[command(hide = true)]
    Control(control::config::Paths),
    /// Be a node's L4 proxy; its settings are the environment.
    #[command(hide = true)]
    Ztunnel,
    /// Be a waypoint; its settings are the environment.
    #[command(hide = true)]
    Waypoint,
    /// Run a program of the sample.
    #[command(subcommand)]
    Sample(Sample),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        let mesh = self.mesh;
        let outcome = match self.command {
            // The command takes this process's place, so nothing may run beside it.
            Command::Exec(args) => exec::run(&mesh, &args),
            Command::Up(args) => up::run(&mesh, &args),
            // Products make their own runtimes and threads.
            Command::Control(paths) => product(control::app::run(&Config::load(paths, &env))),
            Command::Ztunnel => product(ztunnel::app::run(&env)),
            Command::Waypoint => product(waypoint::app::run(&env)),
            Command::Down => block_on(down::run(&mesh)),
            Command::Logs(args) => block_on(logs::run(&mesh, args)),
            Command::Status(args) => block_on(status::run(&mesh, args)),
            Command::Get(args) => block_on(get::run(&mesh, args)),
            Command::Filter(filter) => block_on(filter::run(filter)),
            Command::Sample(sample) => {
                block_on(async { sample.run(&mesh).await.map(|()| ExitCode::SUCCESS) })
            }
        };
        outcome.unwrap_or_else(|e| {
            print::fail(runtime::report(&*e));
            ExitCode::FAILURE
        })
    }
}

/// The environment, for the products that are configured by it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn product(ran: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    ran.map(|()| ExitCode::SUCCESS)
}

/// Runs a command on this thread.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, command)
}

/// Reads a duration as people write it: `90s`, `2m`, `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| "say it like 90s or 2m".to_owned())?;
    match text.strip_prefix(digits) {
        Some("ms") => Ok(Duration::from_millis(number)),
        Some("s") => Ok(Duration::from_secs(number)),
        Some("m") => Ok(Duration::from_secs(number * 60)),
        _ => Err("say it like 90s or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "5", "s", "-1s", "1h30m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
