//! `cairn filter new`: a folder to begin with.

use std::path::Path;
use std::process::ExitCode;

use crate::filter::project::Language;
use crate::filter::templates;
use crate::filter::toolchain::Finder;
use crate::print;

/// What to begin.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct Args {
    /// The filter's name, and its folder's.
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// What to write it in.
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// Tell the languages there are, and which of them this machine can build.
    #[arg(long)]
    list: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.name.as_deref().unwrap_or_default();
    templates::create(args.lang, name, Path::new(name))?;
    print::say(format_args!("{name} is a filter in {}", args.lang.title()));
    print::say("try it:");
    print::say(format_args!(
        "    cd {name} && cairn filter build && cairn filter test && cairn filter run --watch"
    ));
    if !Finder::default().has(args.lang) {
        print::warn("its compiler is not on this machine; cairn filter build says how to get it");
    }
    Ok(ExitCode::SUCCESS)
}

fn list() {
    let finder = Finder::default();
    let rows: Vec<Vec<String>> = Language::ALL
        .iter()
        .map(|language| {
            let here = if finder.has(*language) { "yes" } else { "no" };
            vec![
                language.name().to_owned(),
                language.title().to_owned(),
                here.to_owned(),
            ]
        })
        .collect();
    print::table(&["LANG", "LANGUAGE", "COMPILER HERE"], &rows);
}
