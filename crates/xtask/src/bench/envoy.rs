//! `cargo xtask bench --wasm`: what a filter costs, here and in Envoy, with the same module.
//!
//! Both proxies have one worker on one CPU and speak plain HTTP. Each filter's window is taken in
//! turn, round by round; its cost is that of a request with it less that of a request without.
//! `docs/benchmark-wasm.md` tells the method.

mod containment;
mod exchange;
mod overhead;
mod proxies;
mod swaps;
mod table;
mod traffic;
mod window;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpu::Cpus;
use super::{Options, Output, Scratch, say, tell};

/// Measures and prints all three parts.
pub(super) fn run(options: &Options) -> Result<()> {
    let scratch = Scratch::new()?;
    let cpus = Cpus::choose()?;
    let parts = proxies::Parts::find(options.binaries.as_deref(), &scratch.0, cpus)?;
    let table = overhead::measure(options, &parts, cpus)?;
    // What follows may fail, and this took minutes.
    tell(&table.to_string());
    let server = parts.server()?;
    tell("a filter that loops, beside other requests");
    let containment = containment::measure(&parts, cpus)?;
    tell("100 swaps under load");
    let swaps = swaps::measure(&parts, cpus)?;
    drop(server);
    let text = format!("{table}\n{containment}\n{swaps}");
    if let Some(Output::Json) = options.output {
        say(&serde_json::to_string_pretty(
            &serde_json::json!({"overhead": table, "containment": containment, "swaps": swaps}),
        )?);
    } else {
        say(text.trim_end());
    }
    write(&text)
}

/// Puts the figures into the page that explains them.
fn write(text: &str) -> Result<()> {
    let page = root().join("docs/benchmark-wasm.md");
    let old = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let (head, rest) = old
        .split_once("<!-- figures -->")
        .context("no place for figures")?;
    let (_, tail) = rest
        .split_once("<!-- end of figures -->")
        .context("no end of figures")?;
    let new = format!("{head}<!-- figures -->\n\n{text}\n<!-- end of figures -->{tail}");
    fs::write(&page, new).with_context(|| page.display().to_string())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
