//! The page that lists every function of the ABI with its tests, and the test that keeps both.
//!
//! `covers!("proxy_log")` in a test says that it exercises that function. A function that no test
//! covers is an error, as is a page that is not what the tables say.

mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::Callback;
use crate::hostcalls::foreign;
use crate::testing::host;
use notes::Note;

const TEMPLATE: &str = include_str!("reference/template.md");

/// Says which functions of the ABI a test exercises.
macro_rules! covers {
    ($($name:literal),+ $(,)?) => {
        $(const _: &str = $name;)+
    };
}
pub(crate) use covers;

/// Tests by the functions they cover.
type Covered = BTreeMap<String, BTreeSet<String>>;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Reads the marks of all tests.
fn covered() -> Covered {
    let mut covered = Covered::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                marks(&path, &mut covered);
            }
        }
    }
    covered
}

fn marks(path: &Path, covered: &mut Covered) {
    let source_text = fs::read_to_string(path).unwrap();
    let module = path.strip_prefix(source()).unwrap().with_extension("");
    let module: Vec<_> = module.iter().map(|part| part.to_string_lossy()).collect();
    let (mut test, mut marking) = (String::new(), false);
    for line in source_text.lines().map(str::trim) {
        if let Some((name, _)) = line
            .strip_prefix("fn ")
            .and_then(|rest| rest.split_once('('))
        {
            test = format!("{}::{name}", module.join("::"));
        }
        marking |= line.starts_with("covers!(");
        if marking {
            let names = line.split('"').skip(1).step_by(2);
            for name in names {
                let tests = covered.entry(name.to_owned()).or_default();
                tests.insert(test.clone());
            }
        }
        marking &= !line.ends_with(");");
    }
}

/// Writes one table, and collects what is missing.
fn table(
    functions: &[(&str, String)],
    notes: &[Note],
    covered: &Covered,
    missing: &mut Vec<String>,
) -> String {
    let mut table =
        String::from("| function | type | ABI | behaviour | tests |\n|---|---|---|---|---|\n");
    for (name, ty) in functions {
        let Some((_, versions, note)) = notes.iter().find(|(n, ..)| n == name) else {
            missing.push(format!("{name} has no note"));
            continue;
        };
        let versions = match *versions {
            "all" => "0.1.0+",
            "0.2.0" => "0.2.0+",
            "none" => "–",
            other => other,
        };
        let Some(tests) = covered.get(*name) else {
            missing.push(format!("{name} has no test"));
            continue;
        };
        let tests: Vec<_> = tests
            .iter()
            .map(|test| format!("`{}`", short(test)))
            .collect();
        let tests = tests.join(", ");
        writeln!(
            table,
            "| `{name}` | `{ty}` | {versions} | {note} | {tests} |"
        )
        .unwrap();
    }
    for (name, ..) in notes {
        if !functions.iter().any(|(n, _)| n == name) {
            missing.push(format!("{name} has a note and is no function"));
        }
    }
    table.trim_end().to_owned()
}

/// A test's name with the last part of its module.
fn short(test: &str) -> String {
    let parts: Vec<&str> = test.split("::").collect();
    let from = parts.len().saturating_sub(2);
    parts[from..].join("::")
}

/// The page, or what is missing for it.
fn page() -> Result<String, Vec<String>> {
    let covered = covered();
    let mut missing = Vec::new();
    let callbacks: Vec<_> = Callback::ALL
        .iter()
        .map(|callback| (callback.name(), callback.types().join(" or ")))
        .collect();
    let of = |module| -> Vec<_> {
        let functions = host().functions(module).into_iter();
        functions.map(|(name, ty)| (name, ty.to_owned())).collect()
    };
    let foreign = foreign::NAMES.map(|name| (name, "bytes -> bytes".to_owned()));
    let tables = [
        ("{{callbacks}}", callbacks, notes::CALLBACKS),
        ("{{functions}}", of("env"), notes::FUNCTIONS),
        ("{{wasi}}", of("wasi_snapshot_preview1"), notes::WASI),
        ("{{foreign}}", foreign.to_vec(), notes::FOREIGN),
    ];
    let mut page = TEMPLATE.to_owned();
    let mut known = BTreeSet::new();
    for (place, functions, notes) in tables {
        known.extend(functions.iter().map(|(name, _)| (*name).to_owned()));
        page = page.replace(place, &table(&functions, notes, &covered, &mut missing));
    }
    for (name, tests) in covered.iter().filter(|(name, _)| !known.contains(*name)) {
        missing.push(format!("{tests:?} cover {name}, which there is not"));
    }
    if missing.is_empty() {
        Ok(page)
    } else {
        Err(missing)
    }
}

#[test]
fn every_function_has_a_test_and_the_page_says_which() {
    let page = page().unwrap_or_else(|missing| panic!("{}", missing.join("\n")));
    let file = source().join("../../../docs/reference/proxy-wasm.md");
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    // Outside its workspace the crate has no page to keep.
    if file.parent().is_some_and(Path::exists) {
        let there = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            there == page,
            "{} is not current; run this test with UPDATE_REFERENCE=1",
            file.display()
        );
    }
}
