//! Defaults, filled in as an API server fills them in before it stores an object.
//!
//! Most are rows of [`Row`]: at every map a pattern names, a field that is missing gets a value.

pub(super) mod core;
pub(super) mod gateway;

use serde_json::{Value, json};

use crate::object::visit_mut;

/// A field that gets a value where it is missing: pattern of the maps that hold it, its name,
/// the value.
type Row = (&'static str, &'static str, Filler);

/// What a missing field gets.
#[derive(Clone, Copy)]
enum Filler {
    Text(&'static str),
    Number(i64),
    Bool(bool),
    Made(fn() -> Value),
}

impl Filler {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Bool(bool) => json!(bool),
            Self::Made(made) => made(),
        }
    }
}

/// Fills in `rows`, in order: a map that one row creates is seen by the next.
fn fill(value: &mut Value, rows: &[Row]) {
    for (holder, field, filler) in rows {
        visit_mut(value, holder, &mut |node| {
            set_missing(node, field, || filler.value());
        });
    }
}

fn set_missing(node: &mut Value, field: &str, value: impl FnOnce() -> Value) {
    if let Some(map) = node.as_object_mut()
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), value());
    }
}

/// Istio's policies may do without a spec: an AuthorizationPolicy without one denies everything.
pub(super) fn empty_spec(value: &mut Value) {
    set_missing(value, "spec", || json!({}));
}

/// Takes out fields whose value is null: for an API server that is the same as leaving them out.
/// Items of lists stay, and so does what stands under `pluginConfig`, which is the plugin's own.
pub fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.iter_mut()
                .filter(|(key, _)| *key != "pluginConfig")
                .for_each(|(_, child)| strip_nulls(child));
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
