//! `cairn filter run`: an HTTP server with the filter in front.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::what;
use crate::filter::run::{self, Options};

/// What to run and how.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct Args {
    /// A module, or a filter's folder; the one the shell is in without it.
    module: Option<PathBuf>,
    /// Run no filter: requests pass as they would without one, to compare.
    #[arg(long, conflicts_with_all = ["module", "watch", "config", "root_id", "trace"])]
    no_filter: bool,
    /// Build and use what changes, without a pause. What cannot be used is told, and what ran
    /// before goes on.
    #[arg(long, short)]
    watch: bool,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// What requests go to; without it they are answered with what reaches the service.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where callouts go: a name as the filter calls it, and a URL.
    #[arg(long = "service", value_name = "NAME=URL", value_parser = service)]
    services: Vec<(String, String)>,
    /// The filter's configuration: a file, or the text itself. Without it, that of filter.yaml.
    #[arg(long, value_name = "FILE|TEXT")]
    config: Option<String>,
    /// Which filter of the module: the name it is registered under, `pluginName` in a WasmPlugin.
    /// Without it, that of filter.yaml, or none.
    #[arg(long, value_name = "NAME")]
    root_id: Option<String>,
    /// Print every call between proxy and filter.
    #[arg(long)]
    trace: bool,
    /// The least urgent lines to print of what the filter logs: error, warn, info, debug, trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log: tracing::Level,
    /// What happens to requests when the filter cannot run.
    #[arg(long, value_enum, default_value = "close")]
    fail_strategy: FailStrategy,
    /// Threads that serve requests; each has an instance of the filter.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailStrategy {
    Close,
    Open,
    Reload,
}

/// Serves until Ctrl-C.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let what = (!args.no_filter)
        .then(|| what(args.module.as_deref()))
        .transpose()?;
    let configuration = args.config.as_deref().map(run::configuration).transpose()?;
    let options = Options {
        listen: args.listen,
        upstream: args.upstream,
        services: args.services,
        configuration,
        root_id: args.root_id,
        trace: args.trace,
        log_level: args.log,
        watch: args.watch,
        workers: args.workers.into(),
        fail_strategy: match args.fail_strategy {
            FailStrategy::Close => waypoint::local::FailStrategy::Close,
            FailStrategy::Open => waypoint::local::FailStrategy::Open,
            FailStrategy::Reload => waypoint::local::FailStrategy::Reload,
        },
    };
    run::run(what.as_ref(), &options).await?;
    Ok(ExitCode::SUCCESS)
}

fn service(text: &str) -> Result<(String, String), String> {
    let (name, url) = text
        .split_once('=')
        .ok_or("say it like auth.default:8080=http://127.0.0.1:9000")?;
    Ok((name.to_owned(), url.to_owned()))
}
