//! Routes: what became of them at each parent.

use super::gateway::{ACCEPTED, RESOLVED_REFS};
use super::{Condition, Judged, Note, ParentStatus, Status, Truth, wording};
use crate::object::Object;
use crate::translate::route::{Attachment, Consequence, Defect, Parent, Problem, Resolved};

const PARTIALLY_INVALID: &str = "PartiallyInvalid";
const RESOLVED_WAYPOINTS: &str = "ResolvedWaypoints";

/// Judges a route.
pub(crate) fn route(object: &Object, route: &Resolved) -> Judged {
    let mut notes: Vec<Note> = route
        .defects
        .iter()
        .map(|defect| {
            Note::new(
                defect.field.clone(),
                wording::route::problem(&defect.problem),
            )
        })
        .collect();
    let mut parents = Vec::new();
    for parent in &route.parents {
        notes.extend(parent_note(parent));
        if let Some(conditions) = conditions(object, route, parent) {
            parents.push(ParentStatus {
                parent_ref: parent.reference.to_json(),
                conditions,
            });
        }
    }
    (
        Status {
            parents: Some(parents),
            ..Status::default()
        },
        notes,
    )
}

fn parent_note(parent: &Parent) -> Option<Note> {
    let field = |part: &str| format!("spec.parentRefs[{}]{part}", parent.index);
    let service = format!("{}/{}", parent.namespace, parent.reference.name);
    let (part, words) = match &parent.attachment {
        Attachment::Attached { force, .. } => ("", wording::route::force(force, &service)?),
        Attachment::NotFound => (".name", wording::route::parent_not_found(&service)),
        Attachment::NoPort if parent.reference.section_name.is_some() => (
            ".sectionName",
            wording::route::parent_without_port(&parent.reference, &service),
        ),
        Attachment::NoPort => (
            ".port",
            wording::route::parent_without_port(&parent.reference, &service),
        ),
        Attachment::NoAddress => ("", wording::route::parent_without_address(&service)),
        Attachment::NotOurs(group, kind) => ("", wording::route::parent_not_ours(group, kind)),
    };
    Some(Note::new(field(part), words))
}

fn conditions(object: &Object, route: &Resolved, parent: &Parent) -> Option<Vec<Condition>> {
    let condition = |kind, state, message: String| Condition::new(object, kind, state, message);
    let service = format!("{}/{}", parent.namespace, parent.reference.name);
    let refused = |reason, words: super::Words| {
        condition(ACCEPTED, (Truth::False, reason), words.to_string())
    };
    let accepted = match &parent.attachment {
        Attachment::NotOurs(..) => return None,
        Attachment::NotFound => refused(
            "NoMatchingParent",
            wording::route::parent_not_found(&service),
        ),
        Attachment::NoPort => refused(
            "NoMatchingParent",
            wording::route::parent_without_port(&parent.reference, &service),
        ),
        Attachment::NoAddress => refused(
            "UnsupportedValue",
            wording::route::parent_without_address(&service),
        ),
        Attachment::Attached { .. } if route.is_all_bad() => condition(
            ACCEPTED,
            (Truth::False, "UnsupportedValue"),
            bad_rules(route),
        ),
        Attachment::Attached { .. } => condition(
            ACCEPTED,
            (Truth::True, "Accepted"),
            wording::route::ROUTE_ACCEPTED.to_owned(),
        ),
    };
    let mut conditions = vec![accepted];
    if route.is_partly_bad() {
        let message = format!("Dropped Rule: {}", bad_rules(route));
        conditions.push(condition(
            PARTIALLY_INVALID,
            (Truth::True, "UnsupportedValue"),
            message,
        ));
    }
    conditions.push(match unresolved(&route.defects) {
        Some((reason, problem)) => {
            let message = wording::route::problem(problem).to_string();
            condition(RESOLVED_REFS, (Truth::False, reason), message)
        }
        None => condition(
            RESOLVED_REFS,
            (Truth::True, "ResolvedRefs"),
            wording::route::REFERENCES_RESOLVED.to_owned(),
        ),
    });
    // Always True with istiod, and tools know it as such: the message tells.
    let message = match &parent.attachment {
        Attachment::Attached { force, .. } => wording::route::force(force, &service).map_or_else(
            || wording::route::WAYPOINTS_RESOLVED.to_owned(),
            |words| words.to_string(),
        ),
        _ => wording::route::parent_not_attached(&service),
    };
    conditions.push(condition(
        RESOLVED_WAYPOINTS,
        (Truth::True, RESOLVED_WAYPOINTS),
        message,
    ));
    Some(conditions)
}

impl Resolved {
    /// A rule is bad for what it asks for, not for a backend that is missing.
    fn unsupported(&self) -> impl Iterator<Item = &Defect> {
        self.defects.iter().filter(|defect| {
            defect.problem.consequence() == Consequence::Dropped
                || matches!(
                    defect.problem,
                    Problem::FilterUnsupported(_) | Problem::HeaderFixed(_)
                )
        })
    }

    fn is_all_bad(&self) -> bool {
        self.n_bad_rules > 0
            && self.n_bad_rules >= self.n_rules
            && self.unsupported().next().is_some()
    }

    fn is_partly_bad(&self) -> bool {
        !self.is_all_bad() && self.unsupported().next().is_some()
    }
}

fn bad_rules(route: &Resolved) -> String {
    let said = |defect: &Defect| {
        format!(
            "{}: {}",
            defect.field,
            wording::route::problem(&defect.problem)
        )
    };
    route.unsupported().map(said).collect::<Vec<_>>().join("; ")
}

/// Returns the first reference that does not resolve; one of a wrong kind goes first.
fn unresolved(defects: &[Defect]) -> Option<(&'static str, &Problem)> {
    let reasons = defects.iter().filter_map(|defect| {
        let reason = match &defect.problem {
            Problem::BackendKind(..) | Problem::BackendAlias(_) | Problem::ExtensionKind(..) => {
                "InvalidKind"
            }
            Problem::FilterUnknown(_) | Problem::ExtensionNetwork(_) | Problem::ExtensionLua(_) => {
                "InvalidFilter"
            }
            // Gateway API has no reason of its own for a filter that does not exist.
            Problem::BackendNotFound(_)
            | Problem::BackendPort(..)
            | Problem::ExtensionNotFound(_) => "BackendNotFound",
            Problem::BackendProtocol(..) => "UnsupportedProtocol",
            _ => return None,
        };
        Some((reason, &defect.problem))
    });
    reasons.min_by_key(|(reason, _)| !matches!(*reason, "InvalidKind" | "InvalidFilter"))
}
