//! The text of a manifest → documents, with the line of every field.
//!
//! A file is cut at its `---` lines before anything is parsed, so that one malformed document does
//! not take the others with it. Lists (`kind: List`, `PodList`, a plain array) are taken apart.
//! JSON is read by the same parser. Bounds: [`MAX_BYTES`] a file, and nodes, depth and alias
//! expansion a document ("billion laughs"); a key that occurs twice is an error.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{Options, Spanned};

use super::lines::{LineTable, Position};
use super::{Document, Origin};
use crate::finding::Finding;
use crate::finding::Severity;
use crate::object::FieldPath;

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
    for chunk in chunks(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match parse_chunk(chunk.text) {
            Ok(Some(node)) => {
                unpack(node, &mut |node| {
                    manifest.documents.push(document(file, &node, chunk.line));
                });
            }
            Ok(None) => {}
            Err(Malformed { position, what }) => {
                let line = position.line.max(1) + chunk.line;
                let lines = LineTable::starting_at(Position { line, column: position.column });
                let origin = Origin { file: Some(file.clone()), lines };
                manifest.unreadable.push(Finding {
                    effect: "this document is not read and what it last held stays in effect"
                        .to_owned(),
                    remedy: "correct the YAML".to_owned(),
                    ..origin.finding(None, &FieldPath::root(), Severity::Error, what)
                });
            }
        }
    }
    manifest
}

/// The text between two `---` lines, and how many lines of the file come before it.
struct Chunk<'t> {
    text: &'t str,
    line: u32,
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
        .filter_map(|(from, to, line)| Some(Chunk { text: text.get(from..to)?, line }))
        .filter(|chunk| chunk.text.lines().any(has_content))
        .collect()
}

/// Whether a line says anything; comments, directives and markers do not.
fn has_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !(line.is_empty() || line == "..." || line.starts_with(['#', '%']))
}

struct Malformed {
    position: Position,
    what: String,
}

fn parse_chunk(text: &str) -> Result<Option<Node>, Malformed> {
    let node: Result<Node, _> = serde_saphyr::from_str_with_options(text, options());
    match node {
        Ok(Node(Spanned { value: Tree::Leaf(Value::Null), .. })) => Ok(None),
        Ok(node) => Ok(Some(node)),
        Err(error) => {
            let position = error.location().map_or(Position::default(), |location| Position {
                line: u32::try_from(location.line()).unwrap_or(0),
                column: u32::try_from(location.column()).unwrap_or(0),
            });
            // The parser repeats the place at the end of its sentence; ours says it at the start.
            let text = error.without_snippet().to_string();
            let text = text.split(" at line ").next().unwrap_or(&text);
            let text = text.lines().next().unwrap_or(text);
            Err(Malformed { position, what: format!("is not valid YAML: {text}") })
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 1_000_000,
            max_events: 2_000_000,
            max_recorded_anchor_events: 200_000,
            max_recorded_anchor_bytes: 4 << 20,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        // `defaultMode: 0644` is octal for kubectl (YAML 1.1).
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

/// A YAML node with the place where it begins.
struct Node(Spanned<Tree>);

enum Tree {
    Leaf(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

impl Node {
    fn text_of(&self, key: &str) -> Option<&str> {
        let Tree::Map(entries) = &self.0.value else { return None };
        match &entries.iter().find(|(name, _)| name.value == key)?.1.0.value {
            Tree::Leaf(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// Takes lists apart; everything else is one document.
fn unpack(node: Node, found: &mut dyn FnMut(Node)) {
    let list_of = node.text_of("kind").and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let version = node.text_of("apiVersion").unwrap_or("v1").to_owned();
    let Node(Spanned { value, referenced, defined }) = node;
    match (value, list_of) {
        (Tree::List(items), _) => items.into_iter().for_each(|item| unpack(item, found)),
        (Tree::Map(entries), Some(kind)) if entries.iter().any(|(key, _)| key.value == "items") => {
            let items = entries.into_iter().find(|(key, _)| key.value == "items");
            let Some((_, Node(Spanned { value: Tree::List(items), .. }))) = items else { return };
            for mut item in items {
                // An API server leaves both out of the items of a typed list.
                if let (false, Tree::Map(fields)) = (kind.is_empty(), &mut item.0.value) {
                    for (key, text) in [("apiVersion", &version), ("kind", &kind)] {
                        if !fields.iter().any(|(name, _)| name.value == key) {
                            let leaf = Tree::Leaf(Value::String(text.clone()));
                            let leaf = Node(Spanned::new(leaf, referenced, defined));
                            fields.push((Spanned::new(key.to_owned(), referenced, defined), leaf));
                        }
                    }
                }
                unpack(item, found);
            }
        }
        (value, _) => found(Node(Spanned::new(value, referenced, defined))),
    }
}

fn document(file: &Arc<str>, node: &Node, line_offset: u32) -> Document {
    let mut fields = Vec::new();
    let start = position(&node.0, line_offset);
    let value = flatten(node, &FieldPath::root(), line_offset, &mut fields);
    let lines = LineTable::new(start, fields.iter().map(|(path, at)| (path, *at)));
    Document { value, origin: Origin { file: Some(file.clone()), lines } }
}

/// Builds the plain tree of `node` and notes where each of its fields stands.
fn flatten(
    node: &Node,
    path: &FieldPath,
    line_offset: u32,
    fields: &mut Vec<(FieldPath, Position)>,
) -> Value {
    match &node.0.value {
        Tree::Leaf(value) => value.clone(),
        Tree::List(items) => {
            let item = |(index, item): (usize, &Node)| {
                let path = path.index(index);
                fields.push((path.clone(), position(&item.0, line_offset)));
                flatten(item, &path, line_offset, fields)
            };
            Value::Array(items.iter().enumerate().map(item).collect())
        }
        Tree::Map(entries) => {
            let mut map = Map::new();
            for (key, child) in entries {
                let path = path.key(&key.value);
                let (key_at, value_at) =
                    (position(key, line_offset), position(&child.0, line_offset));
                // A block below its key is better pointed at where its name stands.
                let at = if value_at.line == key_at.line { value_at } else { key_at };
                fields.push((path.clone(), at));
                map.insert(key.value.clone(), flatten(child, &path, line_offset, fields));
            }
            Value::Object(map)
        }
    }
}

fn position<T>(spanned: &Spanned<T>, line_offset: u32) -> Position {
    let number = |value: u64| u32::try_from(value).unwrap_or(0);
    Position {
        line: number(spanned.referenced.line()) + line_offset,
        column: number(spanned.referenced.column()),
    }
}

#[cfg(test)]
mod tests;
