//! The events of the YAML parser → a tree that knows where everything stands → plain values.
//!
//! Nodes lie in one list and name each other by number, so reading needs no recursion, and an alias
//! costs nothing until it is expanded. Expansion is bounded.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Value};

use super::scalar::{self, Scalar};
use crate::object::FieldPath;
use crate::source::lines::{LineTable, Position};

/// How deep a document may be nested, aliases included.
const MAX_DEPTH: usize = 100;

/// How many values a file may come to, aliases included.
const MAX_VALUES: usize = 1_000_000;

/// How many bytes of text they may hold: four times the largest file.
const MAX_TEXT: usize = 16 << 20;

/// A text that is no document.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) at: Position,
    pub(super) what: String,
}

/// What is left of what a file may come to.
#[derive(Debug)]
pub(super) struct Budget {
    values: usize,
    text: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            values: MAX_VALUES,
            text: MAX_TEXT,
        }
    }
}

impl Budget {
    /// Pays for one more value at `depth`, with so many bytes of text in it.
    fn pay(&mut self, at: Position, depth: usize, text: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            let what = "it is nested too deeply".to_owned();
            return Err(Malformed { at, what });
        }
        let left = (self.values.checked_sub(1), self.text.checked_sub(text));
        let (Some(values), Some(text)) = left else {
            let what = "it has too many values".to_owned();
            return Err(Malformed { at, what });
        };
        *self = Self { values, text };
        Ok(())
    }
}

/// One parsed text.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Shape>,
    /// Its documents: one, unless some end with `...`.
    pub(super) roots: Vec<Child>,
}

/// A node at a place; an alias is its target at another place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    node: usize,
    at: Position,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Shape {
    Scalar(Scalar),
    List(Vec<Child>),
    Map(Vec<(Child, Child)>),
}

/// A list or map whose end has not been read.
struct Open {
    child: Child,
    key: Option<Child>,
}

impl Tree {
    /// Reads a text; `lines_before` lines of the file come before `text`.
    pub(super) fn read(text: &str, lines_before: u32) -> Result<Self, Malformed> {
        let mut tree = Self::default();
        let mut open: Vec<Open> = Vec::new();
        let mut anchors = HashMap::new();
        for item in Parser::new_from_str(text) {
            let (event, span) = item.map_err(|error| scan_error(&error, lines_before))?;
            let at = position(&span, lines_before);
            let (shape, anchor) = match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let tag = tag
                        .as_deref()
                        .and_then(|tag| tag.core_suffix())
                        .map(str::to_owned);
                    let is_plain = style == ScalarStyle::Plain;
                    (
                        Shape::Scalar(Scalar {
                            text: text.into_owned(),
                            is_plain,
                            tag,
                        }),
                        anchor,
                    )
                }
                Event::SequenceStart(_, anchor, _) => (Shape::List(Vec::new()), anchor),
                Event::MappingStart(_, anchor, _) => (Shape::Map(Vec::new()), anchor),
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(closed) = open.pop() {
                        tree.add(&mut open, closed.child);
                    }
                    continue;
                }
                Event::Alias(id) => {
                    if let Some(node) = anchors.get(&id) {
                        tree.add(&mut open, Child { node: *node, at });
                    }
                    continue;
                }
                _ => continue,
            };
            let child = Child {
                node: tree.nodes.len(),
                at,
            };
            if anchor != 0 {
                anchors.insert(anchor, child.node);
            }
            if let Shape::Scalar(_) = shape {
                tree.nodes.push(shape);
                tree.add(&mut open, child);
            } else {
                tree.nodes.push(shape);
                open.push(Open { child, key: None });
            }
        }
        Ok(tree)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, open: &mut [Open], child: Child) {
        let Some(parent) = open.last_mut() else {
            self.roots.push(child);
            return;
        };
        match self.nodes.get_mut(parent.child.node) {
            Some(Shape::List(items)) => items.push(child),
            Some(Shape::Map(entries)) => match parent.key.take() {
                Some(key) => entries.push((key, child)),
                None => parent.key = Some(child),
            },
            Some(Shape::Scalar(_)) | None => {}
        }
    }

    /// What `child` is.
    pub(super) fn shape(&self, child: &Child) -> &Shape {
        static NOTHING: Shape = Shape::List(Vec::new());
        self.nodes.get(child.node).unwrap_or(&NOTHING)
    }

    /// The value of `key` in a map.
    pub(super) fn entry(&self, map: &Child, key: &str) -> Option<&Child> {
        let Shape::Map(entries) = self.shape(map) else {
            return None;
        };
        entries
            .iter()
            .find(|(name, _)| self.text(name) == Some(key))
            .map(|(_, value)| value)
    }

    /// The text of a scalar.
    pub(super) fn text(&self, child: &Child) -> Option<&str> {
        match self.shape(child) {
            Shape::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Pays for a list that is taken apart at `depth`.
    pub(super) fn enter(child: &Child, depth: usize, budget: &mut Budget) -> Result<(), Malformed> {
        budget.pay(child.at, depth, 0)
    }

    /// The plain value of `child`, with the lines of all that is in it.
    pub(super) fn flatten(
        &self,
        child: &Child,
        budget: &mut Budget,
    ) -> Result<(Value, LineTable), Malformed> {
        let mut flattening = Flattening {
            tree: self,
            budget,
            path: FieldPath::root(),
            depth: 0,
            fields: Vec::new(),
        };
        let value = flattening.value(child)?;
        Ok((value, LineTable::new(child.at, flattening.fields)))
    }
}

struct Flattening<'t> {
    tree: &'t Tree,
    budget: &'t mut Budget,
    path: FieldPath,
    depth: usize,
    fields: Vec<(u64, Position)>,
}

impl Flattening<'_> {
    fn value(&mut self, child: &Child) -> Result<Value, Malformed> {
        let text = self.tree.text(child).map_or(0, str::len);
        self.budget.pay(child.at, self.depth, text)?;
        self.depth += 1;
        let value = match self.tree.shape(child) {
            Shape::Scalar(scalar) => scalar::resolve(scalar),
            Shape::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.enter_index(index);
                    self.fields.push((self.path.fingerprint(), item.at));
                    list.push(self.value(item)?);
                    self.path.leave();
                }
                Value::Array(list)
            }
            Shape::Map(entries) => Value::Object(self.map(entries)?),
        };
        self.depth -= 1;
        Ok(value)
    }

    fn map(&mut self, entries: &[(Child, Child)]) -> Result<Map<String, Value>, Malformed> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        for (key, child) in entries {
            let Shape::Scalar(name) = self.tree.shape(key) else {
                let what = "a key is a list or a map".to_owned();
                return Err(Malformed { at: key.at, what });
            };
            if name.is_plain && name.text == "<<" {
                merged.push(child);
                continue;
            }
            if map.contains_key(&name.text) {
                let what = format!("the key {:?} occurs twice", name.text);
                return Err(Malformed { at: key.at, what });
            }
            self.budget.pay(key.at, self.depth, name.text.len())?;
            self.path.enter_key(&name.text);
            // A block below its key is better pointed at where its name stands.
            let at = if child.at.line == key.at.line {
                child.at
            } else {
                key.at
            };
            self.fields.push((self.path.fingerprint(), at));
            let value = self.value(child)?;
            self.path.leave();
            map.insert(name.text.clone(), value);
        }
        for source in merged {
            self.merge(source, &mut map)?;
        }
        Ok(map)
    }

    /// `<<: *map` and `<<: [*map, *map]`: what is not there yet comes from the maps, the first
    /// first (<https://yaml.org/type/merge.html>).
    fn merge(&mut self, source: &Child, into: &mut Map<String, Value>) -> Result<(), Malformed> {
        match self.value(source)? {
            Value::Object(map) => {
                for (key, value) in map {
                    into.entry(key).or_insert(value);
                }
                Ok(())
            }
            Value::Array(maps) if maps.iter().all(Value::is_object) => {
                for map in maps {
                    let Value::Object(map) = map else { continue };
                    for (key, value) in map {
                        into.entry(key).or_insert(value);
                    }
                }
                Ok(())
            }
            _ => {
                let what = "the value of << is no map".to_owned();
                Err(Malformed {
                    at: source.at,
                    what,
                })
            }
        }
    }
}

fn position(span: &Span, lines_before: u32) -> Position {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (line, column) = (number(span.start.line()), number(span.start.col()));
    Position {
        line: line.saturating_add(lines_before),
        column: column.saturating_add(1),
    }
}

fn scan_error(error: &ScanError, lines_before: u32) -> Malformed {
    Malformed {
        at: position(&Span::empty(*error.marker()), lines_before),
        what: error.info(),
    }
}
