//! Where Cairn means to differ from Envoy: `conformance/wasm/differences.yaml`.
//!
//! An entry that has become untrue is as wrong as one that is missing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// One intentional difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The cases, `GUEST/NAME`, with `*` for anything.
    pub cases: String,
    /// Lines that only Envoy has.
    #[serde(default)]
    pub envoy: Vec<String>,
    /// Lines that only Cairn has.
    #[serde(default)]
    pub cairn: Vec<String>,
    /// Why.
    pub reason: String,
    /// Where it is argued.
    pub reference: String,
    /// The patterns that were seen.
    #[serde(skip)]
    seen: RefCell<BTreeSet<(Side, usize)>>,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// Only Envoy has it.
    Envoy,
    /// Only Cairn has it.
    Cairn,
}

/// All of them.
#[derive(Debug)]
pub struct Differences(Vec<Entry>);

impl Differences {
    /// Reads the list.
    ///
    /// # Errors
    /// When there is none, or an entry is malformed.
    pub fn load() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("wasm/differences.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(Self(serde_saphyr::from_str(text)?))
    }

    /// Whether this difference is meant; it then counts as seen.
    pub fn explain(&self, case: &str, side: Side, line: &str) -> bool {
        let mut explained = false;
        for entry in self.0.iter().filter(|entry| fits(&entry.cases, case)) {
            for (number, pattern) in entry.of(side).iter().enumerate() {
                if fits(pattern, line) {
                    entry.seen.borrow_mut().insert((side, number));
                    explained = true;
                }
            }
        }
        explained
    }

    /// What is listed and was not seen.
    pub fn unseen(&self) -> Vec<String> {
        let mut unseen = vec![];
        for entry in &self.0 {
            for side in [Side::Envoy, Side::Cairn] {
                for (number, pattern) in entry.of(side).iter().enumerate() {
                    if !entry.seen.borrow().contains(&(side, number)) {
                        unseen.push(format!("{}: {side:?}: {pattern}", entry.cases));
                    }
                }
            }
        }
        unseen
    }
}

impl Entry {
    fn of(&self, side: Side) -> &[String] {
        match side {
            Side::Envoy => &self.envoy,
            Side::Cairn => &self.cairn,
        }
    }
}

/// Whether text fits a pattern in which `*` stands for anything.
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Lines of one side that have no counterpart on the other, in order.
pub fn unmatched<'a>(envoy: &'a [String], cairn: &'a [String]) -> Vec<(Side, &'a str)> {
    // The longest common subsequence, from the end.
    let mut table = vec![vec![0_u32; cairn.len() + 1]; envoy.len() + 1];
    let at = |table: &[Vec<u32>], e: usize, c: usize| -> u32 {
        table
            .get(e)
            .and_then(|row| row.get(c))
            .copied()
            .unwrap_or(0)
    };
    for (e, theirs) in envoy.iter().enumerate().rev() {
        for (c, ours) in cairn.iter().enumerate().rev() {
            let length = if theirs == ours {
                at(&table, e + 1, c + 1) + 1
            } else {
                at(&table, e + 1, c).max(at(&table, e, c + 1))
            };
            if let Some(cell) = table.get_mut(e).and_then(|row| row.get_mut(c)) {
                *cell = length;
            }
        }
    }
    let (mut e, mut c, mut lone) = (0, 0, vec![]);
    loop {
        match (envoy.get(e), cairn.get(c)) {
            (Some(theirs), Some(ours)) if theirs == ours => {
                e += 1;
                c += 1;
            }
            (Some(theirs), ours)
                if ours.is_none() || at(&table, e + 1, c) >= at(&table, e, c + 1) =>
            {
                lone.push((Side::Envoy, theirs.as_str()));
                e += 1;
            }
            (_, Some(ours)) => {
                lone.push((Side::Cairn, ours.as_str()));
                c += 1;
            }
            _ => return lone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(fits("get(*,x) -> 1", "get(0,x) -> 1"));
        assert!(fits("*", ""));
        assert!(!fits("get(*,x) -> 1", "get(0,x) -> 10"));
        assert!(!fits("a*b*c", "a-c-b"));
    }

    #[test]
    fn what_only_one_side_has_is_found() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (theirs, ours) = (lines("a b c d"), lines("a x c d e"));
        assert_eq!(
            unmatched(&theirs, &ours),
            [(Side::Envoy, "b"), (Side::Cairn, "x"), (Side::Cairn, "e")]
        );
        assert_eq!(unmatched(&theirs, &theirs), []);
    }

    #[test]
    fn an_entry_that_no_longer_occurs_is_told() {
        let text = "- {cases: 'probe/*', envoy: [a], cairn: [b], reason: r, reference: s}\n";
        let list = Differences::parse(text).unwrap();
        assert!(list.explain("probe/x", Side::Envoy, "a"));
        assert!(!list.explain("other/x", Side::Cairn, "b"));
        assert_eq!(list.unseen(), ["probe/*: Cairn: b"]);
    }
}
