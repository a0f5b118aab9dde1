//! Runs every test and says truthfully how many there were.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What a run of tests came to.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Builds what tests start and runs all rings that run here.
///
/// # Errors
/// When anything cannot be built or run, or a test fails.
pub(crate) fn all() -> Result<()> {
    say("building the release binary that tests start processes from");
    // Tests start real processes; those are release builds, as users have them.
    let built = cargo(["build", "--release", "--package", "cairn"]).status()?;
    if !built.success() {
        bail!("cairn cannot be built");
    }
    say("building and running tests");
    let mut child = cargo(["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test cannot be started")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        tally.count(&line);
        say(&line);
    }
    let status = child.wait()?;
    say(&format!("{} passed, {} failed", tally.passed, tally.failed));
    if tally.passed == 0 {
        bail!("no test ran");
    }
    if tally.ignored > 0 {
        bail!("{} tests were ignored", tally.ignored);
    }
    if tally.failed > 0 || !status.success() {
        bail!("tests failed");
    }
    Ok(())
}

impl Tally {
    /// Adds what a line of a test binary's summary says.
    fn count(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else {
            return;
        };
        let number = |word: &str| {
            summary
                .split([';', '.'])
                .filter_map(|part| part.trim().strip_suffix(word))
                .find_map(|number| number.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed");
        self.ignored += number("ignored");
    }
}

fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(args);
    command
}

#[expect(clippy::print_stdout, reason = "a tool for people")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn summaries_of_all_binaries_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "test a ... ok",
            "test result: ok. 11 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 2 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ] {
            tally.count(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 13,
                failed: 3,
                ignored: 1
            }
        );
    }
}
