//! Services and pods: whether they are bound to the waypoint they ask for.

use super::{Condition, Judged, Note, Status, Truth, wording};
use crate::object::Object;
use crate::translate::binding::{Binding, Bound, Refusal};
use crate::translate::names;
use crate::translate::service::ingress_label;
use crate::translate::view::View;

/// Whether a Service is bound to the waypoint it asks for.
pub(super) const WAYPOINT_BOUND: &str = "istio.io/WaypointBound";

/// Judges a Service.
pub(crate) fn service(view: &View<'_>, object: &Object, binding: &Binding<'_>) -> Judged {
    let (condition, notes) = match binding {
        Binding::None => (None, Vec::new()),
        Binding::Bound(bound) => {
            let message = bound_message(view, object, bound);
            let notes = bound
                .canary_refusal
                .iter()
                .map(|refusal| canary_note(object, refusal));
            (
                Some(((Truth::True, "WaypointAccepted"), message)),
                notes.collect(),
            )
        }
        Binding::Refused { refusal, .. } => {
            let words = wording::refusal(refusal, &object.key.namespace);
            let message = words.to_string();
            let notes = own_note(object, words).into_iter().collect();
            (Some(((Truth::False, reason(refusal)), message)), notes)
        }
    };
    // istiod writes no observedGeneration here: a Service has no generation.
    let condition = condition.map(|((truth, reason), message)| Condition {
        kind: WAYPOINT_BOUND,
        truth,
        reason: reason.into(),
        message,
        observed_generation: None,
    });
    (
        Status {
            conditions: condition.into_iter().collect(),
            ..Status::default()
        },
        notes,
    )
}

/// Judges a pod, which gets no condition: its status is the kubelet's.
pub(crate) fn pod(object: &Object, binding: &Binding<'_>) -> Vec<Note> {
    match binding {
        Binding::Refused { refusal, .. } => {
            own_note(object, wording::refusal(refusal, &object.key.namespace))
                .into_iter()
                .collect()
        }
        Binding::None | Binding::Bound(_) => Vec::new(),
    }
}

/// Judges a namespace, which gets no condition: its status is not ours.
pub(crate) fn namespace(object: &Object, refusal: Option<&Refusal>) -> Vec<Note> {
    let words = refusal.map(|refusal| wording::refusal(refusal, &object.key.name));
    words
        .and_then(|words| own_note(object, words))
        .into_iter()
        .collect()
}

/// A warning belongs to whoever wrote the label: an object that inherits says it in its condition.
fn own_note(object: &Object, words: super::Words) -> Option<Note> {
    let field = format!("metadata.labels[{}]", names::USE_WAYPOINT);
    object
        .label(names::USE_WAYPOINT)
        .map(|_| Note::new(field, words))
}

fn canary_note(object: &Object, refusal: &Refusal) -> Note {
    let field = format!("metadata.labels[{}]", names::USE_WAYPOINT_CANARY);
    Note::new(field, wording::refusal(refusal, &object.key.namespace))
}

fn bound_message(view: &View<'_>, object: &Object, bound: &Bound<'_>) -> String {
    let mut message = wording::bound_to(&bound.primary.name);
    if let Some(ingress) = ingress_label(view, object) {
        message.push_str(wording::ingress(ingress));
    }
    if let Some(refusal) = &bound.canary_refusal {
        message.push_str(&wording::no_canary(refusal, &object.key.namespace));
    }
    message
}

/// Returns the word for a refusal. Missing and not ready are one word, as with istiod.
pub(super) fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Missing(_) | Refusal::NotReady(_) => "WaypointIsNotReady",
        Refusal::Denied(_) => "AttachmentDenied",
        Refusal::Unserved(..) => "UnsupportedTrafficType",
        Refusal::CanaryWeight(_) => "CanaryInvalidWeight",
        Refusal::CanaryIsPrimary(_) => "CanarySameAsPrimary",
    }
}
