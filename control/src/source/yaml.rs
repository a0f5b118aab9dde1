//! The text of a manifest → documents, with the line of every field.
//!
//! A file is cut at its `---` lines before anything is parsed, so that one malformed document does
//! not take the others with it. Lists (`kind: List`, `PodList`, a plain array) are taken apart.
//! JSON is read by the same parser. Bounds: [`MAX_BYTES`] a file, what its aliases come to ("billion
//! laughs"), and the depth of a document; a key that occurs twice is an error.

mod scalar;
mod tree;

use std::sync::Arc;

use serde_json::Value;

use super::lines::LineTable;
use super::{Document, Origin};
use crate::finding::{Finding, Severity};
use crate::object::FieldPath;
use tree::{Budget, Child, Malformed, Shape, Tree};

/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// What a manifest holds.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The documents that could be read, in order.
    pub documents: Vec<Document>,
    /// What could not be read.
    pub unreadable: Vec<Finding>,
}

/// Reads the text of `file`.
pub fn parse(file: &Arc<str>, text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut budget = Budget::default();
    for chunk in chunks(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let read = Tree::read(chunk.text, chunk.lines_before).and_then(|tree| {
            let mut found = |value, lines| {
                let origin = Origin {
                    file: Some(file.clone()),
                    lines,
                };
                manifest.documents.push(Document { value, origin });
            };
            let mut unpacking = Unpacking {
                tree: &tree,
                budget: &mut budget,
                found: &mut found,
            };
            tree.roots
                .iter()
                .try_for_each(|root| unpacking.unpack(root, None, 0))
        });
        if let Err(Malformed { at, what }) = read {
            let origin = Origin {
                file: Some(file.clone()),
                lines: LineTable::starting_at(at),
            };
            let what = format!("is not valid YAML: {what}");
            manifest.unreadable.push(Finding {
                effect: "this document is not read and what it last held stays in effect"
                    .to_owned(),
                remedy: "correct the YAML".to_owned(),
                ..origin.finding(None, &FieldPath::root(), Severity::Error, what)
            });
        }
    }
    manifest
}

/// The text between two `---` lines, and how many lines of the file come before it.
struct Chunk<'t> {
    text: &'t str,
    lines_before: u32,
}

/// Cuts at lines that begin with `---`. YAML allows that sequence at the start of a line nowhere
/// else, not even inside a quoted or block scalar (YAML 1.2.2, rule `c-forbidden`).
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let mut offset = 0;
    for (line, content) in (0u32..).zip(text.split_inclusive('\n')) {
        let is_marker = content.strip_prefix("---").is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_whitespace())
        });
        if is_marker && offset > start {
            chunks.push((start, offset, start_line));
            (start, start_line) = (offset, line);
        }
        offset += content.len();
    }
    chunks.push((start, text.len(), start_line));
    chunks
        .into_iter()
        .filter_map(|(from, to, lines_before)| {
            Some(Chunk {
                text: text.get(from..to)?,
                lines_before,
            })
        })
        .filter(|chunk| chunk.text.lines().any(has_content))
        .collect()
}

/// Whether a line says anything; comments, directives and markers do not.
fn has_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !(line.is_empty() || line == "..." || line.starts_with(['#', '%']))
}

/// What an API server leaves out of the items of a typed list.
#[derive(Clone)]
struct ItemType {
    api_version: String,
    kind: String,
}

/// Takes lists apart; everything else is one document, unless it is null.
struct Unpacking<'t> {
    tree: &'t Tree,
    budget: &'t mut Budget,
    found: &'t mut dyn FnMut(Value, LineTable),
}

impl Unpacking<'_> {
    fn unpack(
        &mut self,
        child: &Child,
        item_type: Option<&ItemType>,
        depth: usize,
    ) -> Result<(), Malformed> {
        let tree = self.tree;
        let text_of = |key| tree.entry(child, key).and_then(|value| tree.text(value));
        match tree.shape(child) {
            Shape::List(items) => self.items(child, items, item_type, depth),
            Shape::Map(_) => {
                let listed = text_of("kind").and_then(|kind| kind.strip_suffix("List"));
                let items = tree.entry(child, "items").map(|items| tree.shape(items));
                if let (Some(kind), Some(Shape::List(items))) = (listed, items) {
                    let api_version = text_of("apiVersion").unwrap_or("v1").to_owned();
                    let item_type = ItemType {
                        api_version,
                        kind: kind.to_owned(),
                    };
                    let item_type = (!kind.is_empty()).then_some(&item_type);
                    return self.items(child, items, item_type, depth);
                }
                let (mut value, lines) = tree.flatten(child, self.budget)?;
                if let (Some(of), Some(map)) = (item_type, value.as_object_mut()) {
                    map.entry("apiVersion")
                        .or_insert_with(|| of.api_version.clone().into());
                    map.entry("kind").or_insert_with(|| of.kind.clone().into());
                }
                (self.found)(value, lines);
                Ok(())
            }
            Shape::Scalar(_) => {
                let (value, lines) = tree.flatten(child, self.budget)?;
                if !value.is_null() {
                    (self.found)(value, lines);
                }
                Ok(())
            }
        }
    }

    fn items(
        &mut self,
        list: &Child,
        items: &[Child],
        item_type: Option<&ItemType>,
        depth: usize,
    ) -> Result<(), Malformed> {
        // An alias may lead back into the list it stands in.
        Tree::enter(list, depth, self.budget)?;
        items
            .iter()
            .try_for_each(|item| self.unpack(item, item_type, depth + 1))
    }
}

#[cfg(test)]
mod tests;
