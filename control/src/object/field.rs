//! Where inside an object tree a value stands, as people write it:
//! `spec.rules[0].matches[1].path.value`.
//!
//! [`FieldPath`] names one field; a *pattern* names many (`spec.rules[].matches[].path`), where `[]`
//! stands for every item of a list and `{}` for every value of a map. Patterns are what tables of
//! defaults and of admission checks are written in.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

/// One step into an object tree.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Segment {
    /// Into a map.
    Key(Box<str>),
    /// Into a list, from 0.
    Index(usize),
}

/// The path of one field. Its text form is Kubernetes': `spec.ports[0].name`, and
/// `metadata.labels[app.kubernetes.io/name]` where a key is not a plain word.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// The object itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The field `key` of the map at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.into()));
        path
    }

    /// The item `index` of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    /// Takes the field out of `value`; items of lists stay, because others are named by their place.
    pub fn take(&self, value: &mut Value) -> Option<Value> {
        let (last, outer) = self.0.split_last()?;
        let mut holder = value;
        for segment in outer {
            holder = match segment {
                Segment::Key(key) => holder.get_mut(&**key)?,
                Segment::Index(index) => holder.get_mut(*index)?,
            };
        }
        match last {
            Segment::Key(key) => holder.as_object_mut()?.remove(&**key),
            Segment::Index(_) => None,
        }
    }

    /// This path, continued by `rest`.
    #[must_use]
    pub fn join(&self, rest: &Self) -> Self {
        let mut path = self.clone();
        path.0.extend(rest.0.iter().cloned());
        path
    }

    /// The path one step up, `None` at the object itself.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// The last step, `None` at the object itself.
    pub fn last(&self) -> Option<&Segment> {
        self.0.last()
    }

    /// Whether this is the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The value at this path of `tree`.
    pub fn resolve<'v>(&self, tree: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(tree, |node, segment| match segment {
            Segment::Key(key) => node.get(key.as_ref()),
            Segment::Index(index) => node.get(index),
        })
    }

    /// A number that stands for this path in tables; equal paths have equal fingerprints, in every
    /// process.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    /// Goes into the field `key` of the map at this path.
    pub(crate) fn enter_key(&mut self, key: &str) {
        self.0.push(Segment::Key(key.into()));
    }

    /// Goes into the item `index` of the list at this path.
    pub(crate) fn enter_index(&mut self, index: usize) {
        self.0.push(Segment::Index(index));
    }

    /// Goes one step up.
    pub(crate) fn leave(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.contains(['.', '[', ']']) => write!(f, "[{key}]")?,
                Segment::Key(key) if depth == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// Reads the text form. Every text is some path: a number in brackets is an index, anything else
/// in brackets is a key.
impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        let mut path = Self::root();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (item, after) = inner.split_once(']').unwrap_or((inner, ""));
                match item.parse() {
                    Ok(index) => path.enter_index(index),
                    Err(_) => path.enter_key(item),
                }
                rest = after.strip_prefix('.').unwrap_or(after);
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                path.enter_key(key);
                rest = after.strip_prefix('.').unwrap_or(after);
            }
        }
        path
    }
}

/// Calls `found` for each value of `tree` that `pattern` names, in document order. A null is no
/// value: for an API server it is the same as leaving the field out.
pub fn visit<'v>(tree: &'v Value, pattern: &str, found: &mut dyn FnMut(&FieldPath, &'v Value)) {
    let steps = steps(pattern);
    walk(tree, &steps, &mut FieldPath::root(), found);
}

fn walk<'v>(
    node: &'v Value,
    steps: &[Step<'_>],
    path: &mut FieldPath,
    found: &mut dyn FnMut(&FieldPath, &'v Value),
) {
    let Some((step, rest)) = steps.split_first() else {
        if !node.is_null() {
            found(path, node);
        }
        return;
    };
    match (step, node) {
        (Step::Key(key), Value::Object(map)) => {
            if let Some(child) = map.get(*key) {
                path.enter_key(key);
                walk(child, rest, path, found);
                path.leave();
            }
        }
        (Step::Items, Value::Array(items)) => {
            for (index, child) in items.iter().enumerate() {
                path.enter_index(index);
                walk(child, rest, path, found);
                path.leave();
            }
        }
        (Step::Values, Value::Object(map)) => {
            for (key, child) in map {
                path.enter_key(key);
                walk(child, rest, path, found);
                path.leave();
            }
        }
        _ => {}
    }
}

/// Calls `change` for each value of `tree` that `pattern` names.
pub fn visit_mut(tree: &mut Value, pattern: &str, change: &mut dyn FnMut(&mut Value)) {
    walk_mut(tree, &steps(pattern), change);
}

fn walk_mut(node: &mut Value, steps: &[Step<'_>], change: &mut dyn FnMut(&mut Value)) {
    let Some((step, rest)) = steps.split_first() else {
        return change(node);
    };
    match (step, node) {
        (Step::Key(key), Value::Object(map)) => {
            if let Some(child) = map.get_mut(*key) {
                walk_mut(child, rest, change);
            }
        }
        (Step::Items, Value::Array(items)) => {
            for child in items {
                walk_mut(child, rest, change);
            }
        }
        (Step::Values, Value::Object(map)) => {
            for child in map.values_mut() {
                walk_mut(child, rest, change);
            }
        }
        _ => {}
    }
}

enum Step<'p> {
    Key(&'p str),
    Items,
    Values,
}

fn steps(pattern: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for word in pattern.split('.').filter(|word| !word.is_empty()) {
        let mut rest = word;
        let key_end = rest.find(['[', '{']).unwrap_or(rest.len());
        let (key, mut marks) = rest.split_at(key_end);
        if !key.is_empty() {
            steps.push(Step::Key(key));
        }
        while !marks.is_empty() {
            (rest, marks) = marks.split_at(marks.len().min(2));
            steps.push(if rest == "{}" {
                Step::Values
            } else {
                Step::Items
            });
        }
    }
    steps
}

#[cfg(test)]
mod tests;
