//! Turns a project into a module.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::project::{Language, Project};
use super::toolchain::{self, C, Finder, Rust};

/// Builds a project and returns where its module is. Compilers write to standard error.
///
/// # Errors
/// [`toolchain::Missing`] when there is no compiler; else why it failed.
pub fn build(project: &Project) -> anyhow::Result<PathBuf> {
    let finder = Finder::default();
    if let Some(folder) = project.output.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    if let Some(command) = &project.build {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        run(project, shell)?;
    } else {
        match project.language {
            Language::Rust => rust(project, &finder)?,
            Language::Go => go(project, &finder)?,
            Language::AssemblyScript => assemblyscript(project, &finder)?,
            Language::C => c(project, &finder)?,
        }
    }
    if !project.output.is_file() {
        bail!(
            "the build succeeded and wrote no {}; set `output` in filter.yaml to where it does",
            project.output.display()
        );
    }
    Ok(project.output.clone())
}

fn rust(project: &Project, finder: &Finder) -> anyhow::Result<()> {
    let (cargo, way) = finder.rust(&project.root)?;
    let mut build = Command::new(&cargo);
    build.args([
        "build",
        "--release",
        "--message-format=json-render-diagnostics",
    ]);
    match &way {
        Rust::Installed(target) => {
            build.args(["--target", target]);
        }
        Rust::FromSource(linker) => {
            build
                .args(["--target", "wasm32-unknown-unknown"])
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", toolchain::debian_rustc())
                // What `-Z` asks for.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                // Others' flags are for others' compilers.
                .env_remove("RUSTC_WRAPPER")
                .env_remove("RUSTUP_TOOLCHAIN")
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS");
            // Shared, because the standard library takes minutes the first time.
            if let Some(cache) = cache() {
                build.env("CARGO_TARGET_DIR", cache.join("filter-target"));
            }
        }
    }
    let module = cargo_module(project, build)?;
    fs::copy(&module, &project.output)
        .with_context(|| format!("copy {} to {}", module.display(), project.output.display()))?;
    Ok(())
}

/// Where what can be made again is kept.
pub fn cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))?;
    base.is_absolute().then(|| base.join("cairn"))
}

/// What cargo says of something it made.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    filenames: Vec<PathBuf>,
}

/// Runs cargo and finds out what it made.
fn cargo_module(project: &Project, mut cargo: Command) -> anyhow::Result<PathBuf> {
    cargo.current_dir(&project.root).stdout(Stdio::piped());
    let mut child = cargo
        .spawn()
        .with_context(|| format!("start {}", cargo.get_program().display()))?;
    let mut module = None;
    let output = child.stdout.take();
    for line in output
        .map(io::BufReader::new)
        .into_iter()
        .flat_map(io::BufRead::lines)
    {
        // What is no message is not for us.
        let Ok(artifact) = serde_json::from_str::<Artifact>(&line?) else {
            continue;
        };
        if !artifact.manifest_path.starts_with(&project.root) {
            continue;
        }
        let is_wasm = |file: &PathBuf| file.extension() == Some(OsStr::new("wasm"));
        module = artifact.filenames.into_iter().find(is_wasm).or(module);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo build failed; what it says stands above");
    }
    module.context(
        "cargo made no module; the crate needs [lib] crate-type = [\"cdylib\"] in Cargo.toml",
    )
}

fn go(project: &Project, finder: &Finder) -> anyhow::Result<()> {
    let mut build = Command::new(finder.go()?);
    build
        .args(["build", "-buildmode=c-shared", "-o"])
        .arg(&project.output)
        .arg(".")
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .env("CGO_ENABLED", "0");
    run(project, build)
}

fn assemblyscript(project: &Project, finder: &Finder) -> anyhow::Result<()> {
    let (npm, node) = finder.node()?;
    let compiler = project.root.join("node_modules/assemblyscript/bin/asc");
    let is_current = {
        let changed = |path: &Path| path.metadata().and_then(|of| of.modified()).ok();
        let installed = changed(&project.root.join("node_modules/.package-lock.json"));
        compiler.exists() && installed >= changed(&project.root.join("package.json"))
    };
    if !is_current {
        let mut install = Command::new(npm);
        install.args(["install", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(project, install)?;
    }
    let mut build = Command::new(node);
    build
        .arg(compiler)
        .arg("assembly/index.ts")
        .arg("--binaryFile")
        .arg(relative(project))
        .args(["--optimize", "--use", "abort=abort_proc_exit"]);
    run(project, build)
}

/// The output as seen from the project: this compiler takes no absolute paths.
fn relative(project: &Project) -> &Path {
    let output = project.output.strip_prefix(&project.root);
    output.unwrap_or(&project.output)
}

fn c(project: &Project, finder: &Finder) -> anyhow::Result<()> {
    const FLAGS: [&str; 4] = ["-O2", "-Wall", "-Wextra", "-nostdlib"];
    let compiler = finder.c()?;
    let mut objects = vec![];
    for source in sources(&project.root, &["c", "cc", "cpp"])? {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let object = project.output.with_file_name(format!("{name}.o"));
        let mut compile = match &compiler {
            C::Clang(clang, _) => {
                let mut command = Command::new(clang);
                command.arg("--target=wasm32");
                command
            }
            C::Zig(zig) => {
                let mut command = Command::new(zig);
                let is_c = source.extension() == Some(OsStr::new("c"));
                command.args([
                    if is_c { "cc" } else { "c++" },
                    "--target=wasm32-freestanding",
                ]);
                // Zig checks for undefined behaviour with a runtime that is not linked here.
                command.arg("-fno-sanitize=undefined");
                command
            }
        };
        compile
            .args(FLAGS)
            .arg("-c")
            .arg(&source)
            .arg("-o")
            .arg(&object);
        run(project, compile)?;
        objects.push(object);
    }
    let mut link = match &compiler {
        C::Clang(_, linker) => Command::new(linker),
        C::Zig(zig) => {
            let mut command = Command::new(zig);
            command.arg("wasm-ld");
            command
        }
    };
    link.arg("--no-entry")
        .args(&objects)
        .arg("-o")
        .arg(&project.output);
    run(project, link)
}

/// The source files of a folder, by name.
fn sources(folder: &Path, extensions: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(OsStr::to_str);
        if extension.is_some_and(|extension| extensions.contains(&extension)) {
            found.push(path);
        }
    }
    found.sort_unstable();
    if found.is_empty() {
        bail!("there is no source in {}", folder.display());
    }
    Ok(found)
}

/// Runs a compiler in the project's folder. What it writes is talk, so it goes to standard error.
fn run(project: &Project, mut command: Command) -> anyhow::Result<()> {
    command
        .current_dir(&project.root)
        .stdin(Stdio::null())
        .stdout(io::stderr());
    let program = command.get_program().display().to_string();
    let status = command
        .status()
        .with_context(|| format!("start {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status}); what it says stands above");
    }
    Ok(())
}
