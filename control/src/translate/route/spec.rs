//! The specification of a route of any kind, as far as it is the same for all kinds.
//!
//! Read from the tree and not from the typed form: that has a type of its own for each filter in
//! rules and once more in backends, again for each kind of route, and closed enums, where one word
//! that is newer than the crate would hide the whole route. Here a filter is one type and a word is
//! a word.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `spec` of a route whose matches are `M`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteSpec<M> {
    #[serde(default = "Vec::new")]
    pub(crate) parent_refs: Vec<ParentRef>,
    #[serde(default = "Vec::new")]
    pub(crate) hostnames: Vec<String>,
    #[serde(default = "Vec::new")]
    pub(crate) rules: Vec<Rule<M>>,
}

/// `spec.parentRefs[]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParentRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) section_name: Option<String>,
    pub(crate) port: Option<u16>,
}

/// `spec.rules[]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule<M> {
    pub(crate) name: Option<String>,
    #[serde(default = "Vec::new")]
    pub(crate) matches: Vec<M>,
    #[serde(default)]
    pub(crate) filters: Vec<Filter>,
    #[serde(default)]
    pub(crate) backend_refs: Vec<BackendRef>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) retry: Option<Retry>,
    pub(crate) session_persistence: Option<Value>,
}

/// `rules[].backendRefs[]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackendRef {
    #[serde(flatten)]
    pub(crate) object: ObjectRef,
    pub(crate) weight: Option<u32>,
    #[serde(default)]
    pub(crate) filters: Vec<Filter>,
}

/// A reference to a backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
}

/// `filters[]` of rules and of backends.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filter {
    pub(crate) r#type: String,
    pub(crate) request_header_modifier: Option<HeaderModifier>,
    pub(crate) response_header_modifier: Option<HeaderModifier>,
    pub(crate) request_mirror: Option<RequestMirror>,
    pub(crate) request_redirect: Option<RequestRedirect>,
    pub(crate) url_rewrite: Option<UrlRewrite>,
    pub(crate) extension_ref: Option<ExtensionRef>,
}

/// `extensionRef`: an object of the route's namespace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ExtensionRef {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// `requestHeaderModifier`, `responseHeaderModifier`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HeaderModifier {
    pub(crate) set: Vec<Header>,
    pub(crate) add: Vec<Header>,
    pub(crate) remove: Vec<String>,
}

/// A header of a modifier.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// `requestMirror`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestMirror {
    pub(crate) backend_ref: ObjectRef,
}

/// `requestRedirect`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestRedirect {
    pub(crate) scheme: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) path: Option<PathModifier>,
    pub(crate) port: Option<u16>,
    pub(crate) status_code: Option<u16>,
}

/// `urlRewrite`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UrlRewrite {
    pub(crate) hostname: Option<String>,
    pub(crate) path: Option<PathModifier>,
}

/// `path` of a redirect or rewrite.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathModifier {
    pub(crate) r#type: String,
    pub(crate) replace_full_path: Option<String>,
    pub(crate) replace_prefix_match: Option<String>,
}

/// `rules[].timeouts`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Timeouts {
    pub(crate) request: Option<String>,
    pub(crate) backend_request: Option<String>,
}

/// `rules[].retry`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Retry {
    #[serde(default)]
    pub(crate) codes: Vec<u32>,
    pub(crate) attempts: Option<u32>,
    pub(crate) backoff: Option<String>,
}

impl ParentRef {
    /// Returns group and kind, with their defaults.
    pub(crate) fn group_kind(&self) -> (&str, &str) {
        (
            self.group
                .as_deref()
                .unwrap_or(crate::translate::names::GATEWAY_GROUP),
            self.kind.as_deref().unwrap_or("Gateway"),
        )
    }

    /// Returns the reference as a status repeats it.
    pub(crate) fn to_json(&self) -> Value {
        let (group, kind) = self.group_kind();
        let mut fields = BTreeMap::from([
            ("group", Value::from(group)),
            ("kind", Value::from(kind)),
            ("name", Value::from(self.name.as_str())),
        ]);
        fields.extend(
            self.namespace
                .as_deref()
                .map(|value| ("namespace", Value::from(value))),
        );
        fields.extend(
            self.section_name
                .as_deref()
                .map(|value| ("sectionName", Value::from(value))),
        );
        fields.extend(self.port.map(|value| ("port", Value::from(value))));
        fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

impl ObjectRef {
    /// Returns group and kind, with their defaults.
    pub(crate) fn group_kind(&self) -> (&str, &str) {
        (
            self.group.as_deref().unwrap_or(""),
            self.kind.as_deref().unwrap_or("Service"),
        )
    }
}
