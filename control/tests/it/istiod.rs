//! What control makes of the recorded scenarios, against what istiod made of them.
//!
//! `conformance/vectors/istiod` has the scenarios and two lists: `differences.txt` names every place
//! where we intend to differ, with both values and the reason; `pending.txt` names what is not
//! compared yet. A line of a list that has become untrue fails the test just as a difference that
//! is in neither.

mod generated;
mod lists;
mod scenario;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use control::translate::{Settings, Translator, json};
use serde_json::{Map, Value};

use lists::{Differences, Pending};
use scenario::Scenario;

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors/istiod")
}

fn scenarios() -> Vec<PathBuf> {
    let entries = fs::read_dir(vectors())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// A statement about one thing: what it is about, and its value in words.
type Facts = BTreeMap<String, String>;

#[test]
fn scenarios_are_translated_as_by_istiod() {
    let (differences, pending) = (Differences::read(&vectors()), Pending::read(&vectors()));
    let folders = scenarios();
    assert_eq!(folders.len(), 33, "scenarios are missing");
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    let mut n_compared = 0;
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if pending.has_scenario(&name) {
            continue;
        }
        let scenario = Scenario::read(&folder, &pending);
        let (mut theirs, mut ours) = (scenario.expected(), translated(&scenario));
        theirs.retain(|subject, _| !pending.has_subject(&name, subject));
        ours.retain(|subject, _| !pending.has_subject(&name, subject));
        n_compared += theirs.len();
        for subject in theirs.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let value = |facts: &Facts| facts.get(subject).cloned().unwrap_or("nothing".to_owned());
            let (theirs, ours) = (value(&theirs), value(&ours));
            if theirs == ours {
                continue;
            }
            let line = format!("{name} {subject}: {theirs} -> {ours}");
            match differences.find(&line) {
                Some(place) => {
                    met.insert(place);
                }
                None => wrong.push(line),
            }
        }
    }
    assert!(n_compared > 2000, "only {n_compared} facts were compared");
    let stale = differences.stale(&met);
    assert!(
        wrong.is_empty() && stale.is_empty(),
        "not as istiod, and not a difference we intend:\n{}\nno longer a difference:\n{}",
        wrong.join("\n"),
        stale.join("\n"),
    );
}

/// What control makes of a scenario.
fn translated(scenario: &Scenario) -> Facts {
    let mut translator = Translator::new(Settings::default());
    let objects = &scenario.objects;
    translator.update(objects);
    let mut facts = Facts::new();
    let resources = translator.resources();
    for address in resources.addresses.values() {
        scenario.add_address(&json::address(address), &mut facts);
    }
    for policy in resources.authorizations.values() {
        scenario.add_policy(&json::authorization(policy), &mut facts);
    }
    for manifests in translator.manifests().into_values() {
        scenario.add_generated(manifests, &mut facts);
    }
    let statuses = translator.statuses();
    for object in objects.iter() {
        // What control leaves alone is as it was when the object was made.
        let status = match statuses.get(&object.key) {
            Some(status) => status.written_over(None, jiff::Timestamp::UNIX_EPOCH),
            None => object.status.as_deref().cloned(),
        };
        let mut status = status.unwrap_or_else(|| Value::Object(Map::new()));
        name_generation(&mut status, object.life.generation);
        scenario.add_status(
            object.key.kind.name(),
            &object.key.namespace,
            &object.key.name,
            &status,
            &mut facts,
        );
    }
    facts
}

/// The recorded form of an `observedGeneration` that is up to date.
fn name_generation(value: &mut Value, generation: i64) {
    match value {
        Value::Object(map) => {
            if let Some(observed) = map.get_mut("observedGeneration")
                && *observed == generation
            {
                *observed = "current".into();
            }
            map.values_mut()
                .for_each(|value| name_generation(value, generation));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|value| name_generation(value, generation)),
        _ => {}
    }
}
