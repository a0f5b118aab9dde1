//! The command people type.

use std::process::ExitCode;

use cairn::command::Cli;
use clap::Parser;

/// The exit code for wrong usage (`sysexits.h`, `EX_USAGE`).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(e) => {
            // Help that was asked for is no error and goes to stdout; clap tells the two apart.
            let _ = e.print();
            if e.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            }
        }
    }
}
