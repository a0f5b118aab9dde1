//! Our build tool: everything that is not `cargo build` or `cargo test` itself.
//!
//! Must never hold code that runs in a product.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod filters;
mod fuzz;
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
    /// Print what a request and a byte cost in the proxies; needs root
    Bench(bench::Options),
    /// Be a part of the benchmark inside its mesh
    #[command(hide = true, subcommand)]
    BenchPart(bench::Part),
    /// Build the guest modules of filters/ into filters/prebuilt
    Filters {
        /// Only compare what is committed with the sources
        #[arg(long, conflicts_with = "rebuild_and_compare")]
        check: bool,
        /// Build aside and run the committed and the new modules through the same cases
        #[arg(long)]
        rebuild_and_compare: bool,
    },
    /// Try the parsers of bytes from outside with input that is made up
    Fuzz(fuzz::Options),
    /// Regenerate the committed code in crates/proto/src/gen
    Gen,
    /// Build what tests start, run every test, and count them
    Test,
    /// Check the house rules that lints cannot express
    Tidy,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Bench(options) => bench::run(options),
        Command::BenchPart(part) => part.run(),
        Command::Filters { check: true, .. } => filters::check(),
        Command::Filters {
            rebuild_and_compare: true,
            ..
        } => filters::rebuild_and_compare(),
        Command::Filters { .. } => filters::write(),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Gen => generate::write(),
        Command::Test => test::all(),
        Command::Tidy => tidy::check(),
    }
}
