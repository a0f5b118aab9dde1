//! The binaries that are measured: built, weighed, and put where a mesh runs them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::MetadataCommand;

use super::cpu;

/// The proxies' own binaries.
const THIN: [&str; 2] = ["waypoint", "ztunnel"];

/// A folder with `cairn`, `waypoint` and `ztunnel`.
#[derive(Debug)]
pub(super) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Those of `folder`.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
        for name in THIN.into_iter().chain(["cairn"]) {
            let path = folder.join(name);
            ensure!(path.exists(), "{} is missing", path.display());
        }
        Ok(Self { folder })
    }

    /// Builds them as they are released.
    pub(super) fn build() -> Result<Self> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--package", "cairn"]);
        cargo.args(THIN.iter().flat_map(|name| ["--package", name]));
        ensure!(cargo.status()?.success(), "the binaries cannot be built");
        let metadata = MetadataCommand::new().no_deps().exec()?;
        Self::of(metadata.target_directory.join("release").as_std_path())
    }

    /// The path of one of them.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The size of each thin binary without symbols, in bytes.
    pub(super) fn stripped_sizes(&self, scratch: &Path) -> Result<BTreeMap<String, u64>> {
        let size = |name: &&str| {
            let copy = scratch.join(format!("{name}.stripped"));
            let stripped = Command::new("strip")
                .arg("-o")
                .arg(&copy)
                .arg(self.path(name))
                .status()
                .context("strip, of binutils, cannot be run")?;
            ensure!(stripped.success(), "{name} cannot be stripped");
            let size = fs::metadata(&copy)?.len();
            fs::remove_file(&copy)?;
            Ok(((*name).to_owned(), size))
        };
        THIN.iter().map(size).collect()
    }

    /// Writes the program that a mesh starts as `cairn`: it becomes the thin binary where the mesh
    /// wants a proxy, on the CPU of proxies, and `cairn` otherwise.
    pub(super) fn dispatcher(&self, scratch: &Path, proxies: Option<usize>) -> Result<PathBuf> {
        let own = std::env::current_exe()?;
        let cpu = proxies.map(|cpu| format!("--cpu={cpu}"));
        let pinned = format!(
            "{} bench-part pinned {}",
            quoted(&own),
            cpu.unwrap_or_default()
        );
        let thin = THIN.map(|name| {
            let program = quoted(&self.path(name));
            format!("{name}) exec {pinned} {program} ;;\n")
        });
        let cairn = quoted(&self.path("cairn"));
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\n{}*) exec {cairn} \"$@\" ;;\nesac\n",
            thin.concat()
        );
        let path = scratch.join("cairn");
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

/// Becomes `program`, which then counts one CPU and starts as many workers.
pub(super) fn pinned(cpu: Option<usize>, program: &Path) -> Result<()> {
    cpu::pin(cpu)?;
    let failed: io::Error = Command::new(program).exec();
    Err(failed).with_context(|| program.display().to_string())
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_for_a_shell() {
        let strange = Path::new("/tmp/it's a $place");
        let echoed = Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(strange))])
            .output()
            .unwrap();
        assert_eq!(echoed.stdout, strange.display().to_string().as_bytes());
    }
}
