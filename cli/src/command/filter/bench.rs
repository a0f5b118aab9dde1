//! `cairn filter bench`: what the filter costs.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Output, what};
use crate::filter::{bench, log, run};
use crate::print;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct Args {
    /// A module, or a filter's folder; the one the shell is in without it.
    module: Option<PathBuf>,
    /// Requests with the filter, and as many without.
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    requests: u32,
    /// What to ask for.
    #[arg(long, default_value = "/")]
    path: String,
    /// The filter's configuration: a file, or the text itself. Without it, that of filter.yaml.
    #[arg(long, value_name = "FILE|TEXT")]
    config: Option<String>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

/// Measures and prints.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sent = bench::request(args.path.clone());
    sent.check()?;
    let mut subject = what(args.module.as_deref())?.subject().await?;
    if let Some(config) = &args.config {
        subject.configuration = run::configuration(config)?;
    }
    // Lines of a filter that logs each request would take longer than the filter.
    log::install(|line| {
        if line.plugin.is_none() {
            print::warn(line);
        }
    })?;
    let measured = bench::measure(&subject, &sent, args.requests as usize).await?;
    match args.output {
        Output::Text => print::out(measured.text()),
        Output::Json => print::out(format_args!("{:#}", measured.json())),
    }
    Ok(ExitCode::SUCCESS)
}
