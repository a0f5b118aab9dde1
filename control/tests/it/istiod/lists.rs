//! The two lists beside the scenarios.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Places where we intend to differ. A `*` in a line stands for any text.
pub(crate) struct Differences(Vec<String>);

/// What is not compared yet: scenarios, kinds, and objects as `SCENARIO Kind namespace/name`.
#[derive(Clone)]
pub(crate) struct Pending {
    scenarios: BTreeSet<String>,
    kinds: BTreeSet<String>,
    objects: BTreeSet<String>,
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
        Self(lines(folder, "differences.txt"))
    }

    /// The place in the list of the line that `found` is meant by.
    pub(crate) fn find(&self, found: &str) -> Option<usize> {
        self.0.iter().position(|line| fits(line, found))
    }

    /// The lines that are not among `met`.
    pub(crate) fn stale(&self, met: &BTreeSet<usize>) -> Vec<&str> {
        let lines = self
            .0
            .iter()
            .enumerate()
            .filter(|(place, _)| !met.contains(place));
        lines.map(|(_, line)| line.as_str()).collect()
    }
}

/// Whether `text` has the parts of `pattern` between its stars, in their order.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match text.split_once(part) {
            Some((_, behind)) => text = behind,
            None => return false,
        }
    }
    text.ends_with(last)
}

impl Pending {
    pub(crate) fn read(folder: &Path) -> Self {
        let mut pending = Self {
            scenarios: BTreeSet::new(),
            kinds: BTreeSet::new(),
            objects: BTreeSet::new(),
        };
        for line in lines(folder, "pending.txt") {
            match line.split_once(' ') {
                Some(("scenario", name)) => pending.scenarios.insert(name.to_owned()),
                Some(("kind", name)) => pending.kinds.insert(name.to_owned()),
                Some(("object", name)) => pending.objects.insert(name.to_owned()),
                _ => panic!("pending.txt: {line}"),
            };
        }
        pending
    }

    pub(crate) fn has_scenario(&self, name: &str) -> bool {
        self.scenarios.contains(name)
    }

    /// Whether facts about `subject` (`Kind namespace/name and more`) of a scenario wait.
    pub(crate) fn has_subject(&self, scenario: &str, subject: &str) -> bool {
        let mut words = subject.split(' ');
        let (kind, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let object = format!("{scenario} {kind} {name}");
        self.objects.iter().any(|pending| fits(pending, &object))
    }

    pub(crate) fn has_kind(&self, name: &str) -> bool {
        self.kinds.contains(name)
    }
}
