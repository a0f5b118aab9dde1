//! Pull secrets: what a registry is shown, and nothing more.
//!
//! A Secret is read from the namespace of the plugin that names it and from no other. Of its
//! docker configuration file only the entry for the plugin's own registry travels to the waypoint
//! (U-05).

use k8s_openapi::api::core::v1::Secret;
use proto::cairn::waypoint::PullSecret;
use serde_json::{Map, Value, json};

use super::image::Image;
use super::spec::Module;
use crate::object::Object;
use crate::translate::view::View;

/// Types of Secrets that hold credentials of registries, each with its field.
const TYPES: [(&str, &str); 2] = [
    ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
    ("kubernetes.io/dockercfg", ".dockercfg"),
];

/// What became of a plugin's pull secret.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    /// The plugin names none.
    None,
    /// These are for its registry.
    Credentials(PullSecret),
    /// It names one, which says nothing about its registry.
    Silent,
    /// It names one although its URL is of no image.
    NoImage,
    /// There is no such Secret.
    Missing,
    /// The Secret is of this type.
    WrongType(String),
    /// The Secret cannot be read; why.
    Unreadable(&'static str),
}

/// Looks up what the registry of a plugin is to be shown.
pub(super) fn find(view: &View<'_>, object: &Object, module: &Module<'_>) -> Found {
    if module.pull_secret.is_empty() {
        return Found::None;
    }
    let Some(image) = Image::parse(module.url) else {
        return Found::NoImage;
    };
    let found = view.typed::<Secret>(&object.key.namespace, module.pull_secret);
    let Some((_, secret)) = found else {
        return Found::Missing;
    };
    let kind = secret.type_.as_deref().unwrap_or("Opaque");
    let Some((_, field)) = TYPES.iter().find(|(known, _)| *known == kind) else {
        return Found::WrongType(kind.to_owned());
    };
    // As an API server does: what is written as text counts.
    let text = secret
        .string_data
        .as_ref()
        .and_then(|data| data.get(*field))
        .map(String::as_bytes);
    let bytes = secret
        .data
        .as_ref()
        .and_then(|data| data.get(*field))
        .map(|data| data.0.as_slice());
    let Some(file) = text.or(bytes) else {
        return Found::Unreadable("it lacks the field of its type");
    };
    let Ok(Value::Object(file)) = serde_json::from_slice(file) else {
        return Found::Unreadable("it holds no JSON map");
    };
    let auths = match *field {
        ".dockercfg" => Some(&file),
        _ => file.get("auths").and_then(Value::as_object),
    };
    let Some(auths) = auths else {
        return Found::Unreadable("it has no auths");
    };
    match entry(auths, &image) {
        Some(entry) => Found::Credentials(PullSecret {
            docker_config: json!({"auths": {image.registry: entry}}).to_string().into(),
        }),
        None => Found::Silent,
    }
}

/// The entry for an image: of the keys that name its registry the one with the longest path.
fn entry<'a>(auths: &'a Map<String, Value>, image: &Image<'_>) -> Option<&'a Value> {
    let fitting = auths.iter().filter_map(|(key, entry)| {
        let (host, path) = parts(key);
        let fits = is_same_host(host, image.registry) && is_within(image.repository, path);
        fits.then_some((path.len(), entry))
    });
    let longest = fitting.max_by_key(|(length, _)| *length);
    longest.map(|(_, entry)| entry)
}

/// Host and path of a key, which may be a URL. Docker's own ends in the version of an API.
fn parts(key: &str) -> (&str, &str) {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.trim_end_matches('/');
    let path = if matches!(path, "v1" | "v2") {
        ""
    } else {
        path
    };
    (host, path)
}

fn is_same_host(one: &str, registry: &str) -> bool {
    let canonical = |host: &str| match host.to_ascii_lowercase().as_str() {
        "docker.io" | "registry-1.docker.io" => "index.docker.io".to_owned(),
        other => other.to_owned(),
    };
    canonical(one) == canonical(registry)
}

fn is_within(repository: &str, path: &str) -> bool {
    path.is_empty()
        || repository
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
