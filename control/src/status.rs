//! What control says about objects: conditions, addresses, attachments, and what is worth a
//! warning.
//!
//! Pure: a [`Status`] is worked out from the same resolved values that proxies are told from, so
//! that the two cannot disagree. [`wording`] holds every sentence; a condition, `cairn status` and a
//! log line about one thing are the same words. [`Status::written_over`] puts a status into the
//! shape of the API, keeping what others wrote and when conditions last changed.

pub(crate) mod gateway;
mod plugin;
mod policy;
pub(crate) mod render;
mod route;
mod service;
pub(crate) mod wording;

pub(crate) use plugin::{Course, HEALTHY, is_told, plugin};
pub(crate) use policy::{authorization_policy, peer_authentication};
pub(crate) use route::route;
pub(crate) use service::{namespace, pod, service};
pub(crate) use wording::Words;

use std::borrow::Cow;

use serde_json::Value;

use crate::finding::{Finding, Severity};
use crate::object::{Kind, Object};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody has said yet.
    Unknown,
}

impl Truth {
    /// The word of the API.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as control words it. When it last changed is known to whoever keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// Type, such as `Accepted`.
    pub kind: &'static str,
    /// Whether it holds.
    pub truth: Truth,
    /// Why, in one word.
    pub reason: Cow<'static, str>,
    /// Why, for people.
    pub message: String,
    /// The generation that was looked at; `None` where the API has no such field in use.
    pub observed_generation: Option<i64>,
}

impl Condition {
    pub(crate) fn new(
        object: &Object,
        kind: &'static str,
        (truth, reason): (Truth, impl Into<Cow<'static, str>>),
        message: impl Into<String>,
    ) -> Self {
        let observed_generation = Some(object.life.generation);
        Self {
            kind,
            truth,
            reason: reason.into(),
            message: message.into(),
            observed_generation,
        }
    }
}

/// The status of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Conditions of the object itself.
    pub conditions: Vec<Condition>,
    /// Addresses of a Gateway: type and value.
    pub addresses: Option<Vec<(&'static str, String)>>,
    /// Listeners of a Gateway.
    pub listeners: Option<Vec<ListenerStatus>>,
    /// Parents of a route.
    pub parents: Option<Vec<ParentStatus>>,
    /// What a plugin is attached to, each by itself.
    pub ancestors: Option<Vec<AncestorStatus>>,
    /// Whether it speaks of a waypoint of which nobody is connected. Nothing of the API.
    pub is_waiting: bool,
    /// Features of a GatewayClass, sorted.
    pub supported_features: Option<Vec<&'static str>>,
}

impl Status {
    /// Returns the status of an object of which a proxy refuses a resource.
    #[must_use]
    pub(crate) fn rejected(mut self, object: &Object, proxy: &str, reason: &str) -> Self {
        let of_parents = self
            .parents
            .iter_mut()
            .flatten()
            .flat_map(|parent| &mut parent.conditions);
        let of_ancestors = self
            .ancestors
            .iter_mut()
            .flatten()
            .flat_map(|ancestor| &mut ancestor.conditions);
        let told = [
            gateway::ACCEPTED,
            policy::WAYPOINT_ACCEPTED,
            policy::ZTUNNEL_ACCEPTED,
        ];
        let conditions = self
            .conditions
            .iter_mut()
            .chain(of_parents)
            .chain(of_ancestors);
        for condition in conditions.filter(|condition| told.contains(&condition.kind)) {
            let mut message = wording::rejected(proxy, reason).to_string();
            if condition.reason == REJECTED {
                message = format!("{}; {message}", condition.message);
            }
            *condition = Condition::new(object, condition.kind, (Truth::False, REJECTED), message);
        }
        self
    }
}

/// Why a condition is false whose object a proxy refuses.
const REJECTED: &str = "Rejected";

/// The status of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Kinds of routes it takes, of Gateway API's group.
    pub supported_kinds: &'static [&'static str],
    /// How many routes are attached.
    pub attached_routes: u32,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// The status of a route at one parent.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentStatus {
    /// The reference, with its defaults.
    pub parent_ref: Value,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// The status of a plugin at one thing that it is attached to.
#[derive(Clone, Debug, PartialEq)]
pub struct AncestorStatus {
    /// The reference, with its group and kind.
    pub ancestor_ref: Value,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// Something worth a warning about a field of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Note {
    /// The field, `spec.parentRefs[0]`.
    pub(crate) field: String,
    /// What there is to say.
    pub(crate) words: Words,
}

impl Note {
    pub(crate) fn new(field: impl Into<String>, words: Words) -> Self {
        Self {
            field: field.into(),
            words,
        }
    }

    /// Returns the warning, with the place where the object stands now.
    pub(crate) fn finding(&self, object: &Object) -> Finding {
        let Words {
            what,
            effect,
            remedy,
        } = self.words.clone();
        let finding = object.finding(Severity::Warning, &self.field, what);
        Finding {
            effect,
            remedy,
            ..finding
        }
    }
}

/// Returns the warning about an object of a kind that nothing follows from, if people would expect
/// something to: one of Istio's or Gateway API's. Grants are none, since a mesh needs none.
pub(crate) fn unsupported(object: &Object) -> Option<Note> {
    let kind = &object.key.kind;
    let is_expected = EXPECTED.contains(&kind.group()) && kind.name() != "ReferenceGrant";
    is_expected.then(|| Note::new("", wording::kind_without_effect(kind)))
}

/// Whether [`unsupported`] may have something to say about objects of a kind.
pub(crate) fn is_expected(kind: &Kind) -> bool {
    EXPECTED.contains(&kind.group())
}

/// API groups that a mesh is configured with.
const EXPECTED: &[&str] = &[
    "extensions.istio.io",
    "gateway.networking.k8s.io",
    "gateway.networking.x-k8s.io",
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
];

/// A status and the warnings that belong to it.
pub(crate) type Judged = (Status, Vec<Note>);
