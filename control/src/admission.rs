//! What an API server would refuse, refused with file, line and field.
//!
//! Rules are rows of [`Check`], one table per kind ([`crate::kinds`] says which tables a kind has),
//! each citing where the rule comes from. [`admit`] runs them, fills in defaults and decodes; it is
//! pure. Nothing here looks at other objects: a reference to what does not exist is no matter of
//! admission.

pub(crate) mod authorization;
pub(crate) mod core;
pub(crate) mod gateway;
pub(crate) mod http_filter;
pub(crate) mod http_route;
mod metadata;
mod patterns;
pub(crate) mod peer_authentication;
pub(crate) mod selection;
pub(crate) mod traffic_extension;
pub(crate) mod wasm_plugin;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::finding::{Finding, Severity};
use crate::kinds::{self, Info, Mismatch};
use crate::object::{FieldPath, Key, Kind, visit};
use crate::source::{Document, Origin};
pub use patterns::Pattern;

/// One named rule.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Name of the rule, unique in its table.
    pub name: &'static str,
    /// Patterns of the fields it is about.
    pub at: &'static [&'static str],
    /// The rule itself.
    pub rule: Rule,
    /// Where the rule comes from.
    pub source: &'static str,
}

/// What must hold for a field.
#[derive(Clone, Copy)]
pub enum Rule {
    /// A list, or a map, has so many entries.
    Entries(usize, usize),
    /// A text has so many characters.
    Length(usize, usize),
    /// A number lies in this range.
    Between(i64, i64),
    /// A text has this form.
    Form(&'static Pattern),
    /// A text or number is one of these.
    OneOf(&'static [&'static str]),
    /// A map has these fields.
    Has(&'static [&'static str]),
    /// No two items of a list are equal in all these fields; in none of them: no two are equal.
    Unique(&'static [&'static str]),
    /// At most one item of a list has this value in this field.
    AtMostOne(&'static str, &'static str),
    /// Anything else: returns what is wrong.
    Holds(fn(&Value) -> Vec<Violation>),
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rule")
    }
}

/// A rule that does not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The field, below the one that the rule is about.
    pub field: FieldPath,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Violation {
    /// Says that `what` is wrong with `field` (a path below the field that the rule is about).
    pub fn new(field: &str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            field: FieldPath::from(field),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl Rule {
    /// What is wrong with `node`. A node of another type than the rule expects is left to decoding.
    fn violations(&self, node: &Value) -> Vec<Violation> {
        let one = |what: String, remedy: &str| vec![Violation::new("", what, remedy)];
        match *self {
            Self::Entries(least, most) => match entries(node) {
                Some(n) if n > most => one(format!("has {n} entries"), &at_most(most)),
                Some(n) if n < least => one(format!("has {n} entries"), &at_least(least)),
                _ => Vec::new(),
            },
            Self::Length(least, most) => match node.as_str().map(|text| text.chars().count()) {
                Some(0) if least > 0 => one("is empty".to_owned(), "give it a value"),
                Some(n) if n > most => one(format!("has {n} characters"), &at_most(most)),
                Some(n) if n < least => one(format!("has {n} characters"), &at_least(least)),
                _ => Vec::new(),
            },
            Self::Between(least, most) => match node.as_i64() {
                Some(n) if !(least..=most).contains(&n) => {
                    one(format!("is {n}"), &range_words(least..=most))
                }
                _ => Vec::new(),
            },
            Self::Form(pattern) => match node.as_str() {
                Some(text) if !pattern.fits(text) => one(
                    format!("is {}", quoted(text)),
                    &format!("write {}", pattern.description),
                ),
                _ => Vec::new(),
            },
            Self::OneOf(known) => {
                let text = match node {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => return Vec::new(),
                };
                if known.contains(&text.as_str()) {
                    return Vec::new();
                }
                one(
                    format!("is {}", quoted(&text)),
                    &format!("use one of {}", known.join(", ")),
                )
            }
            Self::Has(fields) => missing(node, fields),
            Self::Unique(fields) => repeated(node, fields),
            Self::AtMostOne(field, value) => {
                let Some(items) = node.as_array() else {
                    return Vec::new();
                };
                let has_it = |item: &&Value| item.get(field).and_then(Value::as_str) == Some(value);
                match items.iter().filter(has_it).count() {
                    0 | 1 => Vec::new(),
                    n => one(
                        format!("has {n} entries with {field} {value}"),
                        "keep one of them",
                    ),
                }
            }
            Self::Holds(holds) => holds(node),
        }
    }
}

fn entries(node: &Value) -> Option<usize> {
    node.as_array()
        .map(Vec::len)
        .or_else(|| node.as_object().map(Map::len))
}

fn at_most(most: usize) -> String {
    format!("use at most {most}")
}

fn at_least(least: usize) -> String {
    format!("use at least {least}")
}

fn range_words(range: RangeInclusive<i64>) -> String {
    match (*range.start(), *range.end()) {
        (least, i64::MAX) => format!("use {least} or more"),
        (least, most) => format!("use a number from {least} to {most}"),
    }
}

/// Quotes a text for a message, cut short if it is long.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

fn missing(node: &Value, fields: &[&str]) -> Vec<Violation> {
    let Some(map) = node.as_object() else {
        return Vec::new();
    };
    let absent = |field: &&&str| map.get(**field).is_none_or(Value::is_null);
    fields
        .iter()
        .filter(absent)
        .map(|field| Violation::new(field, "is required", "add it"))
        .collect()
}

fn repeated(node: &Value, fields: &[&str]) -> Vec<Violation> {
    let Some(items) = node.as_array() else {
        return Vec::new();
    };
    let identity = |item: &Value| match fields {
        [] => item.to_string(),
        fields => fields
            .iter()
            .map(|field| item.get(field).unwrap_or(&Value::Null).to_string())
            .collect::<Vec<_>>()
            .join(" "),
    };
    let mut seen = BTreeMap::new();
    let mut violations = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(first) = seen.insert(identity(item), index) {
            let what = match fields {
                [] => format!("repeats item {first}"),
                fields => format!("has the same {} as item {first}", fields.join(" and ")),
            };
            violations.push(Violation::new(
                &format!("[{index}]"),
                what,
                "make them differ",
            ));
        }
    }
    violations
}

/// An object that may come in.
#[derive(Debug)]
pub struct Admitted {
    /// The tree as it is kept: with defaults, without status and without what belongs to its life.
    pub value: Value,
    /// The status it came with, if its source may say so.
    pub status: Option<Value>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// The typed form.
    pub decoded: Option<Arc<dyn Any + Send + Sync>>,
    /// `metadata.creationTimestamp`, if given.
    pub created: Option<Timestamp>,
    /// `metadata.uid`, if its source may say so.
    pub uid: Option<Arc<str>>,
    /// `metadata.generation`, if its source may say so.
    pub generation: Option<i64>,
    /// What is odd about it.
    pub warnings: Vec<Finding>,
}

/// The name of the object in `document`.
///
/// # Errors
/// What is missing for it to have one.
pub fn key_of(document: &Document) -> Result<Key, Box<Finding>> {
    let unnamed = |field: &str, what: &str, remedy: &str| {
        let field = FieldPath::from(field);
        let finding = document
            .origin
            .finding(None, &field, Severity::Error, what.to_owned());
        let effect = "this document is refused".to_owned();
        Box::new(Finding {
            effect,
            remedy: remedy.to_owned(),
            ..finding
        })
    };
    if !document.value.is_object() {
        return Err(unnamed(
            "",
            "is no object",
            "write apiVersion, kind and metadata",
        ));
    }
    let text = |pointer: &str, field: &str| match document.value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        // A name such as `n` or `1` that stands without quotes.
        Some(other) => Err(unnamed(
            field,
            &format!("is {other}, not a string"),
            "write it in quotes",
        )),
    };
    let needed = |pointer: &str, field: &str, remedy: &str| {
        text(pointer, field)?.ok_or_else(|| unnamed(field, "is required", remedy))
    };
    let api_version = needed("/apiVersion", "apiVersion", "add it")?;
    let kind = needed("/kind", "kind", "add it")?;
    let name = needed("/metadata/name", "metadata.name", "give the object a name")?;
    let namespace = text("/metadata/namespace", "metadata.namespace")?;
    let kind = Kind::read(api_version, kind);
    let is_namespaced = kinds::of(&kind).is_none_or(|info| info.namespaced);
    let namespace = if is_namespaced {
        namespace.unwrap_or("default")
    } else {
        ""
    };
    Ok(Key::new(kind, namespace, name))
}

/// Takes the object `key`, whose author wrote `value` at `origin`, in, or says why not.
///
/// `is_recorded` tells that it comes from where objects are kept as an API server keeps them: then
/// its uid, generation and status stand.
///
/// # Errors
/// All rules that it breaks.
pub fn admit(
    key: &Key,
    origin: &Origin,
    mut value: Value,
    is_recorded: bool,
) -> Result<Admitted, Vec<Finding>> {
    let info = kinds::of(&key.kind);
    let refuse = |field: &FieldPath, what: String, remedy: String| Finding {
        remedy,
        ..origin.finding(Some(key), field, Severity::Error, what)
    };
    if let Some(info) = info {
        served_version(info, &mut value).map_err(|violation| {
            vec![refuse(&violation.field, violation.what, violation.remedy)]
        })?;
        kinds::strip_nulls(&mut value);
    }
    let life = metadata::take_life(key, &mut value)
        .map_err(|violation| vec![refuse(&violation.field, violation.what, violation.remedy)])?;
    if !is_recorded && info.is_some_and(|info| info.has_status) {
        take(&mut value, "status");
    }
    if let Some(info) = info {
        info.fill_defaults(&mut value);
    }
    let decoded = info.map_or(Ok(None), |info| info.decode(&value));
    if let Ok(Some((_, unknown))) = &decoded {
        // As an API server does before it looks closer: what is left may say nothing at all.
        for field in unknown.iter().filter(|field| is_odd(field)) {
            field.take(&mut value);
        }
    }
    let mut broken: Vec<Finding> = violations(key, info, &value)
        .map(|violation| refuse(&violation.field, violation.what, violation.remedy))
        .collect();
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(Mismatch {
            field,
            what,
            remedy,
        }) => {
            let shown = field.to_string();
            if !broken
                .iter()
                .any(|finding| finding.field.as_deref() == Some(&shown))
            {
                broken.insert(0, refuse(&field, what, remedy.to_owned()));
            }
            None
        }
    };
    let (decoded, unknown) = decoded.map_or((None, Vec::new()), |(typed, unknown)| {
        (Some(typed), unknown)
    });
    let warnings = unknown.iter().filter(|field| is_odd(field)).map(|field| {
        let what = "is not a field of this kind".to_owned();
        Finding {
            effect: "it has no effect".to_owned(),
            remedy: "correct its name or remove it".to_owned(),
            ..origin.finding(Some(key), field, Severity::Warning, what)
        }
    });
    if !broken.is_empty() {
        // A misspelt field is often why another is missing.
        let misspelt = warnings.map(|warning| Finding {
            severity: Severity::Error,
            ..warning
        });
        broken.extend(misspelt);
        return Err(broken);
    }
    let warnings = warnings.collect();
    let status = take(&mut value, "status");
    Ok(Admitted {
        labels: metadata::texts(&value, "/metadata/labels"),
        annotations: metadata::texts(&value, "/metadata/annotations"),
        status,
        decoded,
        created: life.created,
        uid: life.uid.filter(|_| is_recorded),
        generation: life.generation.filter(|_| is_recorded),
        warnings,
        value,
    })
}

/// Whether an unknown field is worth a word: every object has these.
fn is_odd(field: &FieldPath) -> bool {
    !["apiVersion", "kind", "status"].contains(&field.to_string().as_str())
}

fn take(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut()?.remove(field)
}

/// Turns any served version into the one that objects are kept in.
fn served_version(info: &Info, value: &mut Value) -> Result<(), Violation> {
    let Some(written) = value.get("apiVersion").and_then(Value::as_str) else {
        return Ok(());
    };
    let version = written
        .rsplit_once('/')
        .map_or(written, |(_, version)| version);
    if !info.versions.contains(&version) {
        let what = format!("is {}, a version that is not served", quoted(written));
        return Err(Violation::new(
            "apiVersion",
            what,
            format!("write {}", info.api_version()),
        ));
    }
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), info.api_version().into());
    }
    Ok(())
}

/// The rules that an object breaks.
fn violations<'v>(
    key: &Key,
    info: Option<&'v Info>,
    value: &'v Value,
) -> impl Iterator<Item = Violation> + use<'v> {
    let of_every_kind = metadata::CHECKS.iter().chain(metadata::checks_for(key));
    let of_its_kind = info.into_iter().flat_map(Info::checks);
    of_every_kind
        .chain(of_its_kind)
        .flat_map(|check| run(check, value))
}

/// Runs one check over an object.
fn run(check: &Check, value: &Value) -> Vec<Violation> {
    let mut broken = Vec::new();
    for pattern in check.at {
        visit(value, pattern, &mut |path, node| {
            broken.extend(
                check
                    .rule
                    .violations(node)
                    .into_iter()
                    .map(|violation| Violation {
                        field: path.join(&violation.field),
                        ..violation
                    }),
            );
        });
    }
    broken
}

#[cfg(test)]
mod tests;
