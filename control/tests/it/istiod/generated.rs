//! What is deployed for a Gateway, reduced to the recorded contract.

use std::path::Path;
use std::sync::Arc;

use control::object::Store;
use control::source::{Document, Event, Origin, Root, Scope};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Facts;

/// Fields that say how a proxy is run, which is ours to choose.
const OURS: &[&str] = &["image", "logArgs", "volumes"];

/// Adds the fields of an object.
pub(crate) fn add(object: &Value, facts: &mut Facts) {
    let text = |field: &str| object[field].as_str().unwrap_or("");
    let subject = format!("generated {}/{}", text("kind"), text("name"));
    for (field, value) in object.as_object().unwrap() {
        if !OURS.contains(&field.as_str()) {
            facts.insert(format!("{subject} {field}"), value.to_string());
        }
    }
}

/// Returns manifests in the recorded form, after an API server has filled in its defaults.
pub(crate) fn reduced(manifests: Vec<Value>) -> Vec<Value> {
    let mut store = Store::new(Timestamp::UNIX_EPOCH);
    let root = Root::Written {
        order: 0,
        path: Arc::from(Path::new("generated")),
    };
    let document = |value| Document {
        value,
        origin: Origin::default(),
    };
    let snapshot = Event::Snapshot {
        scope: Scope::new(root, "generated"),
        documents: manifests.into_iter().map(document).collect(),
        unreadable: Vec::new(),
    };
    let touched = store.apply(snapshot, Timestamp::UNIX_EPOCH);
    assert!(store.findings().is_empty(), "{:#?}", store.findings());
    let objects = touched.iter().filter_map(|key| store.objects().find(key));
    objects.filter_map(|object| reduce(&object.value)).collect()
}

fn reduce(object: &Value) -> Option<Value> {
    let kind = object["kind"].as_str()?;
    let metadata = &object["metadata"];
    let mut reduced = json!({
        "kind": kind,
        "name": metadata["name"],
        "owner": metadata.pointer("/ownerReferences/0/name")?,
        "labels": metadata["labels"],
        "annotations": metadata.get("annotations").cloned().unwrap_or_else(|| json!({})),
    });
    let more = match kind {
        "Deployment" => deployment(&object["spec"]),
        "Service" => json!({"spec": service(&object["spec"])}),
        _ => json!({}),
    };
    let fields = reduced.as_object_mut()?;
    fields.extend(more.as_object()?.clone());
    Some(reduced)
}

fn deployment(spec: &Value) -> Value {
    let pod = &spec["template"];
    let container = &pod["spec"]["containers"][0];
    let ports = container["ports"].as_array().into_iter().flatten();
    let ports =
        ports.map(|port| json!({"name": port["name"], "containerPort": port["containerPort"]}));
    let probe = |name: &str| {
        let probe = &container[name];
        let fields = ["httpGet", "failureThreshold", "periodSeconds"];
        fields
            .into_iter()
            .map(|field| (field.to_owned(), probe[field].clone()))
            .collect::<Value>()
    };
    json!({
        "selector": spec["selector"]["matchLabels"],
        "podLabels": pod["metadata"]["labels"],
        "podAnnotations": pod["metadata"]["annotations"],
        "serviceAccountName": pod["spec"]["serviceAccountName"],
        "containers": [container["name"]],
        "ports": ports.collect::<Vec<_>>(),
        "resources": container["resources"],
        "startupProbe": probe("startupProbe"),
        "readinessProbe": probe("readinessProbe"),
        "securityContext": container["securityContext"],
    })
}

fn service(spec: &Value) -> Value {
    let fields = [
        "type",
        "selector",
        "ipFamilyPolicy",
        "externalTrafficPolicy",
        "internalTrafficPolicy",
        "ports",
    ];
    let present = fields
        .into_iter()
        .filter_map(|field| Some((field, spec.get(field)?.clone())));
    present
        .map(|(field, value)| (field.to_owned(), value))
        .collect()
}
