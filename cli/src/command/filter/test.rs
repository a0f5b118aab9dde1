//! `cairn filter test`: does the filter do what its cases say?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::json;

use super::{Output, shown, what};
use crate::filter::case::{self, Case};
use crate::filter::log;
use crate::filter::run::What;
use crate::filter::suite::{self, Logged, Outcome};
use crate::filter::toolchain::Missing;
use crate::print;

/// A case did not hold.
const FAILED: u8 = 1;
/// There is nothing to run, or it cannot be run.
const USAGE: u8 = 2;

/// What to test.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct Args {
    /// Files of cases, or folders of them. Without any: `tests` in the filter's folder.
    paths: Vec<PathBuf>,
    /// A module, or another filter's folder.
    #[arg(long, value_name = "PATH")]
    filter: Option<PathBuf>,
    /// Run only cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// How to print what came of it.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

/// Runs the cases: 0 when all hold, 1 when one does not, 2 when they cannot be run.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let outcomes = match Box::pin(prepare_and_run(args)).await {
        Ok(outcomes) => outcomes,
        Err(error) if error.downcast_ref::<Missing>().is_some() => return Err(error),
        Err(error) => {
            print::fail(format_args!("{error:#}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let passed = outcomes.len() - failed;
    match args.output {
        Output::Text => print::out(format_args!("{passed} passed, {failed} failed")),
        Output::Json => {
            let cases: Vec<_> = outcomes.iter().map(Outcome::json).collect();
            let all = json!({"passed": passed, "failed": failed, "cases": cases});
            print::out(format_args!("{all:#}"));
        }
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

async fn prepare_and_run(args: &Args) -> anyhow::Result<Vec<Outcome>> {
    let what = what(args.filter.as_deref())?;
    let cases = cases(args, &what)?;
    let subject = what.subject().await?;
    ensure!(
        subject.module.is_file(),
        "{} is not there",
        subject.module.display()
    );
    let logged = Logged::default();
    let sink = Logged::clone(&logged);
    log::install(move |line| sink.lock().push(line))?;
    let mut outcomes = vec![];
    for (file, case) in cases {
        let outcome = suite::run(&subject, &shown(&file), &case, &logged)
            .await
            .with_context(|| format!("{}: {}", file.display(), case.name))?;
        if args.output == Output::Text {
            print::out(outcome.text());
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// The cases to run, each with its file.
fn cases(args: &Args, what: &What) -> anyhow::Result<Vec<(PathBuf, Case)>> {
    let usual = match what {
        What::Project(root) => vec![root.join("tests")],
        What::Module(_) => vec![],
    };
    let paths = if args.paths.is_empty() {
        &usual
    } else {
        &args.paths
    };
    ensure!(
        !paths.is_empty(),
        "name the files of cases: a module alone has no folder of tests"
    );
    let mut found = vec![];
    for path in paths {
        for file in case::files(Path::new(path))? {
            let cases = case::read(&file)?;
            found.extend(cases.into_iter().map(|case| (file.clone(), case)));
        }
    }
    let wanted = args.name.as_deref().unwrap_or_default();
    found.retain(|(_, case)| case.name.contains(wanted));
    ensure!(
        !found.is_empty(),
        "there is no case{} in {}",
        args.name
            .as_ref()
            .map_or_else(String::new, |name| format!(" named {name:?}")),
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    );
    Ok(found)
}
