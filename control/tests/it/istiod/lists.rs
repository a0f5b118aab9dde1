//! The two lists beside the scenarios.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Places where we intend to differ.
pub(crate) struct Differences(BTreeSet<String>);

/// Scenarios and kinds that are not compared yet.
#[derive(Clone)]
pub(crate) struct Pending {
    scenarios: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

/// The lines of a list that are no comment; each must stand below a comment that gives the reason.
fn lines(folder: &Path, name: &str) -> Vec<String> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut has_reason = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            has_reason = false;
        } else if line.starts_with('#') {
            has_reason = true;
        } else {
            assert!(has_reason, "{name}: no reason is given for {line}");
            lines.push(line.to_owned());
        }
    }
    lines
}

impl Differences {
    pub(crate) fn read(folder: &Path) -> Self {
        Self(lines(folder, "differences.txt").into_iter().collect())
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.0.contains(line)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

impl Pending {
    pub(crate) fn read(folder: &Path) -> Self {
        let mut pending = Self { scenarios: BTreeSet::new(), kinds: BTreeSet::new() };
        for line in lines(folder, "pending.txt") {
            match line.split_once(' ') {
                Some(("scenario", name)) => pending.scenarios.insert(name.to_owned()),
                Some(("kind", name)) => pending.kinds.insert(name.to_owned()),
                _ => panic!("pending.txt: {line}"),
            };
        }
        pending
    }

    pub(crate) fn has_scenario(&self, name: &str) -> bool {
        self.scenarios.contains(name)
    }

    pub(crate) fn has_kind(&self, name: &str) -> bool {
        self.kinds.contains(name)
    }
}
