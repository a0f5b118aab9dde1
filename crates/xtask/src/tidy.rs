//! House rules that lints cannot express. Also a test, so that `cargo test` holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Which room may use which: the whole list. An edge that is not here needs an ADR.
const EDGES: [(&str, &[&str]); 16] = [
    ("proto", &[]),
    ("hbone", &[]),
    ("modules", &[]),
    ("runtime", &[]),
    ("wasm-host", &[]),
    ("mesh", &["proto"]),
    ("xds", &["proto"]),
    ("identity", &["mesh", "proto"]),
    ("telemetry", &["mesh"]),
    (
        "ztunnel",
        &[
            "hbone",
            "identity",
            "mesh",
            "proto",
            "runtime",
            "telemetry",
            "xds",
        ],
    ),
    (
        "waypoint",
        &[
            "hbone",
            "identity",
            "mesh",
            "modules",
            "proto",
            "runtime",
            "telemetry",
            "wasm-host",
            "xds",
        ],
    ),
    (
        "control",
        &["identity", "mesh", "proto", "runtime", "telemetry", "xds"],
    ),
    (
        "cairn",
        &[
            "control",
            "modules",
            "proto",
            "runtime",
            "wasm-host",
            "waypoint",
            "ztunnel",
        ],
    ),
    ("testkit", &[]),
    (
        "conformance",
        &[
            "hbone", "identity", "mesh", "proto", "testkit", "xds", "ztunnel",
        ],
    ),
    ("xtask", &["testkit"]),
];

/// What the product is built on; each is called by code that ships.
const CARD: [&str; 9] = [
    "tokio",
    "hyper",
    "h2",
    "rustls",
    "tonic",
    "kube",
    "gateway_api",
    "wasmtime",
    "prometheus_client",
];

/// Crates whose code ships.
const SHIPPED: [&str; 13] = [
    "proto",
    "mesh",
    "hbone",
    "identity",
    "modules",
    "xds",
    "runtime",
    "telemetry",
    "wasm-host",
    "waypoint",
    "ztunnel",
    "control",
    "cairn",
];

const MAX_LINES: usize = 600;
const FORBIDDEN_FILES: [&str; 6] = ["util", "utils", "helpers", "misc", "common", "types"];
const PAGES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Checks every rule and reports all that is broken.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let root = metadata.workspace_root.clone().into_std_path_buf();
    let mut broken = vec![];
    let mut card: BTreeSet<&str> = CARD.into();
    for package in &metadata.packages {
        edges(package, &metadata, &mut broken);
        let sources = sources(package)?;
        dependencies(package, &sources, &mut broken);
        for (path, text) in &sources {
            file(&root, path, text, &mut broken);
        }
        if SHIPPED.contains(&package.name.as_str()) {
            let code: Vec<_> = sources
                .iter()
                .filter(|(path, _)| !is_test(path))
                .map(|(_, text)| text)
                .collect();
            card.retain(|name| !code.iter().any(|text| uses(text, name)));
        }
    }
    broken.extend(
        card.iter()
            .map(|name| format!("no shipped code calls `{name}`")),
    );
    for page in PAGES {
        paths_in(&root, page, &mut broken);
    }
    if !broken.is_empty() {
        bail!(
            "{} house rules are broken:\n  {}",
            broken.len(),
            broken.join("\n  ")
        );
    }
    Ok(())
}

/// Internal edges are those of the table; dev-dependencies may also reach the test room.
fn edges(package: &Package, metadata: &Metadata, broken: &mut Vec<String>) {
    let rooms: BTreeSet<_> = metadata
        .packages
        .iter()
        .map(|room| room.name.as_str())
        .collect();
    let allowed: BTreeMap<_, _> = EDGES.into();
    let Some(allowed) = allowed.get(package.name.as_str()) else {
        broken.push(format!("{}: not in the table of rooms", package.name));
        return;
    };
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let test = dependency.kind == DependencyKind::Development;
        if rooms.contains(name) && !allowed.contains(&name) && !test {
            broken.push(format!("{}: may not depend on {name}", package.name));
        }
    }
}

/// Every direct dependency is named somewhere in the crate.
fn dependencies(package: &Package, sources: &[(PathBuf, String)], broken: &mut Vec<String>) {
    for dependency in &package.dependencies {
        let name = dependency
            .rename
            .as_ref()
            .unwrap_or(&dependency.name)
            .replace('-', "_");
        if !sources.iter().any(|(_, text)| uses(text, &name)) {
            broken.push(format!("{}: dependency {name} is not used", package.name));
        }
    }
}

/// Whether code names a crate, as a path or in a `use`.
fn uses(text: &str, name: &str) -> bool {
    let boundary = |c: char| !c.is_alphanumeric() && c != '_';
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .any(|line| {
            line.match_indices(name).any(|(at, _)| {
                let before = line.get(..at).and_then(|before| before.chars().next_back());
                let after = line.get(at + name.len()..).unwrap_or_default();
                before.is_none_or(boundary)
                    && (after.starts_with("::")
                        || (line.contains("use ") && after.chars().next().is_none_or(boundary)))
            })
        })
}

fn sources(package: &Package) -> Result<Vec<(PathBuf, String)>> {
    let Some(folder) = package.manifest_path.parent() else {
        return Ok(vec![]);
    };
    let mut files = vec![];
    for part in ["src", "tests", "benches", "examples"] {
        collect(folder.join(part).as_std_path(), &mut files)?;
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path)?;
            files.push((path, text));
        }
    }
    Ok(())
}

fn is_test(path: &Path) -> bool {
    let named = |name: &str| path.components().any(|part| part.as_os_str() == name);
    named("tests") || named("benches") || path.file_name().is_some_and(|name| name == "tests.rs")
}

/// Rules for one file.
fn file(root: &Path, path: &Path, text: &str, broken: &mut Vec<String>) {
    let shown = path.strip_prefix(root).unwrap_or(path).display();
    let generated = path.components().any(|part| part.as_os_str() == "gen");
    if generated {
        return;
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        broken.push(format!("{shown}: {lines} lines, more than {MAX_LINES}"));
    }
    if lines > 50 && !is_test(path) && !text.starts_with("//!") && !text.starts_with("#!") {
        broken.push(format!("{shown}: does not begin with what it is (`//!`)"));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if FORBIDDEN_FILES.contains(&&*stem) || stem == "mod" {
        broken.push(format!(
            "{shown}: `{stem}` says nothing about what is in it"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        let mut rule = |found: bool, why: &str| {
            if found {
                broken.push(format!("{shown}:{}: {why}", number + 1));
            }
        };
        let code = line.trim_start();
        rule(code.starts_with("#[ignore"), "an ignored test");
        rule(
            code.starts_with("#[should_panic"),
            "should_panic proves too little",
        );
        rule(
            line.contains("TODO") && !line.contains("TODO(#") && !shown_is_tidy(path),
            "TODO without an issue",
        );
        rule(
            line.ends_with(' ') || line.ends_with('\t'),
            "trailing white space",
        );
    }
}

fn shown_is_tidy(path: &Path) -> bool {
    path.ends_with("xtask/src/tidy.rs")
}

/// Paths that a page names exist.
fn paths_in(root: &Path, page: &str, broken: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(root.join(page)) else {
        broken.push(format!("{page} is missing"));
        return;
    };
    for word in text.split('`').skip(1).step_by(2) {
        let is_path = word.contains('/')
            && !word.contains(char::is_whitespace)
            && [".rs", ".md", ".toml", ".yaml", ".proto"]
                .iter()
                .any(|ending| word.ends_with(ending));
        if is_path && !word.contains('*') && !root.join(word).exists() {
            broken.push(format!("{page}: `{word}` does not exist"));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        super::check().unwrap();
    }

    #[test]
    fn a_crate_is_used_by_path_or_import_and_not_by_a_comment() {
        assert!(super::uses("let x = kube::Client;", "kube"));
        assert!(super::uses("use kube;", "kube"));
        assert!(super::uses("pub use h2::Reason;", "h2"));
        assert!(!super::uses("// kube::Client", "kube"));
        assert!(!super::uses("let mykube = 1;", "kube"));
        assert!(!super::uses("other_h2::x", "h2"));
    }
}
