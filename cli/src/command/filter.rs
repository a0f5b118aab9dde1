//! `cairn filter`: what a person who writes a filter types.

mod bench;
mod build;
mod inspect;
mod new;
mod registry;
mod run;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};

use crate::filter::project::Project;
use crate::filter::run::What;
use crate::filter::toolchain::Missing;
use crate::print;

/// What to install is said; the program that is needed is not there (`sysexits.h`,
/// `EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;

/// A step on the way of a filter.
#[derive(Debug, Subcommand)]
pub(super) enum Filter {
    /// Begin a filter: a folder that builds.
    New(new::Args),
    /// Build the filter of this folder.
    Build(build::Args),
    /// Tell what is in a module, and whether it can be loaded.
    Inspect(inspect::Args),
    /// Run test cases against the filter of this folder, in the proxy that would run it.
    #[command(after_long_help = crate::filter::case::HELP)]
    Test(test::Args),
    /// Serve HTTP with the filter of this folder in front.
    Run(run::Args),
    /// Measure what the filter of this folder costs.
    Bench(bench::Args),
    /// Publish a module in a registry.
    Push(registry::PushArgs),
    /// Get a module from a registry or a URL.
    Pull(registry::PullArgs),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Does a step. A toolchain that is missing is an answer of its own.
pub(super) async fn run(filter: Filter) -> anyhow::Result<ExitCode> {
    let outcome = match filter {
        Filter::New(args) => new::run(&args),
        Filter::Build(args) => build::run(&args),
        Filter::Inspect(args) => inspect::run(&args).await,
        Filter::Test(args) => test::run(&args).await,
        Filter::Run(args) => run::run(args).await,
        Filter::Bench(args) => bench::run(&args).await,
        Filter::Push(args) => registry::push(&args).await,
        Filter::Pull(args) => registry::pull(&args).await,
    };
    match outcome {
        Err(error) if error.downcast_ref::<Missing>().is_some() => {
            print::fail(error);
            Ok(ExitCode::from(UNAVAILABLE))
        }
        outcome => outcome,
    }
}

/// What a person means: a module, a folder with a filter, or the folder the process is in.
fn what(given: Option<&Path>) -> anyhow::Result<What> {
    match given {
        Some(path) if path.is_dir() => {
            let project = Project::find(path)?;
            let project =
                project.with_context(|| format!("{} is no folder of a filter", path.display()))?;
            Ok(What::Project(project.root))
        }
        Some(path) => Ok(What::Module(path.to_owned())),
        None => Ok(What::Project(Project::here()?.root)),
    }
}

/// A file as a person would write it: seen from here if it is below here.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}
