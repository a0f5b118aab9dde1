//! Policies: who enforces them, and which of them nobody does.
//!
//! istiod says something about policies of authorization only; PeerAuthentication gets conditions of
//! the same types here.

use super::{Condition, Judged, Note, Status, Truth, Words, wording};
use crate::index::PEER_AUTHENTICATION;
use crate::kinds::authorization::{Action, AuthorizationPolicySpec};
use crate::kinds::peer_authentication::{Mode, PeerAuthentication, PeerAuthenticationSpec};
use crate::object::Object;
use crate::translate::authz::{has_targets, waypoint::needs_requests, ztunnel::Converted};
use crate::translate::peer::{self, Reach};
use crate::translate::target::{Outcome, Resolved};
use crate::translate::view::View;

/// What waypoints make of a policy or plugin.
pub(super) const WAYPOINT_ACCEPTED: &str = "WaypointAccepted";
/// What ztunnels make of a policy.
pub(super) const ZTUNNEL_ACCEPTED: &str = "ZtunnelAccepted";

pub(super) type State = (Truth, &'static str);

fn judged(
    object: &Object,
    kind: &'static str,
    state: State,
    message: String,
    notes: Vec<Note>,
) -> Judged {
    let conditions = vec![Condition::new(object, kind, state, message)];
    (
        Status {
            conditions,
            ..Status::default()
        },
        notes,
    )
}

/// Judges a policy or plugin that is in force nowhere, for one reason that is worth a warning.
pub(super) fn without_effect(
    object: &Object,
    kind: &'static str,
    reason: &'static str,
    field: &str,
    words: Words,
) -> Judged {
    let message = words.to_string();
    judged(
        object,
        kind,
        (Truth::False, reason),
        message,
        vec![Note::new(field, words)],
    )
}

/// Judges an AuthorizationPolicy; `converted` is what ztunnels are told, if they are told.
pub(crate) fn authorization_policy(
    view: &View<'_>,
    object: &Object,
    spec: &AuthorizationPolicySpec,
    converted: Option<&Converted>,
    targets: &[Resolved],
) -> Judged {
    if has_targets(spec) {
        let (state, message, mut notes) = attached(object, targets);
        notes.extend(unread(view, object, spec, targets));
        if spec.action == Action::Custom {
            notes.push(Note::new(
                "spec.provider.name",
                wording::policy::unknown_provider(),
            ));
        }
        return judged(object, WAYPOINT_ACCEPTED, state, message, notes);
    }
    let unsupported = |field: &str, words| {
        without_effect(object, ZTUNNEL_ACCEPTED, "UnsupportedValue", field, words)
    };
    let Some(converted) = converted else {
        return match spec.action {
            Action::Audit => {
                unsupported("spec.action", wording::policy::action_at_ztunnel("AUDIT"))
            }
            Action::Custom => {
                unsupported("spec.action", wording::policy::action_at_ztunnel("CUSTOM"))
            }
            Action::Allow | Action::Deny => unsupported(
                "metadata.annotations[istio.io/dry-run]",
                wording::policy::dry_run_at_ztunnel(),
            ),
        };
    };
    if converted.dropped.is_empty() {
        let message = wording::policy::AT_ZTUNNEL.to_owned();
        return judged(
            object,
            ZTUNNEL_ACCEPTED,
            (Truth::True, "Accepted"),
            message,
            Vec::new(),
        );
    }
    let is_allow = spec.action == Action::Allow;
    let words =
        wording::policy::dropped_at_ztunnel(&converted.dropped, is_allow, converted.never_matches);
    let message = words.to_string();
    let notes = vec![Note::new("spec.rules", words)];
    judged(
        object,
        ZTUNNEL_ACCEPTED,
        (Truth::True, "UnsupportedValue"),
        message,
        notes,
    )
}

/// Warns of targets where waypoints read no requests, which the rules of a policy need.
fn unread(
    view: &View<'_>,
    object: &Object,
    spec: &AuthorizationPolicySpec,
    targets: &[Resolved],
) -> Vec<Note> {
    if !needs_requests(spec) {
        return Vec::new();
    }
    let is_deny = spec.action == Action::Deny;
    let note = |(index, target): (usize, &Resolved)| {
        let spoken = target.spoken(view, object, &[])?;
        let service = format!("{}/{}", object.key.namespace, target.reference.name);
        let words = wording::policy::unread(&service, &spoken.bytes, is_deny);
        spoken
            .is_bytes()
            .then(|| Note::new(format!("spec.targetRefs[{index}]"), words))
    };
    targets.iter().enumerate().filter_map(note).collect()
}

/// Judges a PeerAuthentication.
pub(crate) fn peer_authentication(
    view: &View<'_>,
    object: &Object,
    spec: &PeerAuthenticationSpec,
) -> Judged {
    let reach = peer::reach(view, object, spec);
    if reach == Reach::Nobody {
        let words = wording::policy::selector_in_root_namespace();
        return without_effect(object, ZTUNNEL_ACCEPTED, "NoEffect", "spec.selector", words);
    }
    if let Some(winner) = older(view, object, spec, reach) {
        let words = wording::policy::older_wins(&winner.key);
        return without_effect(object, ZTUNNEL_ACCEPTED, "Conflicted", "spec", words);
    }
    let mut notes = Vec::new();
    if reach != Reach::Workloads && !spec.port_level_mtls.is_empty() {
        notes.push(Note::new(
            "spec.portLevelMtls",
            wording::policy::ports_without_selector(),
        ));
    }
    if spec.mtls.unwrap_or_default().mode == Mode::Disable {
        notes.push(Note::new(
            "spec.mtls.mode",
            wording::policy::disable_is_permissive(),
        ));
    }
    let message = wording::policy::AT_ZTUNNEL.to_owned();
    judged(
        object,
        ZTUNNEL_ACCEPTED,
        (Truth::True, "Accepted"),
        message,
        notes,
    )
}

/// Returns the policy that speaks for the same workloads and counts instead.
fn older<'a>(
    view: &View<'a>,
    object: &Object,
    spec: &PeerAuthenticationSpec,
    reach: Reach,
) -> Option<&'a Object> {
    let namespace = &object.key.namespace;
    let winner = if reach == Reach::Workloads {
        let same = |found: &&PeerAuthenticationSpec| found.selector == spec.selector;
        let policies = view
            .in_namespace(&PEER_AUTHENTICATION, namespace)
            .into_iter();
        policies
            .filter(|found| {
                let spec = found
                    .decoded::<PeerAuthentication>()
                    .map(|policy| &policy.spec);
                spec.as_ref().is_some_and(same)
            })
            .min_by_key(|found| (found.life.created, &found.key))?
    } else {
        peer::of_namespace(view, namespace)?.0
    };
    (winner.key != object.key).then_some(winner)
}

/// Sums up what became of targets.
pub(super) fn attached(object: &Object, targets: &[Resolved]) -> (State, String, Vec<Note>) {
    let notes = targets.iter().enumerate().filter_map(|(index, target)| {
        let words = wording::policy::target(target, &object.key.namespace)?;
        Some(Note::new(format!("spec.targetRefs[{index}]"), words))
    });
    let notes: Vec<Note> = notes.collect();
    let n_bound = targets
        .iter()
        .filter(|target| target.outcome.is_bound())
        .count();
    let state = match targets {
        [one] => state_of(&one.outcome),
        many if n_bound == many.len() => (Truth::True, "Accepted"),
        _ if n_bound > 0 => (Truth::True, "PartiallyInvalid"),
        _ => (Truth::False, "Invalid"),
    };
    let problems: Vec<String> = notes.iter().map(|note| note.words.to_string()).collect();
    let message = if problems.is_empty() {
        wording::policy::bound(targets)
    } else {
        problems.join("; ")
    };
    (state, message, notes)
}

pub(super) fn state_of(outcome: &Outcome) -> State {
    match outcome {
        Outcome::Bound(_) => (Truth::True, "Accepted"),
        Outcome::NotFound | Outcome::NotReady => (Truth::False, "TargetNotFound"),
        Outcome::Unbound(_) => (Truth::False, "AncestorNotBound"),
        Outcome::NotServed => (Truth::False, "Unsupported"),
        Outcome::NotInRootNamespace | Outcome::NotOfWaypoints | Outcome::UnknownKind => {
            (Truth::False, "Invalid")
        }
    }
}
