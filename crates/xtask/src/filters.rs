//! Builds the guest modules of `filters/` and keeps `filters/prebuilt` true to their sources.
//!
//! The modules are committed, so that nobody needs a wasm toolchain to run or build the project;
//! beside each stands a record of what it was built from. Rustup's compiler has no standard library
//! for wasm; Debian's compiler for browsers comes with the sources of one, and lives beside
//! rustup's without either noticing the other.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "lld-22"];
const RUSTC: &str = "/usr/bin/rustc";
/// By its name, as `conformance/wasm/build.sh` calls it: cargo compiles the standard library anew for
/// another path.
const LINKER: &str = "wasm-ld-22";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn filters() -> PathBuf {
    root().join("filters")
}

fn prebuilt() -> PathBuf {
    filters().join("prebuilt")
}

/// Builds every filter and writes it to `filters/prebuilt` with its record.
pub(crate) fn write() -> Result<()> {
    let built = build()?;
    let compiler = compiler()?;
    fs::create_dir_all(prebuilt())?;
    for name in names()? {
        let wasm = fs::read(module_in(&built, &name))?;
        let record = json!({
            "compiler": compiler,
            "name": name,
            "source_sha256": source_sha256(&filters(), &name)?,
            "target": TARGET,
            "wasm_bytes": wasm.len(),
            "wasm_sha256": sha256(&wasm),
        });
        fs::write(prebuilt().join(format!("{name}.wasm")), wasm)?;
        fs::write(
            prebuilt().join(format!("{name}.json")),
            format!("{record:#}\n"),
        )?;
    }
    Ok(())
}

/// Compares what is committed with the sources, without building anything.
pub(crate) fn check() -> Result<()> {
    check_in(&filters())
}

fn check_in(filters: &Path) -> Result<()> {
    let mut wrong = String::new();
    for name in names_in(filters)? {
        if let Err(why) = check_one(filters, &name) {
            writeln!(wrong, "  {name}: {why:#}")?;
        }
    }
    ensure!(
        wrong.is_empty(),
        "filters/prebuilt is not up to date; run `cargo xtask filters`\n{wrong}"
    );
    Ok(())
}

fn check_one(filters: &Path, name: &str) -> Result<()> {
    let file = |extension| filters.join("prebuilt").join(format!("{name}.{extension}"));
    let wasm = fs::read(file("wasm")).context("no module")?;
    let record: Value = serde_json::from_slice(&fs::read(file("json")).context("no record")?)?;
    let recorded = |key: &str| {
        record
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    ensure!(
        recorded("wasm_sha256") == sha256(&wasm),
        "the module is not the recorded one"
    );
    ensure!(
        recorded("source_sha256") == source_sha256(filters, name)?,
        "the sources have changed since"
    );
    Ok(())
}

/// Builds every filter anew and runs the committed and the new ones through the same cases.
///
/// The bytes may differ, since the compiler moves with Debian; what they do may not.
pub(crate) fn rebuild_and_compare() -> Result<()> {
    check()?;
    test_logic()?;
    let built = build()?;
    let folder = std::env::temp_dir().join(format!("cairn-filters-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = (|| {
        for name in names()? {
            fs::copy(
                module_in(&built, &name),
                folder.join(format!("{name}.wasm")),
            )?;
        }
        run_cases(&prebuilt())?;
        run_cases(&folder)
    })();
    fs::remove_dir_all(&folder)?;
    result
}

/// Holds the workspace of filters, which is not this one, to the same rules, and runs its tests.
fn test_logic() -> Result<()> {
    let steps: [&[&str]; 3] = [
        &["fmt", "--all", "--check"],
        &[
            "clippy",
            "--locked",
            "--quiet",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ],
        &["test", "--locked", "--quiet"],
    ];
    for step in steps {
        let mut cargo = Command::new(env!("CARGO"));
        run(cargo.current_dir(filters()).args(step))
            .with_context(|| format!("cargo {} in filters/", step.join(" ")))?;
    }
    Ok(())
}

/// Runs the cases of `wasm-host` for the filters on the modules in `folder`.
fn run_cases(folder: &Path) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root())
        // Of the whole workspace, so that dependencies are those of the other suites.
        .args(["test", "--locked", "--workspace", "--test", "filters"]);
    run(cargo.env("WASM_HOST_FILTERS", folder))
        .with_context(|| format!("the modules in {}", folder.display()))
}

/// Builds every filter and returns the folder with the modules.
fn build() -> Result<PathBuf> {
    install_toolchain()?;
    let filters = filters().canonicalize()?;
    let target = filters.join("target/wasm");
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    // Panic messages name source files: the same ones on every machine.
    let remap = format!(
        "--remap-path-prefix={}=/cargo --remap-path-prefix={}=/filters",
        cargo_home.display(),
        filters.display()
    );
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&filters)
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "-Zbuild-std=std,panic_abort",
        ])
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", LINKER)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", remap)
        // Rustup and an outer cargo would choose another compiler or other flags.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut cargo)?;
    Ok(target.join(TARGET).join("release"))
}

/// Installs Debian's compiler unless it is there.
fn install_toolchain() -> Result<()> {
    if Path::new(RUSTC).exists() && Path::new("/usr/bin").join(LINKER).exists() {
        return Ok(());
    }
    let packages = PACKAGES.join(" ");
    let hint =
        format!("building filters needs Debian's packages {packages} (apt-get install, as root)");
    run(Command::new("apt-get").arg("update")).with_context(|| hint.clone())?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(PACKAGES);
    run(install.env("DEBIAN_FRONTEND", "noninteractive")).with_context(|| hint)
}

fn compiler() -> Result<String> {
    let output = Command::new(RUSTC).arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The name under which cargo leaves a module.
fn module_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{}.wasm", name.replace('-', "_")))
}

fn names() -> Result<Vec<String>> {
    names_in(&filters())
}

/// The filters: every folder with a manifest of a module. What only other crates use is none.
fn names_in(filters: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, manifest) in crates_in(filters)? {
        if manifest.contains("\"cdylib\"") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Every crate of the workspace and its manifest.
fn crates_in(filters: &Path) -> Result<BTreeMap<String, String>> {
    let mut crates = BTreeMap::new();
    for entry in fs::read_dir(filters)? {
        let path = entry?.path();
        let manifest = path.join("Cargo.toml");
        if let Some(name) = path.file_name().and_then(OsStr::to_str)
            && manifest.exists()
        {
            crates.insert(name.to_owned(), fs::read_to_string(manifest)?);
        }
    }
    Ok(crates)
}

/// The crates of the workspace that a filter is built from, besides itself.
fn shared_by(filters: &Path, name: &str) -> Result<Vec<String>> {
    let crates = crates_in(filters)?;
    let manifest = crates.get(name).context("no manifest")?;
    let uses = |other: &String| {
        let line = format!("{other}.workspace = true");
        other != name && manifest.lines().any(|l| l == line)
    };
    Ok(crates.keys().filter(|other| uses(other)).cloned().collect())
}

/// Hashes all that a module is built from: its sources and those of crates it shares with others,
/// the manifests, the lock file.
fn source_sha256(filters: &Path, name: &str) -> Result<String> {
    let mut files = BTreeMap::new();
    for shared in ["Cargo.toml", "Cargo.lock"] {
        files.insert(shared.to_owned(), filters.join(shared));
    }
    collect(filters, &filters.join(name), &mut files)?;
    for shared in shared_by(filters, name)? {
        collect(filters, &filters.join(shared), &mut files)?;
    }
    let mut hash = Sha256::new();
    for (relative, path) in files {
        let contents = fs::read(&path).with_context(|| path.display().to_string())?;
        hash.update(format!("{relative}\0{}\0", contents.len()));
        hash.update(contents);
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn collect(base: &Path, folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // The tests of a filter are no part of its module.
        if path.file_name() == Some(OsStr::new("tests.rs")) {
            continue;
        }
        if path.is_dir() {
            collect(base, &path, files)?;
        } else {
            let relative = path.strip_prefix(base)?.to_string_lossy().into_owned();
            files.insert(relative, path);
        }
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{} {status}", command.get_program().to_string_lossy());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_modules_match_their_sources() {
        check().unwrap();
    }

    #[test]
    fn any_change_is_noticed() {
        let folder =
            std::env::temp_dir().join(format!("cairn-filters-test-{}", std::process::id()));
        let result = std::panic::catch_unwind(|| {
            for created in ["demo/src", "shared/src", "unused/src", "prebuilt"] {
                fs::create_dir_all(folder.join(created)).unwrap();
            }
            let put = |path: &str, text: &str| fs::write(folder.join(path), text).unwrap();
            let manifest = "crate-type = [\"cdylib\"]\nshared.workspace = true\n";
            for (file, text) in [
                ("Cargo.toml", "as it was"),
                ("Cargo.lock", "as it was"),
                ("demo/Cargo.toml", manifest),
                ("demo/src/lib.rs", "as it was"),
                ("demo/src/tests.rs", "as it was"),
                ("shared/Cargo.toml", "as it was"),
                ("shared/src/lib.rs", "as it was"),
                ("unused/Cargo.toml", "as it was"),
                ("unused/src/lib.rs", "as it was"),
            ] {
                put(file, text);
            }
            assert_eq!(
                names_in(&folder).unwrap(),
                ["demo"],
                "libraries are no filters"
            );
            put("prebuilt/demo.wasm", "module");
            let record = json!({
                "source_sha256": source_sha256(&folder, "demo").unwrap(),
                "wasm_sha256": sha256(b"module"),
            });
            put("prebuilt/demo.json", &record.to_string());
            check_in(&folder).unwrap();

            put("demo/src/tests.rs", "tests are no part of the module");
            put(
                "unused/src/lib.rs",
                "nor are crates the module does not use",
            );
            check_in(&folder).unwrap();
            for file in [
                "Cargo.toml",
                "Cargo.lock",
                "demo/src/lib.rs",
                "shared/Cargo.toml",
                "shared/src/lib.rs",
            ] {
                put(file, "changed");
                let error = check_in(&folder).unwrap_err().to_string();
                assert!(
                    error.contains("demo: the sources have changed since"),
                    "{file}: {error}"
                );
                put(file, "as it was");
            }
            put("demo/Cargo.toml", &format!("{manifest}# changed\n"));
            assert!(check_in(&folder).is_err());
            put("demo/Cargo.toml", manifest);
            put("demo/src/added.rs", "");
            assert!(check_in(&folder).is_err());
            fs::remove_file(folder.join("demo/src/added.rs")).unwrap();
            put("prebuilt/demo.wasm", "another module");
            let error = check_in(&folder).unwrap_err().to_string();
            assert!(
                error.contains("demo: the module is not the recorded one"),
                "{error}"
            );
        });
        fs::remove_dir_all(&folder).unwrap();
        result.unwrap();
    }
}
