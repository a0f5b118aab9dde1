//! An object tree → its typed form, with errors that a person who wrote YAML understands.

use std::any::Any;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Typed;
use crate::object::FieldPath;

/// A field that does not fit its type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mismatch {
    /// The field.
    pub field: FieldPath,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it; empty if that is plain.
    pub remedy: &'static str,
}

/// Decodes `value` into `T`; the fields that `T` does not know are returned beside it.
pub(super) fn decode<T>(value: &Value) -> Result<Typed, Mismatch>
where
    T: DeserializeOwned + Any + Send + Sync,
{
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let decoded: Result<T, serde_json::Error> =
        serde_ignored::deserialize(tracked, |path| unknown.push(ignored_path(&path)));
    match decoded {
        Ok(typed) => Ok((Arc::new(typed), unknown)),
        Err(error) => Err(mismatch(
            value,
            &error_path(&track.path()),
            &error.to_string(),
        )),
    }
}

fn error_path(path: &serde_path_to_error::Path) -> FieldPath {
    use serde_path_to_error::Segment as Seen;
    path.iter()
        .fold(FieldPath::root(), |path, segment| match segment {
            Seen::Seq { index } => path.index(*index),
            Seen::Map { key } => path.key(key),
            Seen::Enum { .. } | Seen::Unknown => path,
        })
}

fn ignored_path(path: &serde_ignored::Path<'_>) -> FieldPath {
    use serde_ignored::Path as Seen;
    match path {
        Seen::Root => FieldPath::root(),
        Seen::Seq { parent, index } => ignored_path(parent).index(*index),
        Seen::Map { parent, key } => ignored_path(parent).key(key),
        Seen::Some { parent }
        | Seen::NewtypeStruct { parent }
        | Seen::NewtypeVariant { parent } => ignored_path(parent),
    }
}

/// Words serde's message without the names of our types.
fn mismatch(value: &Value, path: &FieldPath, message: &str) -> Mismatch {
    if let Some(name) = quoted_after(message, "missing field ") {
        return Mismatch {
            field: path.key(name),
            what: "is required".to_owned(),
            remedy: "add it",
        };
    }
    if let Some(name) = quoted_after(message, "unknown variant ") {
        // The value itself is not always the last step that was tracked.
        let field = holder_of(value, path, name);
        let known = message
            .split_once("expected ")
            .map_or("", |(_, known)| known);
        let known = known.trim_start_matches("one of ").replace('`', "\"");
        let what = format!("is \"{name}\", must be one of {known}");
        return Mismatch {
            field,
            what,
            remedy: "use one of them",
        };
    }
    let invalid = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = invalid.and_then(|rest| rest.split_once(", expected ")) else {
        let what = format!("does not fit: {message}");
        return Mismatch {
            field: path.clone(),
            what,
            remedy: "",
        };
    };
    let (found, expected) = (found_word(found), expected_word(expected));
    // `version: 1` and `enabled: yes` are no strings in YAML.
    let is_unquoted = found.starts_with("the number") || found.starts_with("the boolean");
    let remedy = if expected == "a string" && is_unquoted {
        "write it in quotes"
    } else {
        ""
    };
    Mismatch {
        field: path.clone(),
        what: format!("is {found}, must be {expected}"),
        remedy,
    }
}

fn quoted_after<'m>(message: &'m str, prefix: &str) -> Option<&'m str> {
    message
        .strip_prefix(prefix)?
        .strip_prefix('`')?
        .split_once('`')
        .map(|(name, _)| name)
}

fn holder_of(value: &Value, path: &FieldPath, text: &str) -> FieldPath {
    let node = path.resolve(value);
    match node.and_then(Value::as_object) {
        Some(map) => map
            .iter()
            .find(|(_, child)| child.as_str() == Some(text))
            .map_or_else(|| path.clone(), |(key, _)| path.key(key)),
        None => path.clone(),
    }
}

/// `string "80"` → `the string "80"`.
fn found_word(found: &str) -> String {
    let found = found.replace('`', "");
    match found.split_once(' ') {
        Some(("integer" | "floating", rest)) => {
            format!("the number {}", rest.trim_start_matches("point "))
        }
        Some((kind @ ("string" | "boolean"), rest)) => format!("the {kind} {rest}"),
        _ => match found.as_str() {
            "null" | "unit value" => "empty".to_owned(),
            "sequence" => "a list".to_owned(),
            "map" => "a map".to_owned(),
            _ => found,
        },
    }
}

/// `i32` → `a whole number`.
fn expected_word(expected: &str) -> String {
    let word = expected.trim();
    let numbers = [
        "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "usize",
    ];
    match word {
        _ if numbers.contains(&word) => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        // Serde reads an enum from either.
        "a string" | "string" | "str" | "string or map" => "a string".to_owned(),
        "a boolean" | "bool" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a map".to_owned(),
        _ if word.starts_with("struct ") || word.starts_with(|c: char| c.is_ascii_uppercase()) => {
            "a map".to_owned()
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests;
