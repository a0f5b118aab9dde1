//! How the mesh looks from outside: what is wrong, what is missing, who is where.

use std::{collections::BTreeMap, fs};

use control::{
    finding::{Finding, Severity},
    object::Object,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use serde_json::{Value, json};

use super::{
    Entry, Error, Runner, desired, endpoints, logs,
    names::template_hash,
    pod::{Capture, PodIdentity},
    report::PodReport,
};
use crate::state::write_atomically;

impl Runner {
    /// Writes what other commands read: who is where, and what is wrong.
    pub(super) fn publish_report(&mut self) -> Result<(), Error> {
        let report = |pod: &Entry| {
            PodReport::of(
                &pod.identity,
                &pod.controls.state.borrow(),
                &pod.netns,
                pod.leaving.is_some(),
            )
        };
        let mut reports: Vec<PodReport> = self.pods.values().map(report).collect();
        reports.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let bytes = serde_json::to_vec_pretty(&reports).unwrap_or_default();
        if self.published.pods != bytes {
            write_atomically(&self.state.processes(), &bytes)
                .map_err(super::at(&self.state.processes()))?;
            self.published.pods = bytes;
        }
        let findings = self.findings();
        if self.published.findings.as_ref() != Some(&findings) {
            let bytes = serde_json::to_vec_pretty(&findings).unwrap_or_default();
            write_atomically(&self.state.findings(), &bytes)
                .map_err(super::at(&self.state.findings()))?;
            self.published.findings = Some(findings);
        }
        Ok(())
    }

    /// What the runner has to say about the objects.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.desired.findings.clone();
        for refused in &self.refused_ips {
            let (namespace, name) = (&refused.service.namespace, &refused.service.name);
            if let Some((object, _)) = self.inputs.objects().named::<Service>(namespace, name) {
                let what = format!("{} is taken or no Service address of this mesh", refused.ip);
                findings.push(Finding {
                    severity: Severity::Error,
                    effect: "the Service has no address".to_owned(),
                    remedy: "leave it out, or name a free one of 10.92.0.0/16".to_owned(),
                    ..desired::finding(object, "spec.clusterIP", &what)
                });
            }
        }
        findings.extend(self.pods.values().filter_map(|pod| self.silence(pod)));
        let services = self.inputs.objects().list::<Service>();
        findings.extend(services.flat_map(|(object, service)| self.uncaptured(object, service)));
        findings.extend(self.problems.iter().map(|problem| Finding {
            file: None,
            line: 0,
            column: 0,
            object: None,
            field: None,
            severity: Severity::Warning,
            what: problem.clone(),
            effect: "it is tried again".to_owned(),
            remedy: String::new(),
        }));
        findings.sort();
        findings.dedup();
        findings
    }

    /// A pod that runs and does not listen where its Services expect it.
    fn silence(&self, pod: &Entry) -> Option<Finding> {
        let ports = pod.controls.state.borrow().silent_ports.clone();
        let port = ports.first().filter(|_| pod.leaving.is_none())?;
        let key = pod.identity.deployment.as_ref()?;
        let (object, _) = self
            .inputs
            .objects()
            .named::<Deployment>(&key.namespace, &key.name)?;
        let name = &pod.identity.name;
        let what = format!("pod {name} does not listen on port {port}, which a Service sends to");
        Some(Finding {
            effect: "it gets no traffic".to_owned(),
            remedy: "listen there, or correct the Service's targetPort".to_owned(),
            ..desired::finding(object, "spec.template.spec.containers", &what)
        })
    }

    /// UDP ports of a Service whose pods are in the mesh: ztunnel carries TCP alone.
    fn uncaptured(&self, object: &Object, service: &Service) -> Vec<Finding> {
        let selector = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        let in_mesh = |pod: &&Entry| pod.controls.redirection.borrow().is_some();
        let behind =
            |pod: &Entry| endpoints::is_selected(selector, &object.key.namespace, &pod.backend());
        if !self.pods.values().filter(in_mesh).any(behind) {
            return Vec::new();
        }
        let ports = service
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten())
            .enumerate();
        let udp = ports.filter(|(_, port)| port.protocol.as_deref() == Some("UDP"));
        let finding = |(index, _)| Finding {
            effect: "it goes between pods in the clear and past every policy".to_owned(),
            ..desired::finding(
                object,
                &format!("spec.ports[{index}].protocol"),
                "UDP is not captured",
            )
        };
        udp.map(finding).collect()
    }

    /// What is still missing, in words; empty when everything runs that is to run and can.
    ///
    /// Deployments that are refused and pods that were warned about are not waited for.
    pub fn unready(&self) -> Vec<String> {
        if !self.inputs.is_synced() {
            return vec!["the manifests have not been read yet".to_owned()];
        }
        let mut missing = Vec::new();
        for pod in self.pods.values().filter(|pod| pod.leaving.is_none()) {
            let state = pod.controls.state.borrow();
            let uncaptured = || {
                Some("is not captured yet".to_owned()).filter(|_| state.capture == Capture::Pending)
            };
            let obstacle = state.obstacle().filter(|_| state.silent_ports.is_empty());
            if let Some(obstacle) = obstacle.or_else(uncaptured) {
                missing.push(format!("pod {}: {obstacle}", pod.identity.key()));
            }
        }
        for deployment in self.desired.runnable() {
            let Some(spec) = &deployment.object.spec else {
                continue;
            };
            let current = self
                .members(&deployment.key, &template_hash(&spec.template))
                .len();
            let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
            if current < wanted {
                missing.push(format!(
                    "Deployment {}: {current} of {wanted} pods exist",
                    deployment.key
                ));
            }
        }
        missing
    }

    /// What control has not taken note of yet, in words, given all objects it knows: pods and
    /// endpoints as they are now.
    pub fn unseen(&self, known: &[Value]) -> Vec<String> {
        let ours = self
            .store
            .objects()
            .filter(|object| ["Pod", "EndpointSlice"].contains(&text(object, "/kind")));
        let is_seen = |ours: &Value| {
            known
                .iter()
                .any(|theirs| is_same(ours, theirs) && gist(ours) == gist(theirs))
        };
        let name = |object: &Value| {
            let [kind, namespace, name] =
                ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text(object, at));
            format!("control has not seen {kind} {namespace}/{name} as it is now")
        };
        ours.filter(|object| !is_seen(object)).map(name).collect()
    }

    /// How many pods are ready, and how many there are.
    pub fn progress(&self) -> (usize, usize) {
        let ready = self
            .pods
            .values()
            .filter(|pod| pod.controls.state.borrow().is_ready())
            .count();
        (ready, self.pods.len())
    }

    /// The last lines that pods which are not ready have said, each with its pod.
    pub fn last_words(&self, lines: usize) -> BTreeMap<String, Vec<String>> {
        let unready = self
            .pods
            .values()
            .filter(|pod| !pod.controls.state.borrow().is_ready());
        let words = unready.flat_map(|pod| {
            let PodIdentity {
                namespace, name, ..
            } = &pod.identity;
            let containers = pod.identity.spec().containers.into_iter();
            containers.map(move |container| {
                let text =
                    fs::read(self.state.log(namespace, name, &container.name)).unwrap_or_default();
                (
                    format!("{namespace}/{name}"),
                    logs::tail(&String::from_utf8_lossy(&text), lines),
                )
            })
        });
        words.filter(|(_, lines)| !lines.is_empty()).collect()
    }
}

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_same(a: &Value, b: &Value) -> bool {
    ["/kind", "/metadata/namespace", "/metadata/name"]
        .iter()
        .all(|at| text(a, at) == text(b, at))
}

/// What of an object traffic depends on; defaults that control fills in are left out.
fn gist(object: &Value) -> Vec<Value> {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let states = conditions.map(|condition| json!([condition["type"], condition["status"]]));
    let endpoints = object
        .get("endpoints")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let addresses = endpoints.map(|endpoint| {
        let ready = endpoint.pointer("/conditions/ready");
        json!([endpoint.get("addresses"), ready])
    });
    let annotations = object.pointer("/metadata/annotations").cloned();
    states.chain(addresses).chain(annotations).collect()
}
