//! `cairn filter inspect`: what is in a module.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

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

/// Most bytes that are read; Istio's bound of a module.
const LARGEST: u64 = 256 << 20;

/// Reads a module.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let unread = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; cairn filter build makes it"
        } else {
            ""
        };
        anyhow::anyhow!("{shown} cannot be read: {error}{hint}")
    };
    // Looked at first: opening a pipe would wait for somebody to write to it.
    let metadata = path.metadata().map_err(unread)?;
    if !metadata.is_file() {
        bail!("{shown} is no file; say the file of a module, such as build/filter.wasm");
    }
    let mut bytes = vec![];
    if metadata.len() <= LARGEST {
        let file = std::fs::File::open(path).map_err(unread)?;
        // It may grow meanwhile, and what the system makes up has no size beforehand.
        let mut start = file.take(LARGEST + 1);
        start.read_to_end(&mut bytes).map_err(unread)?;
    }
    if metadata.len().max(bytes.len() as u64) > LARGEST {
        bail!(
            "{shown} has more than {}, and no module has",
            inspect::size(LARGEST)
        );
    }
    Ok(bytes)
}
