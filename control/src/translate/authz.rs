//! Policies of authorization: at ztunnels those without targets, at waypoints those with.
//!
//! A policy is enforced at one of the two, never at both: waypoints do not look at policies
//! without `targetRefs`, ztunnels not at those with. [`ztunnel`] and [`waypoint`] say what becomes
//! of it there.

pub(crate) mod waypoint;
pub(crate) mod ztunnel;

use super::names;
use super::view::View;
use crate::index::AUTHORIZATION_POLICY;
use crate::kinds::authorization::{Action, AuthorizationPolicy, AuthorizationPolicySpec};
use crate::object::Object;

/// Whether a policy only logs. A word that is no boolean is no.
pub(crate) fn is_dry_run(object: &Object) -> bool {
    object
        .annotation(names::DRY_RUN)
        .and_then(names::parse_bool)
        .unwrap_or(false)
}

/// Whether a policy is attached to objects, which makes it a waypoint's.
pub(crate) fn has_targets(spec: &AuthorizationPolicySpec) -> bool {
    spec.targets().next().is_some()
}

/// Whether ztunnels are told about a policy.
pub(crate) fn is_for_ztunnel(
    view: &View<'_>,
    object: &Object,
    spec: &AuthorizationPolicySpec,
) -> bool {
    !has_targets(spec)
        && matches!(spec.action, Action::Allow | Action::Deny)
        && (view.settings.dry_run_at_ztunnel || !is_dry_run(object))
}

/// Returns the names of the policies that apply to a pod by their selector: those of its namespace
/// and of the root namespace.
pub(crate) fn selecting(view: &View<'_>, pod: &Object) -> Vec<String> {
    let (own, root) = (&*pod.key.namespace, view.settings.root_namespace.as_str());
    let mut namespaces = vec![own];
    if own != root {
        namespaces.push(root);
    }
    namespaces
        .into_iter()
        .flat_map(|namespace| view.selecting(&AUTHORIZATION_POLICY, namespace, &pod.labels))
        .filter(|object| {
            object
                .decoded::<AuthorizationPolicy>()
                .is_some_and(|policy| is_for_ztunnel(view, object, &policy.spec))
        })
        .map(|object| format!("{}/{}", object.key.namespace, object.key.name))
        .collect()
}
