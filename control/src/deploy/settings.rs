//! What the author of a Gateway sets at its waypoint: `proxyMetadata` of Istio's `ProxyConfig`, in
//! the annotation `proxy.istio.io/config`.
//!
//! Istio makes an environment of all of it. Here those settings are taken that are the author's
//! to decide, [`NAMES`]; who the waypoint is and whom it asks is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::source::yaml;
use crate::translate::names;

#[cfg(test)]
mod tests;

/// Settings of a waypoint that its Gateway may say.
pub(crate) const NAMES: [&str; 11] = [
    "BLOCKED_CIDRS_IN_WASM_FETCH",
    "ISTIO_WASM_MAX_BINARY_SIZE_BYTES",
    "MODULE_FILES",
    "SSL_CERT_FILE",
    "WASM_HTTP_REQUEST_MAX_RETRIES",
    "WASM_HTTP_REQUEST_TIMEOUT",
    "WASM_INSECURE_REGISTRIES",
    "WASM_MAX_HELD_BYTES",
    "WASM_MODULE_EXPIRY",
    "WASM_PURGE_INTERVAL",
    "WASM_REGISTRY_AUTH_HOSTS",
];

/// What is set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Settings {
    /// By the name of the variable.
    pub(crate) env: BTreeMap<String, String>,
    /// What is not what its author thinks.
    pub(crate) faults: Vec<Fault>,
}

/// Something in the annotation that has no effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It is no YAML, or no map.
    Unreadable(String),
    /// A field of `ProxyConfig` other than `proxyMetadata`.
    Field(String),
    /// A variable that is not among [`NAMES`].
    Variable(String),
    /// The value of a variable is no text.
    Value(String),
}

/// Reads the annotation among those that a waypoint's pods get.
pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Settings {
    let mut settings = Settings::default();
    let Some(text) = annotations.get(names::PROXY_CONFIG) else {
        return settings;
    };
    let config = match read(text) {
        Ok(config) => config,
        Err(why) => {
            settings.faults.push(Fault::Unreadable(why));
            return settings;
        }
    };
    for (field, value) in config {
        match value {
            Value::Object(metadata) if field == "proxyMetadata" => settings.take(metadata),
            _ => settings.faults.push(Fault::Field(field)),
        }
    }
    settings
}

fn read(text: &str) -> Result<Map<String, Value>, String> {
    let manifest = yaml::parse(&Arc::from(names::PROXY_CONFIG), text);
    if let Some(unreadable) = manifest.unreadable.into_iter().next() {
        return Err(unreadable.what);
    }
    let mut documents = manifest.documents.into_iter().map(|found| found.value);
    match (documents.next(), documents.next()) {
        (None, _) => Ok(Map::new()),
        (Some(Value::Object(config)), None) => Ok(config),
        _ => Err("is not one map of fields".to_owned()),
    }
}

impl Settings {
    fn take(&mut self, metadata: Map<String, Value>) {
        for (name, value) in metadata {
            if !NAMES.contains(&name.as_str()) {
                self.faults.push(Fault::Variable(name));
                continue;
            }
            let text = match value {
                Value::String(text) => text,
                // Istio wants quotes around these.
                Value::Number(number) => number.to_string(),
                _ => {
                    self.faults.push(Fault::Value(name));
                    continue;
                }
            };
            self.env.insert(name, text);
        }
    }
}
