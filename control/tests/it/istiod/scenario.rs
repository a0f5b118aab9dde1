//! One recorded scenario, taken apart into facts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use control::object::{Objects, Store};
use control::source::{Event, Root, Scope, yaml};
use jiff::Timestamp;
use serde_json::Value;

use super::lists::Pending;
use super::{Facts, generated};

/// A scenario: the objects that went in, and what istiod made of them.
pub(crate) struct Scenario {
    pub(crate) objects: Objects,
    /// Names of the objects that the scenario brought, as `Kind namespace/name`.
    given: BTreeSet<String>,
    wds: Value,
    status: Value,
    /// What is deployed for Gateways; recorded in one scenario.
    generated: Option<Value>,
    pending: Pending,
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

fn list<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Scenario {
    /// Reads a folder. Objects of kinds that are pending are there, as they are in a mesh.
    pub(crate) fn read(folder: &Path, pending: &Pending) -> Self {
        let file: Arc<str> = "objects.json".into();
        let manifest = yaml::parse(&file, &read(&folder.join("objects.json")));
        assert!(manifest.unreadable.is_empty(), "{:#?}", manifest.unreadable);
        let given = manifest.documents.iter().map(|document| {
            let metadata = &document.value["metadata"];
            let kind = text(&document.value, "kind");
            format!(
                "{kind} {}/{}",
                text(metadata, "namespace"),
                text(metadata, "name")
            )
        });
        let given = given.collect();
        let root = Root::Recorded {
            order: 0,
            path: Path::new("objects.json").into(),
        };
        let snapshot = Event::Snapshot {
            scope: Scope::new(root, &file),
            documents: manifest.documents,
            unreadable: Vec::new(),
        };
        let mut store = Store::new(Timestamp::UNIX_EPOCH);
        store.apply(snapshot, Timestamp::UNIX_EPOCH);
        let refused = store.findings();
        assert!(
            refused.is_empty(),
            "an API server admitted these: {refused:#?}"
        );
        Self {
            objects: store.objects().clone(),
            given,
            generated: fs::read(folder.join("generated.json"))
                .ok()
                .map(|text| serde_json::from_slice(&text).unwrap()),
            wds: serde_json::from_str(&read(&folder.join("wds.json"))).unwrap(),
            status: serde_json::from_str(&read(&folder.join("status.json"))).unwrap(),
            pending: pending.clone(),
        }
    }

    /// What istiod made of the objects.
    pub(crate) fn expected(&self) -> Facts {
        let mut facts = Facts::new();
        for address in list(&self.wds, "workloads").chain(list(&self.wds, "services")) {
            self.add_address(address, &mut facts);
        }
        for policy in list(&self.wds, "policies") {
            self.add_policy(policy, &mut facts);
        }
        for object in list(&self.status, "objects") {
            let (kind, namespace) = (text(object, "kind"), text(object, "namespace"));
            self.add_status(kind, namespace, text(object, "name"), object, &mut facts);
        }
        for object in self
            .generated
            .iter()
            .flat_map(|all| all.as_array().into_iter().flatten())
        {
            generated::add(object, &mut facts);
        }
        facts
    }

    /// Adds what we deploy, in the recorded form.
    pub(crate) fn add_generated(&self, manifests: Vec<Value>, facts: &mut Facts) {
        if self.generated.is_some() {
            for object in generated::reduced(manifests) {
                generated::add(&object, facts);
            }
        }
    }

    /// Adds a workload or service, unless it comes from an object of a kind that is pending.
    pub(crate) fn add_address(&self, address: &Value, facts: &mut Facts) {
        let uid = text(address, "uid");
        let name = if uid.is_empty() {
            let (namespace, name) = (text(address, "namespace"), text(address, "name"));
            if !self.given.contains(&format!("Service {namespace}/{name}")) {
                return;
            }
            format!("service {namespace}/{}", text(address, "hostname"))
        } else {
            if uid.split('/').any(|part| self.pending.has_kind(part)) {
                return;
            }
            format!("workload {uid}")
        };
        for (field, value) in address.as_object().unwrap() {
            let mut value = value.clone();
            if let Some(services) = value.as_object_mut().filter(|_| field == "services") {
                services.retain(|service, _| self.is_service(service));
                if services.is_empty() {
                    continue;
                }
            }
            facts.insert(format!("{name} {field}"), value.to_string());
        }
    }

    /// Whether a name of workload discovery is that of a Service of the scenario.
    fn is_service(&self, name: &str) -> bool {
        let (namespace, hostname) = name.split_once('/').unwrap();
        let name = hostname.split_once('.').map_or(hostname, |(name, _)| name);
        hostname.ends_with(".svc.cluster.local")
            && self.given.contains(&format!("Service {namespace}/{name}"))
    }

    /// Adds a policy. The static one is there in every mesh with a PeerAuthentication, but is
    /// recorded once.
    pub(crate) fn add_policy(&self, policy: &Value, facts: &mut Facts) {
        let name = format!("{}/{}", text(policy, "namespace"), text(policy, "name"));
        let is_static = name == "istio-system/istio_converted_static_strict";
        let same = |other: &Value| text(other, "name") == text(policy, "name");
        if is_static && !list(&self.wds, "policies").any(same) {
            return;
        }
        for (field, value) in policy.as_object().unwrap() {
            facts.insert(format!("policy {name} {field}"), value.to_string());
        }
    }

    /// Adds the status of an object of the scenario. Messages are ours to word.
    pub(crate) fn add_status(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        status: &Value,
        facts: &mut Facts,
    ) {
        let subject = format!("{kind} {namespace}/{name}");
        let is_recorded = list(&self.status, "objects").any(|object| {
            text(object, "kind") == kind
                && text(object, "namespace") == namespace
                && text(object, "name") == name
        });
        if !is_recorded || self.pending.has_kind(kind) {
            return;
        }
        add_conditions(&subject, status, facts);
        let addresses: Vec<String> = list(status, "addresses")
            .map(|address| format!("{} {}", text(address, "type"), text(address, "value")))
            .collect();
        if !addresses.is_empty() {
            facts.insert(format!("{subject} addresses"), addresses.join(", "));
        }
        for listener in list(status, "listeners") {
            let subject = format!("{subject} listener {}", text(listener, "name"));
            let kinds: Vec<&str> = list(listener, "supportedKinds")
                .map(|kind| text(kind, "kind"))
                .collect();
            let routes = &listener["attachedRoutes"];
            facts.insert(
                subject.clone(),
                format!("{routes} routes of kinds {kinds:?}"),
            );
            add_conditions(&subject, listener, facts);
        }
        for parent in list(status, "parents") {
            let reference = &parent["parentRef"];
            if self.pending.has_kind(text(reference, "kind")) {
                continue;
            }
            let subject = format!("{subject} parent {reference}");
            facts.insert(subject.clone(), text(parent, "controllerName").to_owned());
            add_conditions(&subject, parent, facts);
        }
    }
}

fn add_conditions(subject: &str, status: &Value, facts: &mut Facts) {
    for condition in list(status, "conditions") {
        let observed = match text(condition, "observedGeneration") {
            "current" => "",
            _ => " without generation",
        };
        let value = format!(
            "{} {}{observed}",
            text(condition, "status"),
            text(condition, "reason")
        );
        facts.insert(format!("{subject} {}", text(condition, "type")), value);
    }
}
