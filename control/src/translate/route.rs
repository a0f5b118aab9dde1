//! Routes with Service parents: who they are attached to, where they lead, and what a waypoint is
//! told about them.
//!
//! Everything here is the same for every kind of route; a kind is a [`RouteKind`], which only knows
//! what its matches mean. Scenarios 27, 28 and 30.
//!
//! Where istiod is silent and Gateway API is not, we follow Gateway API: a port or section that the
//! parent lacks, a backend port that does not exist, an expression that cannot be read.

mod backend;
mod filter;
mod http;
mod parent;
pub(crate) mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::cairn::waypoint::{
    Route, RouteMatch, RouteParent, RouteRetry, RouteRule, RouteTimeouts,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use parent::{Attachment, Force, Parent};
use spec::{Retry, Rule, Timeouts};

use super::origin;
use super::resources::{Named, WaypointName};
use super::view::View;
use crate::index::HTTP_ROUTE;
use crate::object::{Kind, Object};

/// The kinds of routes that waypoints know.
pub(crate) const KINDS: &[Kind] = &[HTTP_ROUTE];

/// What differs between kinds of routes.
pub(crate) trait RouteKind {
    /// What a rule can ask for.
    type Match: DeserializeOwned;

    /// Converts one match; the error names the field within the match and what is wrong.
    fn matches(given: &Self::Match) -> Result<RouteMatch, (String, Problem)>;
}

/// Something that keeps a part of a route from doing what it says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Defect {
    /// The field, `spec.rules[0].backendRefs[1]`.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) problem: Problem,
}

/// What can be wrong with a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Problem {
    /// The backend does not exist.
    BackendNotFound(String),
    /// The backend has no such port.
    BackendPort(String, u16),
    /// The backend is an alias for a name outside.
    BackendAlias(String),
    /// The backend's port is not TCP.
    BackendProtocol(String, u16),
    /// The backend is of a kind that cannot be one (group, kind).
    BackendKind(String, String),
    /// A filter that refers to something nobody knows, or that stands where it cannot.
    FilterUnknown(String),
    /// A filter that waypoints do not perform.
    FilterUnsupported(String),
    /// A filter that names an object of a kind that is no plugin (group, kind).
    ExtensionKind(String, String),
    /// A filter that names a plugin which is not there.
    ExtensionNotFound(String),
    /// A filter that names a plugin for connections.
    ExtensionNetwork(String),
    /// A filter that names a Lua script.
    ExtensionLua(String),
    /// A filter that edits a header which frames the message.
    HeaderFixed(String),
    /// An expression that cannot be read.
    Expression(String),
    /// A word that is not known in this place.
    Word(String),
    /// A duration that cannot be read.
    Duration(String),
    /// A part that has no effect.
    Ignored(&'static str),
}

/// What a defect does to its rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Consequence {
    /// Requests of the rule, or the share of the backend, get 500.
    Refused,
    /// The rule is left out.
    Dropped,
    /// The field is left out.
    Ignored,
}

impl Problem {
    /// Returns what the problem does.
    pub(crate) fn consequence(&self) -> Consequence {
        match self {
            Self::BackendNotFound(_)
            | Self::BackendPort(..)
            | Self::BackendAlias(_)
            | Self::BackendProtocol(..)
            | Self::BackendKind(..)
            | Self::FilterUnknown(_)
            | Self::FilterUnsupported(_)
            | Self::ExtensionKind(..)
            | Self::ExtensionNotFound(_)
            | Self::ExtensionNetwork(_)
            | Self::ExtensionLua(_)
            | Self::HeaderFixed(_) => Consequence::Refused,
            Self::Expression(_) | Self::Word(_) | Self::Duration(_) => Consequence::Dropped,
            Self::Ignored(_) => Consequence::Ignored,
        }
    }
}

/// A route, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    /// Its parents of kinds we know.
    pub(crate) parents: Vec<Parent>,
    /// What is wrong with it, in the order of its fields.
    pub(crate) defects: Vec<Defect>,
    /// How many rules it has.
    pub(crate) n_rules: usize,
    /// How many of them are dropped or refused as a whole.
    pub(crate) n_bad_rules: usize,
    rules: Vec<RouteRule>,
}

/// Resolves a route, `None` if `object` is none.
pub(crate) fn resolve(view: &View<'_>, object: &Object) -> Option<Resolved> {
    (object.key.kind == HTTP_ROUTE).then(|| resolve_as::<http::Http>(view, object))
}

fn resolve_as<K: RouteKind>(view: &View<'_>, object: &Object) -> Resolved {
    let spec = object.value.get("spec").unwrap_or(&Value::Null);
    let spec = match spec::RouteSpec::<K::Match>::deserialize(spec) {
        Ok(spec) => spec,
        // The typed form has been decoded before; what is left is a value out of range.
        Err(error) => {
            let problem = Problem::Word(error.to_string());
            return Resolved {
                parents: Vec::new(),
                defects: vec![Defect {
                    field: "spec".to_owned(),
                    problem,
                }],
                n_rules: 1,
                n_bad_rules: 1,
                rules: Vec::new(),
            };
        }
    };
    let mut reader = Reader {
        view,
        object,
        defects: Vec::new(),
    };
    let mut rules = Vec::new();
    let mut n_bad_rules = 0;
    for (index, rule) in spec.rules.iter().enumerate() {
        let converted = reader.rule::<K>(&format!("spec.rules[{index}]"), rule);
        let is_good = converted
            .as_ref()
            .is_some_and(|rule| rule.invalid.is_empty());
        n_bad_rules += usize::from(!is_good);
        rules.extend(converted);
    }
    if !spec.hostnames.is_empty() {
        reader.note("spec.hostnames", Problem::Ignored("hostnames"));
    }
    Resolved {
        parents: parent::resolve(view, object, &spec.parent_refs),
        defects: reader.defects,
        n_rules: spec.rules.len(),
        n_bad_rules,
        rules,
    }
}

/// Returns the waypoints that are told of a route.
pub(crate) fn waypoints(view: &View<'_>, object: &Object) -> BTreeSet<WaypointName> {
    let parents = object.value.pointer("/spec/parentRefs").cloned();
    let parents = serde_json::from_value::<Vec<spec::ParentRef>>(parents.unwrap_or_default());
    let parents = parent::resolve(view, object, &parents.unwrap_or_default());
    let waypoints = parents
        .into_iter()
        .flat_map(|parent| match parent.attachment {
            Attachment::Attached { waypoints, .. } => waypoints,
            _ => Vec::new(),
        });
    waypoints.collect()
}

/// Returns a route as each waypoint of its parents gets it, by the name of the resource.
///
/// For the clients of other namespaces than the Service's a route is another route: theirs alone.
pub(crate) fn convert(object: &Object, route: &Resolved) -> BTreeMap<WaypointName, Named<Route>> {
    let mut by_waypoint: BTreeMap<WaypointName, BTreeMap<bool, Vec<RouteParent>>> = BTreeMap::new();
    if route.rules.is_empty() {
        return BTreeMap::new();
    }
    for parent in &route.parents {
        let Attachment::Attached {
            message, waypoints, ..
        } = &parent.attachment
        else {
            continue;
        };
        let service = message.service.as_ref();
        let is_consumer = service.is_some_and(|found| found.namespace != *object.key.namespace);
        for waypoint in waypoints {
            let parents = by_waypoint.entry(waypoint.clone()).or_default();
            let parents = parents.entry(is_consumer).or_default();
            if !parents.contains(message) {
                parents.push(message.clone());
            }
        }
    }
    let resource = |(is_consumer, parents)| named(object, route, is_consumer, parents);
    by_waypoint
        .into_iter()
        .map(|(name, groups)| (name, groups.into_iter().map(resource).collect()))
        .collect()
}

fn named(
    object: &Object,
    route: &Resolved,
    is_consumer: bool,
    parents: Vec<RouteParent>,
) -> (String, Arc<Route>) {
    let (namespace, name) = (&object.key.namespace, &object.key.name);
    let resource_name = if is_consumer {
        format!("{namespace}/{name}/consumer")
    } else {
        format!("{namespace}/{name}")
    };
    let message = Route {
        origin: Some(origin(object)),
        parents,
        client_namespace: if is_consumer {
            namespace.to_string()
        } else {
            String::new()
        },
        rules: route.rules.clone(),
    };
    (resource_name, Arc::new(message))
}

/// Reads the rules of one route and notes what is wrong with them.
struct Reader<'v, 'a> {
    view: &'v View<'a>,
    object: &'v Object,
    defects: Vec<Defect>,
}

impl Reader<'_, '_> {
    fn note(&mut self, field: impl Into<String>, problem: Problem) {
        self.defects.push(Defect {
            field: field.into(),
            problem,
        });
    }

    /// Converts a rule; `None` if it is dropped.
    fn rule<K: RouteKind>(&mut self, field: &str, rule: &Rule<K::Match>) -> Option<RouteRule> {
        let known = self.defects.len();
        let matches = self.matches::<K>(field, &rule.matches);
        let filters = self.filters(
            &format!("{field}.filters"),
            &rule.filters,
            filter::Place::Rule,
        );
        let invalid = self.refused_since(known);
        let backends = rule.backend_refs.iter().enumerate();
        let backends = backends
            .map(|(index, backend)| self.backend(&format!("{field}.backendRefs[{index}]"), backend))
            .collect();
        let timeouts = rule
            .timeouts
            .as_ref()
            .map(|timeouts| self.timeouts(field, timeouts));
        let retry = rule.retry.as_ref().map(|retry| self.retry(field, retry));
        if rule.session_persistence.is_some() {
            self.note(
                format!("{field}.sessionPersistence"),
                Problem::Ignored("sessionPersistence"),
            );
        }
        let is_dropped = self
            .since(known)
            .any(|problem| problem.consequence() == Consequence::Dropped);
        (!is_dropped).then(|| RouteRule {
            name: rule.name.clone().unwrap_or_default(),
            matches,
            filters,
            backends,
            timeouts: timeouts.filter(|timeouts| *timeouts != RouteTimeouts::default()),
            retry,
            invalid,
        })
    }

    fn since(&self, known: usize) -> impl Iterator<Item = &Problem> {
        self.defects
            .iter()
            .skip(known)
            .map(|defect| &defect.problem)
    }

    /// Returns why requests of a rule get 500, empty if they do not.
    fn refused_since(&self, known: usize) -> String {
        self.since(known)
            .find(|problem| problem.consequence() == Consequence::Refused)
            .map(|problem| crate::status::wording::route::problem(problem).what)
            .unwrap_or_default()
    }

    fn matches<K: RouteKind>(&mut self, field: &str, given: &[K::Match]) -> Vec<RouteMatch> {
        let mut matches = Vec::new();
        for (index, found) in given.iter().enumerate() {
            match K::matches(found) {
                Ok(found) => matches.push(found),
                Err((part, problem)) => {
                    self.note(format!("{field}.matches[{index}].{part}"), problem);
                }
            }
        }
        if given.is_empty() {
            matches.push(http::everything());
        }
        matches
    }

    fn timeouts(&mut self, field: &str, timeouts: &Timeouts) -> RouteTimeouts {
        let field = format!("{field}.timeouts");
        RouteTimeouts {
            request: self.duration(&format!("{field}.request"), timeouts.request.as_deref()),
            backend_request: self.duration(
                &format!("{field}.backendRequest"),
                timeouts.backend_request.as_deref(),
            ),
        }
    }

    /// The number of attempts is ours to choose if it is left out; Istio's is two.
    fn retry(&mut self, field: &str, retry: &Retry) -> RouteRetry {
        RouteRetry {
            codes: retry.codes.clone(),
            attempts: retry.attempts.unwrap_or(2),
            backoff: self.duration(&format!("{field}.retry.backoff"), retry.backoff.as_deref()),
        }
    }

    /// Reads a duration; zero is none (Gateway API, GEP-1742).
    fn duration(&mut self, field: &str, text: Option<&str>) -> Option<prost_types::Duration> {
        let text = text?;
        match text.parse::<gateway_api::Duration>() {
            Ok(duration) if duration.is_zero() => None,
            Ok(duration) => Some(prost_types::Duration {
                seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
            }),
            Err(_) => {
                self.note(field, Problem::Duration(text.to_owned()));
                None
            }
        }
    }
}
