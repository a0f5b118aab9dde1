//! PeerAuthentication as ztunnels enforce it: a policy that refuses peers without identity.
//!
//! Scenarios 24 and 25. The mode of a workload is that of the oldest policy that selects it, else
//! of its namespace, else of the mesh; UNSET passes the question on, and nobody's answer is
//! permissive. STRICT is one static policy for the whole mesh; a workload policy with exceptions
//! for ports is converted into one of its own. A workload refers to one of the two, never to both.
//!
//! DISABLE is the same as PERMISSIVE, for a port too: traffic to a captured workload is HBONE
//! whatever a policy says. (istiod compiles a port that is DISABLE below an inherited STRICT and
//! then does not refer to it, so the exception has no effect there.)

use std::collections::BTreeMap;

use proto::security::{Action, Authorization, Match, Rule, Scope};

use super::authz::ztunnel::{clause, no_identity};
use super::view::View;
use crate::index::{Labels, PEER_AUTHENTICATION};
use crate::kinds::peer_authentication::{Mode, PeerAuthentication, PeerAuthenticationSpec};
use crate::object::Object;

/// Name of the policy that refuses every peer without identity.
const STATIC_STRICT: &str = "istio_converted_static_strict";

/// Whom a PeerAuthentication speaks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// The mesh: no selector, root namespace.
    Mesh,
    /// Its namespace: no selector.
    Namespace,
    /// The workloads it selects.
    Workloads,
    /// Nobody: a selector in the root namespace has no meaning in ambient.
    Nobody,
}

/// Returns whom a policy speaks for.
pub(crate) fn reach(view: &View<'_>, object: &Object, spec: &PeerAuthenticationSpec) -> Reach {
    let is_root = *object.key.namespace == *view.settings.root_namespace;
    let selects = spec
        .selector
        .as_ref()
        .is_some_and(|selector| !selector.match_labels.is_empty());
    match (is_root, selects) {
        (true, false) => Reach::Mesh,
        (true, true) => Reach::Nobody,
        (false, false) => Reach::Namespace,
        (false, true) => Reach::Workloads,
    }
}

/// Returns the oldest policy without selector of a namespace: the one that counts.
pub(crate) fn of_namespace<'a>(
    view: &View<'a>,
    namespace: &str,
) -> Option<(&'a Object, &'a PeerAuthenticationSpec)> {
    let policies = view
        .in_namespace(&PEER_AUTHENTICATION, namespace)
        .into_iter();
    let wide = policies.filter_map(|object| {
        let spec = &object.decoded::<PeerAuthentication>()?.spec;
        matches!(reach(view, object, spec), Reach::Mesh | Reach::Namespace)
            .then_some((object.as_ref(), spec))
    });
    oldest(wide)
}

/// Returns the oldest policy that selects workloads with `labels`: the one that counts.
pub(crate) fn of_workload<'a>(
    view: &View<'a>,
    namespace: &str,
    labels: &Labels,
) -> Option<(&'a Object, &'a PeerAuthenticationSpec)> {
    let policies = view
        .selecting(&PEER_AUTHENTICATION, namespace, labels)
        .into_iter();
    let decoded = policies.filter_map(|object| {
        let spec = &object.decoded::<PeerAuthentication>()?.spec;
        (reach(view, object, spec) == Reach::Workloads).then_some((object.as_ref(), spec))
    });
    oldest(decoded)
}

fn oldest<'a>(
    policies: impl Iterator<Item = (&'a Object, &'a PeerAuthenticationSpec)>,
) -> Option<(&'a Object, &'a PeerAuthenticationSpec)> {
    policies.min_by(|(a, _), (b, _)| (a.life.created, &a.key).cmp(&(b.life.created, &b.key)))
}

/// Whether workloads of a namespace are STRICT unless one of their own policies says otherwise.
fn inherits_strict(view: &View<'_>, namespace: &str) -> bool {
    let mode = |namespace: &str| {
        let (_, spec) = of_namespace(view, namespace)?;
        Some(mode(spec)).filter(|mode| *mode != Mode::Unset)
    };
    mode(namespace).or_else(|| mode(&view.settings.root_namespace)) == Some(Mode::Strict)
}

fn mode(spec: &PeerAuthenticationSpec) -> Mode {
    spec.mtls.unwrap_or_default().mode
}

/// Returns the name of the policy that a pod refers to, if peers need an identity somewhere.
pub(crate) fn effective(view: &View<'_>, pod: &Object) -> Option<String> {
    let namespace = &pod.key.namespace;
    let strict = || format!("{}/{STATIC_STRICT}", view.settings.root_namespace);
    let inherited = inherits_strict(view, namespace);
    let Some((object, spec)) = of_workload(view, namespace, &pod.labels) else {
        return inherited.then(strict);
    };
    match rules(spec, inherited) {
        Some(_) => Some(format!("{namespace}/{}", converted_name(object))),
        None => is_strict(spec, inherited).then(strict),
    }
}

/// Converts a workload policy with exceptions for ports; `None` if it has none that matter.
pub(crate) fn convert(
    view: &View<'_>,
    object: &Object,
    spec: &PeerAuthenticationSpec,
) -> Option<Authorization> {
    if reach(view, object, spec) != Reach::Workloads {
        return None;
    }
    let rules = rules(spec, inherits_strict(view, &object.key.namespace))?;
    Some(deny(&object.key.namespace, converted_name(object), rules))
}

/// Returns the policy that STRICT workloads refer to; it is there as soon as any PeerAuthentication
/// is, so that it is known before it is referred to.
pub(crate) fn static_strict(view: &View<'_>) -> Option<Authorization> {
    view.has_any(&PEER_AUTHENTICATION).then(|| {
        let rule = Rule {
            clauses: vec![clause(no_identity())],
        };
        deny(
            &view.settings.root_namespace,
            STATIC_STRICT.to_owned(),
            vec![rule],
        )
    })
}

fn converted_name(object: &Object) -> String {
    format!("converted_peer_authentication_{}", object.key.name)
}

fn deny(namespace: &str, name: String, rules: Vec<Rule>) -> Authorization {
    Authorization {
        name,
        namespace: namespace.to_owned(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Deny.into(),
        rules,
        ..Authorization::default()
    }
}

fn is_strict(spec: &PeerAuthenticationSpec, inherited: bool) -> bool {
    match mode(spec) {
        Mode::Strict => true,
        Mode::Unset => inherited,
        Mode::Permissive | Mode::Disable => false,
    }
}

/// Returns the rules of a policy whose ports differ from its mode; `None` if none does.
fn rules(spec: &PeerAuthenticationSpec, inherited: bool) -> Option<Vec<Rule>> {
    let ports = ports(spec);
    let with = |wanted: fn(Mode) -> bool| -> Vec<u32> {
        ports
            .iter()
            .filter(|(_, mode)| wanted(**mode))
            .map(|(port, _)| *port)
            .collect()
    };
    if !is_strict(spec, inherited) {
        let strict = with(|mode| mode == Mode::Strict);
        let rule = |port| Rule {
            clauses: vec![clause(Match {
                destination_ports: vec![port],
                ..no_identity()
            })],
        };
        return (!strict.is_empty()).then(|| strict.into_iter().map(rule).collect());
    }
    let open = with(|mode| matches!(mode, Mode::Permissive | Mode::Disable));
    if open.is_empty() {
        return None;
    }
    let except = open.into_iter().map(|port| {
        clause(Match {
            not_destination_ports: vec![port],
            ..Match::default()
        })
    });
    // Istio's order: a mode of its own before its exceptions, an inherited one behind.
    let clauses = match mode(spec) {
        Mode::Strict => std::iter::once(clause(no_identity()))
            .chain(except)
            .collect(),
        _ => except
            .chain(std::iter::once(clause(no_identity())))
            .collect(),
    };
    Some(vec![Rule { clauses }])
}

fn ports(spec: &PeerAuthenticationSpec) -> BTreeMap<u32, Mode> {
    let ports = spec.port_level_mtls.iter();
    ports
        .filter_map(|(port, mtls)| Some((u32::from(port.parse::<u16>().ok()?), mtls.mode)))
        .collect()
}
