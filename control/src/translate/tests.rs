//! Golden tests: `tests/NAME.yaml` in, everything control makes of it in `tests/NAME.txt`.
//!
//! `UPDATE=1 cargo test -p control golden` writes the files anew; read what changed.

mod binding;
mod incremental;
mod plugin;
mod policy;
mod rejection;
mod status;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs};

use jiff::Timestamp;
use serde_json::Value;

use super::json;
use super::{Settings, Translator};
use crate::object::{Objects, Store};
use crate::source::{Document, Event, Root, Scope, yaml};
use crate::status::{Condition, Status};

/// The scope that tests write to: objects as an API server holds them.
pub(crate) fn scope() -> Scope {
    let path = PathBuf::from("test.yaml").into();
    Scope::new(Root::Recorded { order: 0, path }, "test.yaml")
}

/// Reads documents, which must all be readable.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    let manifest = yaml::parse(&Arc::from("test.yaml"), text);
    assert!(manifest.unreadable.is_empty(), "{:?}", manifest.unreadable);
    manifest.documents
}

/// Puts documents into a new store, which must admit them all.
pub(crate) fn objects(text: &str) -> Objects {
    let mut store = Store::new(Timestamp::UNIX_EPOCH);
    let documents = documents(text);
    let snapshot = Event::Snapshot {
        scope: scope(),
        documents,
        unreadable: Vec::new(),
    };
    store.apply(snapshot, Timestamp::UNIX_EPOCH);
    let refused: Vec<String> = store.findings().iter().map(ToString::to_string).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    store.objects().clone()
}

/// Translates documents.
pub(crate) fn translate(text: &str) -> (Translator, Objects) {
    let objects = objects(text);
    let mut translator = Translator::new(Settings::default());
    translator.update(&objects);
    (translator, objects)
}

/// Everything that follows from documents, one line each.
fn render(text: &str) -> String {
    let (translator, objects) = translate(text);
    let mut out = String::new();
    let resources = translator.resources();
    for (name, address) in &resources.addresses {
        line(
            &mut out,
            &format!("address {name}"),
            &json::address(address),
        );
    }
    for (name, policy) in &resources.authorizations {
        line(
            &mut out,
            &format!("authorization {name}"),
            &json::authorization(policy),
        );
    }
    for (waypoint, told) in &resources.waypoints {
        for (name, route) in &told.routes {
            line(
                &mut out,
                &format!("{waypoint}: route {name}"),
                &json::route(route),
            );
        }
        for (name, policy) in &told.policies {
            line(
                &mut out,
                &format!("{waypoint}: policy {name}"),
                &json::policy(policy),
            );
        }
        for (name, plugin) in &told.plugins {
            line(
                &mut out,
                &format!("{waypoint}: plugin {name}"),
                &json::plugin(plugin),
            );
        }
    }
    for (key, manifests) in translator.manifests() {
        for manifest in manifests {
            let text = |field: &str| {
                manifest
                    .pointer(field)
                    .and_then(Value::as_str)
                    .unwrap_or("")
            };
            let (kind, name) = (text("/kind"), text("/metadata/name"));
            writeln!(out, "{key}: deploys {kind} {name}").unwrap();
        }
    }
    for (key, status) in translator.statuses() {
        render_status(&mut out, &key.to_string(), &status);
    }
    for finding in translator.findings(&objects) {
        writeln!(out, "warning: {finding}").unwrap();
    }
    out
}

/// Long values are laid out over several lines, so that a change shows where it is.
fn line(out: &mut String, head: &str, value: &Value) {
    writeln!(out, "{head}").unwrap();
    for (key, value) in value.as_object().into_iter().flatten() {
        writeln!(out, "    {key}: {value}").unwrap();
    }
}

fn render_status(out: &mut String, name: &str, status: &Status) {
    let Status {
        conditions,
        addresses,
        listeners,
        parents,
        ancestors,
        is_waiting: _,
        supported_features: _,
    } = status;
    let is_silent = conditions.is_empty() && parents.as_ref().is_none_or(Vec::is_empty);
    if is_silent {
        return;
    }
    writeln!(out, "status of {name}").unwrap();
    render_conditions(out, "    ", conditions);
    for (kind, value) in addresses.iter().flatten() {
        writeln!(out, "    {kind} {value}").unwrap();
    }
    for listener in listeners.iter().flatten() {
        writeln!(out, "    listener {}", listener.name).unwrap();
        render_conditions(out, "        ", &listener.conditions);
    }
    for parent in parents.iter().flatten() {
        writeln!(out, "    at {}", parent.parent_ref).unwrap();
        render_conditions(out, "        ", &parent.conditions);
    }
    for ancestor in ancestors.iter().flatten() {
        writeln!(out, "    at {}", ancestor.ancestor_ref).unwrap();
        render_conditions(out, "        ", &ancestor.conditions);
    }
}

fn render_conditions(out: &mut String, indent: &str, conditions: &[Condition]) {
    for Condition {
        kind,
        truth,
        reason,
        message,
        ..
    } in conditions
    {
        let truth = truth.word();
        writeln!(out, "{indent}{kind}={truth} {reason}: {message}").unwrap();
    }
}

#[test]
fn golden_files_are_up_to_date() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/translate/tests");
    let mut inputs: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    inputs.sort();
    assert!(
        inputs.len() >= 5,
        "golden tests are missing in {}",
        folder.display()
    );
    let mut stale = Vec::new();
    for input in inputs {
        let got = render(&fs::read_to_string(&input).unwrap());
        let golden = input.with_extension("txt");
        if fs::read_to_string(&golden).unwrap_or_default() == got {
            continue;
        }
        if env::var_os("UPDATE").is_some() {
            fs::write(&golden, got).unwrap();
        } else {
            stale.push(format!("{}:\n{got}", golden.display()));
        }
    }
    assert!(
        stale.is_empty(),
        "not as recorded (UPDATE=1 records anew):\n{}",
        stale.join("\n")
    );
}
