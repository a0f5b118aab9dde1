//! `cairn filter inspect`: what is in a module.

use std::path::Path;
use std::process::ExitCode;

use super::{Output, registry, shown, what};
use crate::filter::inspect;
use crate::filter::run::What;
use crate::print;

/// What to look into.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct Args {
    /// A module: a file, or `oci://…`, `https://…`. Without it, what the folder's filter was built
    /// to.
    module: Option<String>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    login: registry::Login,
}

/// Prints what is in a module; succeeds when a proxy can load it.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (name, bytes) = match &args.module {
        Some(reference) if reference.contains("://") => {
            let module = registry::fetch(reference, &args.login).await?;
            (reference.clone(), module.bytes.to_vec())
        }
        given => {
            let path = match what(given.as_deref().map(Path::new))? {
                What::Module(path) => path,
                What::Project(root) => crate::filter::project::Project::read(&root)?.output,
            };
            (shown(&path).display().to_string(), read(&path)?)
        }
    };
    let found = inspect::inspect(&bytes)?;
    match args.output {
        Output::Text => print::out(found.text(&name)),
        Output::Json => print::out(format_args!("{:#}", found.json())),
    }
    Ok(if found.refused.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads a module.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let shown = path.display();
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; cairn filter build makes it"
        } else {
            ""
        };
        anyhow::anyhow!("{shown} cannot be read: {error}{hint}")
    })
}
