//! `cairn filter build`: sources to a module.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::shown;
use crate::filter::project::Project;
use crate::filter::{build, inspect};
use crate::print;

/// What to build.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct Args {
    /// The filter's folder; the one the shell is in without it.
    folder: Option<PathBuf>,
}

/// Builds and says in one line what came of it. A module that no proxy can load is a failure.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let project = match &args.folder {
        Some(folder) => Project::find(folder)?
            .with_context(|| format!("{} is no folder of a filter", folder.display()))?,
        None => Project::here()?,
    };
    let module = build::build(&project)?;
    let bytes = fs::read(&module).with_context(|| format!("read {}", module.display()))?;
    let found = inspect::inspect(&bytes)?;
    print::out(format_args!(
        "{}: {}",
        shown(&module).display(),
        found.line()
    ));
    Ok(if found.refused.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
