//! Plugins: where they are attached, and what waypoints make of them.
//!
//! Control knows the first, [`plugin`]; the rest, fetched, programmed, healthy, is put on top from
//! what waypoints say, [`Course::complete`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proto::cairn::waypoint::{PluginReport, Stage, stage::State as Answer};
use serde_json::{Value, json};

use super::gateway::PROGRAMMED;
use super::policy::{self, State, WAYPOINT_ACCEPTED};
use super::{AncestorStatus, Condition, Judged, Note, Status, Truth, Words, wording};
use crate::index::HTTP_ROUTE;
use crate::object::Object;
use crate::translate::plugin::{self, Attached, Code, Converted, Module, Spec};
use crate::translate::reports::{Reported, Said};
use crate::translate::resources::WaypointName;
use crate::translate::target::Resolved;
use crate::translate::view::View;

/// Whether waypoints have the module.
pub(super) const MODULE_FETCHED: &str = "ModuleFetched";
/// How what runs is doing.
pub(crate) const HEALTHY: &str = "Healthy";

/// Attached to something where there is nothing for it to see.
const NO_EFFECT: State = (Truth::False, "NoEffect");

/// What waypoints are asked about a plugin, in this order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Whether the module is there.
    Fetched,
    /// Whether it serves traffic.
    Programmed,
    /// How it is doing.
    Healthy,
}

impl Part {
    const ALL: [Self; 3] = [Self::Fetched, Self::Programmed, Self::Healthy];

    fn condition(self) -> &'static str {
        match self {
            Self::Fetched => MODULE_FETCHED,
            Self::Programmed => PROGRAMMED,
            Self::Healthy => HEALTHY,
        }
    }

    /// The reason of a part that is as it should be.
    fn reason(self) -> &'static str {
        match self {
            Self::Fetched => "Fetched",
            Self::Programmed => "Programmed",
            Self::Healthy => "Healthy",
        }
    }

    fn of(self, report: &PluginReport) -> Option<&Stage> {
        match self {
            Self::Fetched => report.fetched.as_ref(),
            Self::Programmed => report.programmed.as_ref(),
            Self::Healthy => report.healthy.as_ref(),
        }
    }
}

/// What one waypoint says about one part: the worst that any of its pods says.
#[derive(Clone, Debug)]
pub(crate) struct Verdict<'r> {
    pub(crate) waypoint: &'r WaypointName,
    /// Whose word it is; `None` if nobody is there to say anything.
    pub(crate) pod: Option<&'r str>,
    pub(crate) truth: Truth,
    pub(crate) reason: Cow<'r, str>,
    /// The pod's own words; empty if it has none.
    pub(crate) message: Cow<'r, str>,
    /// All that the pod says of the plugin.
    pub(crate) report: Option<&'r PluginReport>,
    /// Whether that is about the plugin as it is now.
    pub(crate) is_current: bool,
}

/// A plugin on its way to traffic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    resource: String,
    ancestors: Vec<Ancestor>,
    /// Why no waypoint can fetch the module, if control knows.
    unfetchable: Option<(&'static str, String)>,
}

/// One thing that a plugin is attached to.
#[derive(Clone, Debug, PartialEq)]
struct Ancestor {
    reference: Value,
    accepted: (State, String),
    waypoints: BTreeSet<WaypointName>,
}

/// Judges a plugin as far as control knows it.
pub(crate) fn plugin(
    view: &View<'_>,
    object: &Object,
    spec: &Spec<'_>,
    attached: &Attached,
    converted: Option<&Converted>,
) -> (Judged, Option<Course>) {
    let (Some(module), Some(converted)) = (spec.module(), converted) else {
        let field = if matches!(spec.code, Code::Lua) {
            "spec.lua"
        } else {
            "spec"
        };
        let words = wording::plugin::lua();
        return (nowhere(object, "Unsupported", field, words), None);
    };
    let by_routes = !module.is_network() && !attached.routes.is_empty();
    if attached.targets.is_empty() && !by_routes {
        let field = if spec.has_selector {
            "spec.selector"
        } else {
            "spec.targetRefs"
        };
        let words = wording::plugin::without_targets(spec.has_selector);
        return (nowhere(object, "NoEffect", field, words), None);
    }
    if plugin::ports(spec).is_none() && !by_routes {
        let words = wording::plugin::without_traffic();
        return (nowhere(object, "NoEffect", "spec.match", words), None);
    }
    let misfits = misfits(view, object, spec, &attached.targets);
    let (state, message, mut notes) = accepted(object, spec, attached, &misfits);
    notes.extend(own_notes(spec, module, converted));
    let status = Status {
        conditions: vec![Condition::new(object, WAYPOINT_ACCEPTED, state, message)],
        ..Status::default()
    };
    let unfetchable = wording::plugin::unfetchable(&converted.secret, module);
    let course = Course {
        resource: plugin::resource_name(&object.key),
        ancestors: ancestors(object, spec, attached, &misfits),
        unfetchable: unfetchable.map(|(reason, words)| (reason, words.to_string())),
    };
    ((status, notes), Some(course))
}

fn nowhere(object: &Object, reason: &'static str, field: &str, words: Words) -> Judged {
    policy::without_effect(object, WAYPOINT_ACCEPTED, reason, field, words)
}

/// Sums up what a plugin is attached to.
fn accepted(
    object: &Object,
    spec: &Spec<'_>,
    attached: &Attached,
    misfits: &[Misfit],
) -> (State, String, Vec<Note>) {
    let is_network = spec.module().is_some_and(Module::is_network);
    let routes = if is_network {
        &[][..]
    } else {
        &attached.routes
    };
    let is_told_by_routes = routes.iter().any(|(_, waypoints)| !waypoints.is_empty());
    let by_routes = wording::plugin::by_routes(routes);
    if attached.targets.is_empty() {
        return if is_told_by_routes {
            ((Truth::True, "Accepted"), by_routes, Vec::new())
        } else {
            let words = wording::plugin::routes_without_waypoint(routes);
            let notes = vec![Note::new("", words.clone())];
            ((Truth::False, "AncestorNotBound"), words.to_string(), notes)
        };
    }
    let (mut state, mut message, mut notes) = policy::attached(object, &attached.targets);
    let n_bound = attached
        .targets
        .iter()
        .filter(|target| target.outcome.is_bound())
        .count();
    let whole = misfits.iter().filter(|misfit| misfit.is_whole);
    let whole: Vec<String> = whole.map(|misfit| misfit.words.to_string()).collect();
    if !whole.is_empty() && whole.len() == n_bound {
        (state, message) = (NO_EFFECT, whole.join("; "));
    }
    notes.extend(misfits.iter().map(Misfit::note));
    if is_told_by_routes {
        if state.0 == Truth::False {
            state = (Truth::True, "PartiallyInvalid");
        }
        message = format!("{message}; {by_routes}");
    }
    (state, message, notes)
}

/// A target, for people.
pub(super) struct Place<'a> {
    kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Place<'_> {
    /// Whether it is one Service, and not a waypoint before several.
    pub(super) fn is_service(&self) -> bool {
        self.kind == "Service"
    }
}

/// A target where a plugin is in force and sees nothing, or nothing on ports that it names.
struct Misfit {
    /// Its place among the targets.
    index: usize,
    /// Whether it sees nothing at all.
    is_whole: bool,
    words: Words,
}

impl Misfit {
    fn note(&self) -> Note {
        Note::new(
            format!("spec.targetRefs[{}]", self.index),
            self.words.clone(),
        )
    }
}

fn misfits(view: &View<'_>, object: &Object, spec: &Spec<'_>, targets: &[Resolved]) -> Vec<Misfit> {
    let is_network = spec.module().is_some_and(Module::is_network);
    let wanted = plugin::ports(spec);
    let misfit = |(index, target): (usize, &Resolved)| {
        let place = Place {
            kind: &target.reference.kind,
            namespace: &object.key.namespace,
            name: &target.reference.name,
        };
        let Some(wanted) = &wanted else {
            // Nothing but outbound traffic: routes may run it, targets do not.
            let words = wording::plugin::without_traffic();
            return target.outcome.is_bound().then_some((index, true, words));
        };
        let spoken = target.spoken(view, object, wanted)?;
        if spoken.is_nothing() {
            let words = wording::plugin::no_such_port(&place, wanted);
            return Some((index, true, words));
        }
        if is_network {
            // It sees the bytes of whatever is spoken.
            return None;
        }
        let is_named = place.is_service() && !wanted.is_empty() && !spoken.bytes.is_empty();
        let words = wording::plugin::unread(&place, &spoken.bytes);
        (spoken.is_bytes() || is_named).then_some((index, spoken.is_bytes(), words))
    };
    let misfits = targets.iter().enumerate().filter_map(misfit);
    misfits
        .map(|(index, is_whole, words)| Misfit {
            index,
            is_whole,
            words,
        })
        .collect()
}

/// What is to be said about the fields of a plugin, wherever it is attached.
fn own_notes(spec: &Spec<'_>, module: &Module<'_>, converted: &Converted) -> Vec<Note> {
    let mut notes = Vec::new();
    let field = |name: &str| format!("{}.{name}", module.at);
    if let Some(words) = wording::plugin::secret(&converted.secret, module) {
        notes.push(Note::new(field("imagePullSecret"), words));
    }
    if !module.verification_key.is_empty() {
        let words = wording::plugin::unverified();
        notes.push(Note::new(field("verificationKey"), words));
    }
    for problem in &converted.annotations {
        let field = format!("metadata.annotations[{}]", problem.annotation);
        notes.push(Note::new(field, wording::plugin::annotation(problem)));
    }
    if spec.has_selector {
        let words = wording::plugin::selector_without_effect();
        notes.push(Note::new("spec.selector", words));
    }
    notes
}

fn ancestors(
    object: &Object,
    spec: &Spec<'_>,
    attached: &Attached,
    misfits: &[Misfit],
) -> Vec<Ancestor> {
    let sees_traffic = plugin::ports(spec).is_some();
    let of_target = |(index, target): (usize, &Resolved)| {
        let reference = &target.reference;
        let mut whole = misfits.iter().filter(|misfit| misfit.is_whole);
        let misfit = whole.find(|misfit| misfit.index == index);
        let refusal = wording::policy::target(target, &object.key.namespace);
        let accepted = match (refusal, misfit) {
            (None, None) => {
                let message = wording::policy::bound(std::slice::from_ref(target));
                (policy::state_of(&target.outcome), message)
            }
            (None, Some(misfit)) => (NO_EFFECT, misfit.words.to_string()),
            (Some(words), _) => (policy::state_of(&target.outcome), words.to_string()),
        };
        let waypoints = target.waypoints().filter(|_| sees_traffic).cloned();
        Ancestor {
            reference: json!({
                "group": if reference.group == "core" { "" } else { &reference.group },
                "kind": reference.kind,
                "name": reference.name,
            }),
            accepted,
            waypoints: waypoints.collect(),
        }
    };
    let is_network = spec.module().is_some_and(Module::is_network);
    let routes = attached.routes.iter().filter(|_| !is_network);
    let of_routes = routes.map(|route| {
        let (key, waypoints) = route;
        let accepted = if waypoints.is_empty() {
            let words = wording::plugin::routes_without_waypoint(std::slice::from_ref(route));
            ((Truth::False, "AncestorNotBound"), words.to_string())
        } else {
            let message = wording::plugin::by_routes(std::slice::from_ref(route));
            ((Truth::True, "Accepted"), message)
        };
        Ancestor {
            reference: json!({
                "group": HTTP_ROUTE.group(), "kind": HTTP_ROUTE.name(), "name": *key.name,
            }),
            accepted,
            waypoints: waypoints.clone(),
        }
    });
    let targets = attached.targets.iter().enumerate().map(of_target);
    targets.chain(of_routes).collect()
}

impl Course {
    /// Puts what waypoints say on top of what control knows.
    pub(crate) fn complete(
        &self,
        object: &Object,
        mut status: Status,
        reported: &Reported,
    ) -> Status {
        let all = self.waypoints();
        status
            .conditions
            .extend(self.stages(object, &all, reported));
        let ancestors = self.ancestors.iter().map(|ancestor| {
            let waypoints = ancestor.waypoints.iter().collect();
            let (state, message) = ancestor.accepted.clone();
            let accepted = Condition::new(object, WAYPOINT_ACCEPTED, state, message);
            let stages = self.stages(object, &waypoints, reported);
            AncestorStatus {
                ancestor_ref: ancestor.reference.clone(),
                conditions: std::iter::once(accepted).chain(stages).collect(),
            }
        });
        status.ancestors = Some(ancestors.collect());
        let is_silent =
            |waypoint: &&WaypointName| reported.get(*waypoint).is_none_or(BTreeMap::is_empty);
        status.is_waiting = all.iter().any(is_silent);
        status
    }

    /// What waypoints say that is worth a warning: the first part that has failed.
    pub(crate) fn note(&self, object: &Object, reported: &Reported) -> Option<Note> {
        let all = self.waypoints();
        let words = Part::ALL.into_iter().find_map(|part| {
            let verdicts = self.verdicts(object, part, &all, reported);
            wording::plugin::failures(&verdicts)
        });
        words.map(|what| {
            let words = Words {
                what,
                ..Words::default()
            };
            Note::new("spec", words)
        })
    }

    /// How often it has stopped between two words of each pod.
    pub(crate) fn stops(&self, before: &Reported, now: &Reported) -> u64 {
        let stops = |said: &Said| said.get(&self.resource).map(|report| report.stops);
        let pods = self.waypoints().into_iter().flat_map(|waypoint| {
            let old = before.get(waypoint);
            let pods = now.get(waypoint).into_iter().flatten();
            pods.filter_map(move |(pod, said)| {
                // What a pod counted before it was heard first is no news.
                let old = stops(old?.get(pod)?)?;
                Some(stops(said)?.saturating_sub(old))
            })
        });
        pods.sum()
    }

    fn waypoints(&self) -> BTreeSet<&WaypointName> {
        let ancestors = self.ancestors.iter();
        ancestors.flat_map(|ancestor| &ancestor.waypoints).collect()
    }

    fn stages(
        &self,
        object: &Object,
        waypoints: &BTreeSet<&WaypointName>,
        reported: &Reported,
    ) -> Vec<Condition> {
        if waypoints.is_empty() {
            return Vec::new();
        }
        let condition = |part: Part| {
            let kind = part.condition();
            if let (Part::Fetched, Some((reason, message))) = (part, &self.unfetchable) {
                return Condition::new(object, kind, (Truth::False, *reason), message.as_str());
            }
            let verdicts = self.verdicts(object, part, waypoints, reported);
            let worst = verdicts
                .iter()
                .map(|verdict| verdict.truth)
                .min_by_key(|truth| rank(*truth));
            let truth = worst.unwrap_or(Truth::Unknown);
            let reason = verdicts
                .iter()
                .find(|verdict| verdict.truth == truth)
                .map_or("Pending".to_owned(), |verdict| verdict.reason.to_string());
            let message = wording::plugin::stage(part, truth, &verdicts);
            Condition::new(object, kind, (truth, reason), message)
        };
        Part::ALL.into_iter().map(condition).collect()
    }

    fn verdicts<'r>(
        &self,
        object: &Object,
        part: Part,
        waypoints: &BTreeSet<&'r WaypointName>,
        reported: &'r Reported,
    ) -> Vec<Verdict<'r>> {
        let one = |waypoint: &&'r WaypointName| {
            let pods = reported.get(*waypoint).into_iter().flatten();
            let of_pods = pods.map(|(pod, said)| {
                let report = said.get(&self.resource).map(AsRef::as_ref);
                verdict(object, part, waypoint, pod, report)
            });
            of_pods
                .min_by_key(|verdict| rank(verdict.truth))
                .unwrap_or(Verdict {
                    waypoint,
                    pod: None,
                    truth: Truth::Unknown,
                    reason: "Pending".into(),
                    message: "".into(),
                    report: None,
                    is_current: false,
                })
        };
        waypoints.iter().map(one).collect()
    }
}

/// Whether a status has a word of a waypoint on this generation of a plugin.
pub(crate) fn is_told(status: Option<&Value>, generation: i64) -> bool {
    let conditions = status.and_then(|status| status.get("conditions"));
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str);
        let of_waypoints = Part::ALL.map(|part| Some(part.condition()));
        let seen = condition.get("observedGeneration").and_then(Value::as_i64);
        of_waypoints.contains(&text("type"))
            && text("status") != Some(Truth::Unknown.word())
            && seen == Some(generation)
    })
}

/// The worse, the less: what has failed hides what is not known yet, and that what is well.
fn rank(truth: Truth) -> u8 {
    match truth {
        Truth::False => 0,
        Truth::Unknown => 1,
        Truth::True => 2,
    }
}

/// What one pod says. A word on an earlier generation is none on this one.
fn verdict<'r>(
    object: &Object,
    part: Part,
    waypoint: &'r WaypointName,
    pod: &'r str,
    report: Option<&'r PluginReport>,
) -> Verdict<'r> {
    let current = report.filter(|report| report.generation >= object.life.generation);
    let stage = current.and_then(|report| part.of(report));
    let truth = match stage.map(Stage::state) {
        Some(Answer::Yes) => Truth::True,
        Some(Answer::No) => Truth::False,
        Some(Answer::Unknown) | None => Truth::Unknown,
    };
    let otherwise = match truth {
        Truth::True => part.reason(),
        Truth::False => "Failed",
        Truth::Unknown => "Pending",
    };
    let reason = stage.map(|stage| stage.reason.as_str());
    Verdict {
        waypoint,
        pod: Some(pod),
        truth,
        reason: reason
            .filter(|reason| !reason.is_empty())
            .unwrap_or(otherwise)
            .into(),
        message: stage.map_or("", |stage| &stage.message).into(),
        report,
        is_current: current.is_some(),
    }
}
