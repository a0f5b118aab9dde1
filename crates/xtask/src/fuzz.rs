//! Runs the fuzz targets of `fuzz/`: each on its corpus, and then for a while on what it makes up.
//!
//! cargo-fuzz needs a nightly compiler. What it sets beyond a sanitizer are code generation flags
//! that a stable compiler takes as well, and Rust without `unsafe` gives a sanitizer little to find.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Names of targets; all without one
    targets: Vec<String>,
    /// How long each target tries new input
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Coverage, without which libFuzzer is blind.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Opens the doors that products do not have.
const DOORS: [&str; 2] = ["--cfg", "fuzzing"];
/// Besides overflow, which the profile checks.
const CHECKS: [&str; 1] = ["-Cdebug-assertions"];
/// Memory a target may use, in MiB: whoever needs more for kilobytes of input is attacked with it.
const MEMORY: u32 = 2048;
/// Seconds one input may take.
const TIMEOUT: u32 = 10;

/// Builds the targets and runs them one after the other.
///
/// # Errors
/// When one does not build, or a target fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let root = metadata.workspace_root.as_std_path();
    let known = targets(root)?;
    for name in &options.targets {
        if !known.contains(name) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            bail!("there is no target {name}; there are {}", known.join(", "));
        }
    }
    let chosen: Vec<&String> = known
        .iter()
        .filter(|name| options.targets.is_empty() || options.targets.contains(name))
        .collect();
    let output = metadata.target_directory.as_std_path().join("fuzz");
    say("building the targets");
    let binaries = build(root, &output)?;
    let mut failed = vec![];
    for name in &chosen {
        say(&format!("fuzzing {name}"));
        if !fuzz(root, &output, &binaries.join(name.as_str()), name, options)? {
            failed.push(name.as_str());
        }
    }
    let passed = chosen.len() - failed.len();
    say(&format!(
        "fuzz: {passed} targets passed, {} failed",
        failed.len()
    ));
    if !failed.is_empty() {
        bail!(
            "{} failed; what made them fail lies in {}, and belongs into the corpus with the repair",
            failed.join(", "),
            output.join("artifacts").display()
        );
    }
    Ok(())
}

/// The names of all targets.
fn targets(root: &Path) -> Result<BTreeSet<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into()));
        }
    }
    if names.is_empty() {
        bail!("there is no target in {}", folder.display());
    }
    Ok(names)
}

/// Builds all targets and returns the folder they are in.
fn build(root: &Path, output: &Path) -> Result<PathBuf> {
    let host = host()?;
    let coverage = if can_instrument(output)? {
        &COVERAGE[..]
    } else {
        // Targets still run their corpus and random input.
        say("this compiler cannot measure coverage; building without");
        &[]
    };
    // With a target named, flags are for what runs there and not for build scripts.
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--bins",
            "--target",
            &host,
        ])
        .arg("--manifest-path")
        .arg(root.join("fuzz/Cargo.toml"))
        .env("CARGO_TARGET_DIR", output)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            [&DOORS, coverage, &CHECKS].concat().join("\u{1f}"),
        )
        .env_remove("RUSTFLAGS")
        .status()?;
    if !built.success() {
        bail!("the fuzz targets cannot be built");
    }
    Ok(output.join(host).join("release"))
}

/// Whether the compiler takes the flags of coverage, tried on nothing.
fn can_instrument(output: &Path) -> Result<bool> {
    fs::create_dir_all(output)?;
    let object = output.join("instrumented.o");
    let tried = rustc()
        .args(["-", "--crate-type=lib", "--emit=obj", "-o"])
        .arg(object)
        .args(COVERAGE)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(tried.success())
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// The platform this runs on, as the compiler calls it.
fn host() -> Result<String> {
    let version = rustc().arg("-vV").output()?.stdout;
    let version = String::from_utf8(version)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// Runs one target; `false` when it found something.
fn fuzz(root: &Path, output: &Path, binary: &Path, name: &str, options: &Options) -> Result<bool> {
    // What is found out stays below target/; only what people choose is in the corpus.
    let grown = output.join("corpus").join(name);
    let artifacts = output.join("artifacts").join(name);
    fs::create_dir_all(&grown)?;
    fs::create_dir_all(&artifacts)?;
    let seeds = root.join("fuzz/corpus").join(name);
    if !seeds.is_dir() {
        bail!("{name} has no seeds: {} is missing", seeds.display());
    }
    let limits = [
        format!("-rss_limit_mb={MEMORY}"),
        format!("-timeout={TIMEOUT}"),
        format!("-artifact_prefix={}/", artifacts.display()),
    ];
    // Every seed by itself first: a seed is a test, and is not to be skipped.
    let corpus = Command::new(binary)
        .args(&limits)
        .arg("-runs=0")
        .args([&seeds, &grown])
        .output()
        .with_context(|| binary.display().to_string())?;
    if !corpus.status.success() {
        show(&corpus.stderr);
        return Ok(false);
    }
    if options.seconds == 0 {
        return Ok(true);
    }
    let tried = Command::new(binary)
        .args(&limits)
        .arg(format!("-max_total_time={}", options.seconds))
        .arg("-print_final_stats=1")
        .args([&grown, &seeds])
        .output()?;
    let text = String::from_utf8_lossy(&tried.stderr);
    if !tried.status.success() {
        show(&tried.stderr);
        return Ok(false);
    }
    let executions = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executions = executions.context("the target does not say how much it tried")?;
    say(&format!("{name}: {} executions", executions.trim()));
    Ok(true)
}

/// Shows the end of what a target said.
fn show(output: &[u8]) {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(60)) {
        say(line);
    }
}

#[expect(clippy::print_stdout, reason = "a tool for people")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Bytes of all seeds together: enough to begin with, little enough to keep for ever.
    const SEEDS_MAX: u64 = 100 << 10;

    #[test]
    fn every_target_is_built_and_has_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let mut bytes = 0;
        for name in super::targets(&root).unwrap() {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
                "{name} is not in fuzz/Cargo.toml"
            );
            let seeds = fs::read_dir(root.join("fuzz/corpus").join(&name)).unwrap();
            let sizes = seeds.map(|seed| seed.unwrap().metadata().unwrap().len());
            let sizes: Vec<u64> = sizes.collect();
            assert!(!sizes.is_empty(), "{name} has no seeds");
            bytes += sizes.iter().sum::<u64>();
        }
        assert!(bytes <= SEEDS_MAX, "{bytes} bytes of seeds");
    }
}
