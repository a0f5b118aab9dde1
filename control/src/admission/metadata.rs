//! Rules for the metadata of all objects, and what of it belongs to an object's life.
//!
//! Source: kubernetes `apimachinery/pkg/api/validation/objectmeta.go` and the name rules of each
//! kind (`ValidateNamespaceName`, `ValidateServiceName`, …).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{Timestamp, Unit};
use serde_json::Value;

use super::{Check, Rule, Violation, patterns, quoted};
use crate::object::{FieldPath, Key};

const SOURCE: &str = "kubernetes ObjectMeta validation";

/// Rules for all objects.
pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "namespace-is-a-dns-label",
        at: &["metadata.namespace"],
        rule: Rule::Form(&patterns::DNS_LABEL),
        source: SOURCE,
    },
    Check {
        name: "labels-are-well-formed",
        at: &["metadata.labels"],
        rule: Rule::Holds(labels),
        source: "kubernetes ValidateLabels",
    },
    Check {
        name: "annotations-are-well-formed",
        at: &["metadata.annotations"],
        rule: Rule::Holds(annotations),
        source: "kubernetes ValidateAnnotations",
    },
];

const fn name_is(rule: Rule) -> Check {
    Check {
        name: "name-is-well-formed",
        at: &["metadata.name"],
        rule,
        source: SOURCE,
    }
}

const LABEL_NAME: &[Check] = &[name_is(Rule::Form(&patterns::DNS_LABEL))];
const PATH_NAME: &[Check] = &[name_is(Rule::Form(&patterns::PATH_SEGMENT))];
const SUBDOMAIN_NAME: &[Check] = &[
    name_is(Rule::Form(&patterns::DNS_SUBDOMAIN)),
    Check {
        name: "name-is-not-too-long",
        at: &["metadata.name"],
        rule: Rule::Length(1, 253),
        source: SOURCE,
    },
];

/// The rules for the name of this object.
pub(super) fn checks_for(key: &Key) -> &'static [Check] {
    match (key.kind.group(), key.kind.name()) {
        // Kubernetes 1.36 lets the name of a Service begin with a digit.
        ("", "Namespace" | "Service") => LABEL_NAME,
        ("rbac.authorization.k8s.io", _) | ("networking.k8s.io", "IPAddress") => PATH_NAME,
        _ => SUBDOMAIN_NAME,
    }
}

fn labels(labels: &Value) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        broken.extend(key_form(key, "label"));
        match value.as_str() {
            Some(text) if !patterns::LABEL_VALUE.fits(text) => broken.push(Violation {
                field: FieldPath::root().key(key),
                what: format!("is {}", quoted(text)),
                remedy: format!("write {}", patterns::LABEL_VALUE.description),
            }),
            Some(_) => {}
            None => broken.push(not_text(key, value)),
        }
    }
    broken
}

/// All annotations of an object together may have so many bytes (`TotalAnnotationSizeLimitB`).
const ANNOTATIONS_BYTES: usize = 256 << 10;

fn annotations(annotations: &Value) -> Vec<Violation> {
    let mut broken = Vec::new();
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Kubernetes checks annotation keys in lower case.
        broken.extend(key_form(&key.to_ascii_lowercase(), "annotation"));
        match value.as_str() {
            Some(text) => bytes += key.len() + text.len(),
            None => broken.push(not_text(key, value)),
        }
    }
    if bytes > ANNOTATIONS_BYTES {
        let what = format!("has {bytes} bytes");
        broken.push(Violation::new(
            "",
            what,
            format!("use at most {ANNOTATIONS_BYTES}"),
        ));
    }
    broken
}

fn key_form(key: &str, what: &str) -> Option<Violation> {
    let prefix_fits = key
        .split_once('/')
        .is_none_or(|(prefix, _)| prefix.len() <= 253);
    (!patterns::QUALIFIED_NAME.fits(key) || !prefix_fits).then(|| Violation {
        field: FieldPath::root().key(key),
        what: format!("is no {what} key"),
        remedy: format!("write {}", patterns::QUALIFIED_NAME.description),
    })
}

fn not_text(key: &str, value: &Value) -> Violation {
    Violation {
        field: FieldPath::root().key(key),
        what: format!("is {value}, not a string"),
        remedy: format!("write it in quotes, \"{value}\""),
    }
}

/// What an API server decides about an object, as given.
#[derive(Debug, Default)]
pub(super) struct GivenLife {
    pub(super) created: Option<Timestamp>,
    pub(super) uid: Option<Arc<str>>,
    pub(super) generation: Option<i64>,
}

/// Takes what belongs to an object's life out of its metadata, and writes the namespace in.
pub(super) fn take_life(key: &Key, value: &mut Value) -> Result<GivenLife, Violation> {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(GivenLife::default());
    };
    if key.namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), Value::from(&*key.namespace));
    }
    for field in ["resourceVersion", "managedFields", "selfLink"] {
        metadata.remove(field);
    }
    let created = match metadata.remove("creationTimestamp") {
        None | Some(Value::Null) => None,
        Some(given) => Some(read_time(&given)?),
    };
    Ok(GivenLife {
        created,
        uid: metadata
            .remove("uid")
            .and_then(|uid| uid.as_str().map(Arc::from)),
        generation: metadata
            .remove("generation")
            .and_then(|generation| generation.as_i64()),
    })
}

/// Times of objects have whole seconds.
fn read_time(given: &Value) -> Result<Timestamp, Violation> {
    let time = given
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok());
    time.and_then(|time| {
        let whole = jiff::TimestampRound::new()
            .smallest(Unit::Second)
            .mode(jiff::RoundMode::Trunc);
        time.round(whole).ok()
    })
    .ok_or_else(|| {
        Violation::new(
            "metadata.creationTimestamp",
            format!("is {given}, not a time"),
            "write it as 2026-01-31T12:00:00Z",
        )
    })
}

/// The texts of a map, by key.
pub(super) fn texts(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let map = value.pointer(pointer).and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    map.into_iter().flatten().filter_map(text).collect()
}
