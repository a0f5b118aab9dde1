//! The thin control binary: the library with the process around it.

use std::process::ExitCode;

use clap::Parser;
use control::config::{Config, Paths};

/// The control plane: objects in, configuration and certificates out.
#[derive(Parser)]
#[command(name = "control", version)]
struct Args {
    #[command(flatten)]
    paths: Paths,
}

fn main() -> ExitCode {
    let Args { paths } = Args::parse();
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    let config = Config::load(paths, &|name| std::env::var(name).ok());
    match control::app::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the log may not exist yet")]
            {
                eprintln!("control: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
