//! Our build tool: everything that is not `cargo build` or `cargo test` itself.
//!
//! Must never hold code that runs in a product.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod generate;
mod test;
mod tidy;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Cairn's build tool")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Regenerate the committed code in crates/proto/src/gen
    Gen,
    /// Build what tests start, run every test, and count them
    Test,
    /// Check the house rules that lints cannot express
    Tidy,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Gen => generate::write(),
        Command::Test => test::all(),
        Command::Tidy => tidy::check(),
    }
}
