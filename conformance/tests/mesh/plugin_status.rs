//! Plugins of rules of routes, and what objects, events and `cairn get` tell about plugins.

use serde_json::Value;
use testkit::{Mesh, eventually};

use crate::world::{client, server};

const WORLD: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: default
  labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: default}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: Secret
metadata: {name: quiet, namespace: default}
stringData: {token: hunter2}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rules, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: echo}]
  rules:
  - matches: [{path: {value: /marked}}]
    filters: [{type: ExtensionRef, extensionRef: {group: extensions.istio.io, kind: TrafficExtension, name: mark}}]
    backendRefs: [{name: echo, port: 80}]
  - matches: [{path: {value: /nothing}}]
    filters: [{type: ExtensionRef, extensionRef: {group: extensions.istio.io, kind: WasmPlugin, name: mark}}]
    backendRefs: [{name: echo, port: 80}]
  - backendRefs: [{name: echo, port: 80}]
";

const MODULE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../filters/prebuilt/add-header.wasm"
);

/// A plugin that nothing but the route names.
fn mark(configuration: &str) -> String {
    format!(
        "apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {{name: mark, namespace: default}}
spec: {{wasm: {{url: 'file://{MODULE}', pluginConfig: {configuration}}}}}
"
    )
}

/// `Type=Status Reason` of each condition of the plugin.
fn conditions(mesh: &Mesh) -> Vec<String> {
    let plugin = mesh.object("trafficextensions", "default/mark");
    let conditions = plugin
        .as_ref()
        .and_then(|plugin| plugin.pointer("/status/conditions"));
    let list = conditions.and_then(Value::as_array).into_iter().flatten();
    list.map(|condition| {
        let [kind, status, reason] =
            ["type", "status", "reason"].map(|field| condition[field].as_str().unwrap_or(""));
        format!("{kind}={status} {reason}")
    })
    .collect()
}

/// The message of a condition of the plugin.
fn message(mesh: &Mesh, kind: &str) -> String {
    let plugin = mesh.object("trafficextensions", "default/mark").unwrap();
    let conditions = plugin.pointer("/status/conditions").unwrap();
    let mut conditions = conditions.as_array().unwrap().iter();
    let condition = conditions.find(|condition| condition["type"] == kind);
    condition.unwrap()["message"].as_str().unwrap().to_owned()
}

fn answer(mesh: &Mesh, path: &str) -> String {
    let url = format!("http://echo{path}");
    mesh.exec("web", ["curl", "-si", "-m", "5", &url]).stdout
}

#[test]
fn a_rule_of_a_route_runs_a_plugin_and_everything_tells_of_it() {
    if !testkit::require_root() {
        return;
    }
    let world = [
        WORLD.to_owned(),
        server("default", "echo", "v1"),
        client("default", "web"),
    ];
    let good = mark("{response: {set: [{name: x-mark, value: seen}]}}");
    let mesh = Mesh::builder()
        .manifest("world.yaml", &world.concat())
        .manifest("plugin.yaml", &good)
        .up();
    eventually("the plugin runs for the rule that names it", || {
        answer(&mesh, "/marked")
            .contains("x-mark: seen")
            .then_some(())
    });
    let other = answer(&mesh, "/");
    assert!(
        other.starts_with("HTTP/1.1 200") && !other.contains("x-mark"),
        "{other}"
    );
    let missing = answer(&mesh, "/nothing");
    assert!(missing.starts_with("HTTP/1.1 500"), "{missing}");
    let well = [
        "WaypointAccepted=True Accepted",
        "ModuleFetched=True Fetched",
        "Programmed=True Programmed",
        "Healthy=True Healthy",
    ];
    eventually("the object says so", || {
        (conditions(&mesh) == well).then_some(())
    });

    // What refuses its configuration leaves what ran before, and all are told.
    mesh.apply("plugin.yaml", &mark("{nonsense: true}"));
    eventually("the object says why", || {
        let said = conditions(&mesh);
        let is_told = |part: &str| said.iter().any(|said| said.starts_with(part));
        (is_told("WaypointAccepted=False Rejected")
            && is_told("Programmed=False ConfigurationRejected"))
        .then_some(())
    });
    let serves = "where generation 1 still serves: the filter refused its configuration";
    let programmed = message(&mesh, "Programmed");
    assert!(
        programmed.contains(serves) && programmed.contains("nonsense"),
        "{programmed}"
    );
    assert_eq!(
        message(&mesh, "Healthy"),
        "generation 1 still runs at default/waypoint"
    );
    assert!(answer(&mesh, "/marked").contains("x-mark: seen"));
    let events = mesh.run(["get", "events"]).ok();
    let line = |words: &[&str]| {
        let mut lines = events.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(
        line(&["Normal", "Programmed", "trafficextension/mark"]),
        "{events}"
    );
    assert!(
        line(&["Warning", "Rejected", "trafficextension/mark", "nonsense"]),
        "{events}"
    );
    let secret = mesh.run(["get", "secret", "quiet", "-o", "yaml"]).ok();
    assert!(
        secret.contains("token: hidden") && !secret.contains("hunter2"),
        "{secret}"
    );

    mesh.apply("plugin.yaml", &good);
    eventually("it is well again", || {
        (conditions(&mesh) == well).then_some(())
    });
    eventually("nothing is told but the rule that names nothing", || {
        let told = mesh.run(["status"]).stdout;
        (told.lines().count() == 1 && told.contains("WasmPlugin mark does not exist")).then_some(())
    });
}
