//! Plugins: what waypoints say of them, and that nobody but their own namespace has to do with them.

use std::sync::Arc;

use proto::cairn::waypoint::{PluginReport, Stage, stage::State};
use serde_json::Value;

use super::objects;
use crate::index::{TRAFFIC_EXTENSION, WASM_PLUGIN};
use crate::object::Key;
use crate::status::{Condition, Status, Truth};
use crate::translate::reports::Reported;
use crate::translate::{Delta, Rejection, Settings, Translator, WaypointName, json};

const WORLD: &str = "
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: w, namespace: a},
 spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE,
  allowedRoutes: {namespaces: {from: All}}}]},
 status: {addresses: [{type: IPAddress, value: 10.2.0.9}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: v, namespace: a},
 spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]},
 status: {addresses: [{type: IPAddress, value: 10.2.0.8}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: app, namespace: a, labels: {istio.io/use-waypoint: w}},
 spec: {clusterIP: 10.2.0.1, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: app, namespace: b,
 labels: {istio.io/use-waypoint: w, istio.io/use-waypoint-namespace: a}},
 spec: {clusterIP: 10.2.0.2, ports: [{name: http, port: 80}]}}
---
";

/// A plugin of generation 2 that is attached to both waypoints.
const PLUGIN: &str = "
{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin,
 metadata: {name: p, namespace: a, generation: 2},
 spec: {url: 'oci://r.example/p:v1', targetRefs: [
  {group: gateway.networking.k8s.io, kind: Gateway, name: v},
  {group: '', kind: Service, name: app}]}}
";

fn world(more: &str) -> Translator {
    let mut translator = Translator::new(Settings::default());
    translator.update(&objects(&format!("{WORLD}{more}")));
    translator
}

fn stage(state: State, reason: &str, message: &str) -> Stage {
    Stage {
        state: state.into(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// A plugin that is well.
fn good() -> PluginReport {
    PluginReport {
        name: "a/p".to_owned(),
        generation: 2,
        fetched: Some(stage(State::Yes, "Fetched", "")),
        programmed: Some(stage(State::Yes, "Programmed", "")),
        healthy: Some(stage(State::Yes, "Healthy", "")),
        url: "oci://r.example/p@sha256:00".to_owned(),
        sha256: "ab".repeat(32),
        serving: 2,
        stops: 0,
    }
}

/// What pods say of `a/p`, or that they are connected and say nothing.
fn said(words: &[(&str, &str, Option<PluginReport>)]) -> Reported {
    let mut reported = Reported::new();
    for (waypoint, pod, report) in words {
        let pods = reported
            .entry(WaypointName::new("a", waypoint))
            .or_default();
        let said = report
            .iter()
            .map(|report| (report.name.clone(), Arc::new(report.clone())));
        pods.insert(Arc::from(*pod), Arc::new(said.collect()));
    }
    reported
}

fn status(translator: &Translator, key: &Key) -> Status {
    translator.statuses().remove(key).unwrap()
}

/// `Type=Status Reason` of each condition.
fn words(conditions: &[Condition]) -> Vec<String> {
    let word =
        |found: &Condition| format!("{}={} {}", found.kind, found.truth.word(), found.reason);
    conditions.iter().map(word).collect()
}

fn find<'c>(conditions: &'c [Condition], kind: &str) -> &'c Condition {
    conditions.iter().find(|found| found.kind == kind).unwrap()
}

fn plugin() -> Key {
    Key::new(WASM_PLUGIN, "a", "p")
}

#[test]
fn without_a_waypoint_nothing_is_known() {
    let translator = world(PLUGIN);
    let status = status(&translator, &plugin());
    let expected = [
        "WaypointAccepted=True Accepted",
        "ModuleFetched=Unknown Pending",
        "Programmed=Unknown Pending",
        "Healthy=Unknown Pending",
    ];
    assert_eq!(words(&status.conditions), expected);
    let message = &find(&status.conditions, "Programmed").message;
    assert_eq!(
        message,
        "no waypoint is connected (a/v); no waypoint is connected (a/w)"
    );
}

#[test]
fn a_plugin_that_is_well_says_which_module_runs_where() {
    let mut translator = world(PLUGIN);
    let reported = said(&[("w", "w-1", Some(good())), ("v", "v-1", Some(good()))]);
    assert!(
        translator
            .hear(reported.clone())
            .statuses
            .contains_key(&plugin())
    );
    let status = status(&translator, &plugin());
    let expected = [
        "WaypointAccepted=True Accepted",
        "ModuleFetched=True Fetched",
        "Programmed=True Programmed",
        "Healthy=True Healthy",
    ];
    assert_eq!(words(&status.conditions), expected);
    assert_eq!(
        find(&status.conditions, "ModuleFetched").message,
        format!(
            "module sha256:{} of oci://r.example/p@sha256:00 is at a/v, a/w",
            "ab".repeat(32)
        )
    );
    assert!(
        status
            .conditions
            .iter()
            .all(|found| found.observed_generation == Some(2))
    );
    assert_eq!(
        translator.hear(reported),
        Delta::default(),
        "the same again is nothing"
    );
}

#[test]
fn every_reason_reaches_the_condition_it_is_about() {
    for (field, kind, reason) in [
        (0, "ModuleFetched", "ImagePullFailed"),
        (0, "ModuleFetched", "DigestMismatch"),
        (1, "Programmed", "Invalid"),
        (1, "Programmed", "CompileFailed"),
        (1, "Programmed", "ConfigurationRejected"),
        (2, "Healthy", "Crashing"),
        (2, "Healthy", "BudgetExceeded"),
    ] {
        let mut translator = world(PLUGIN);
        let mut bad = good();
        let broken = Some(stage(State::No, reason, "it broke, requests get 503"));
        match field {
            0 => bad.fetched = broken,
            1 => bad.programmed = broken,
            _ => bad.healthy = broken,
        }
        let objects = objects(&format!("{WORLD}{PLUGIN}"));
        let reported = said(&[("w", "w-1", Some(bad)), ("v", "v-1", Some(good()))]);
        let delta = translator.hear(reported);
        assert!(delta.findings, "{reason}");
        let status = status(&translator, &plugin());
        let found = find(&status.conditions, kind);
        assert_eq!((found.truth, &*found.reason), (Truth::False, reason));
        let message = "waypoint a/w (pod w-1): it broke, requests get 503";
        assert_eq!(found.message, message);
        let others = status.conditions.iter().filter(|other| other.kind != kind);
        assert!(
            others.into_iter().all(|other| other.truth == Truth::True),
            "{reason}"
        );
        let findings = translator.findings(&objects);
        let findings: Vec<String> = findings.iter().map(|found| found.what.clone()).collect();
        assert_eq!(findings, [message], "{reason}");
        // At the other target all is well.
        let ancestors = status.ancestors.unwrap();
        let at = |name: &str| {
            let ancestor = ancestors
                .iter()
                .find(|found| found.ancestor_ref["name"] == name);
            find(&ancestor.unwrap().conditions, kind).truth
        };
        assert_eq!(
            (at("v"), at("app")),
            (Truth::True, Truth::False),
            "{reason}"
        );
    }
}

#[test]
fn of_several_pods_the_one_that_fails_is_named() {
    let mut translator = world(PLUGIN);
    let mut bad = good();
    bad.healthy = Some(stage(State::No, "Crashing", "it traps"));
    translator.hear(said(&[
        ("w", "w-1", Some(good())),
        ("w", "w-2", Some(bad)),
        ("w", "w-3", None),
        ("v", "v-1", Some(good())),
    ]));
    let status = status(&translator, &plugin());
    let found = find(&status.conditions, "Healthy");
    assert_eq!((found.truth, &*found.reason), (Truth::False, "Crashing"));
    assert_eq!(found.message, "waypoint a/w (pod w-2): it traps");
    // What has not failed anywhere waits for the pod that has said nothing.
    let found = find(&status.conditions, "Programmed");
    assert_eq!((found.truth, &*found.reason), (Truth::Unknown, "Pending"));
    let message = "waypoint a/w (pod w-3) has not said anything yet";
    assert_eq!(found.message, message);
}

#[test]
fn a_word_on_an_older_generation_is_none_on_this_one() {
    let mut translator = world(PLUGIN);
    let mut old = good();
    old.generation = 1;
    translator.hear(said(&[("w", "w-1", Some(old)), ("v", "v-1", Some(good()))]));
    let status = status(&translator, &plugin());
    let found = find(&status.conditions, "Programmed");
    assert_eq!(found.truth, Truth::Unknown);
    let message = "waypoint a/w (pod w-1) still speaks of generation 1";
    assert_eq!(found.message, message);

    let mut unsure = good();
    unsure.healthy = None;
    translator.hear(said(&[
        ("w", "w-1", Some(unsure)),
        ("v", "v-1", Some(good())),
    ]));
    let status = self::status(&translator, &plugin());
    let found = find(&status.conditions, "Healthy");
    assert_eq!((found.truth, &*found.reason), (Truth::Unknown, "Pending"));
    assert_eq!(found.message, "waypoint a/w (pod w-1) does not know yet");
}

/// What still runs is not what was refused, and each is told as what it is.
#[test]
fn a_refused_configuration_says_which_generation_still_serves() {
    let mut translator = world(PLUGIN);
    let mut bad = good();
    bad.serving = 1;
    bad.programmed = Some(stage(State::No, "ConfigurationRejected", "no such field"));
    let all_of = |report: &PluginReport| {
        said(&[
            ("w", "w-1", Some(report.clone())),
            ("v", "v-1", Some(good())),
        ])
    };
    translator.hear(all_of(&bad));
    let judged = status(&translator, &plugin());
    let found = find(&judged.conditions, "Programmed");
    assert_eq!(
        (found.truth, &*found.reason),
        (Truth::False, "ConfigurationRejected")
    );
    let whose = "waypoint a/w (pod w-1), where generation 1 still serves:";
    assert_eq!(found.message, format!("{whose} no such field"));
    let found = find(&judged.conditions, "Healthy");
    assert_eq!(found.message, "runs at a/v; generation 1 still runs at a/w");
    bad.healthy = Some(stage(State::No, "Restarting", "it stopped"));
    translator.hear(all_of(&bad));
    let judged = status(&translator, &plugin());
    let found = find(&judged.conditions, "Healthy");
    assert_eq!(found.message, format!("{whose} it stopped"));
}

#[test]
fn a_plugin_that_stops_again_is_spoken_of_each_time() {
    let mut translator = world(PLUGIN);
    let mut bad = good();
    bad.healthy = Some(stage(State::No, "Restarting", "it stopped"));
    let mut stopped = |times: u64, pod: &str| {
        bad.stops = times;
        let said = said(&[("w", pod, Some(bad.clone())), ("v", "v-1", Some(good()))]);
        translator.hear(said).stops.get(&plugin()).copied()
    };
    // What was counted before anybody listened is no news.
    assert_eq!(stopped(3, "w-1"), None);
    assert_eq!(stopped(5, "w-1"), Some(2));
    assert_eq!(stopped(5, "w-1"), None);
    assert_eq!(stopped(1, "w-2"), None);
    assert_eq!(stopped(2, "w-2"), Some(1));
}

#[test]
fn a_refused_plugin_is_rejected_whatever_is_said_of_it() {
    let mut translator = world(PLUGIN);
    let mut bad = good();
    bad.programmed = Some(stage(State::No, "CompileFailed", "no such function"));
    translator.hear(said(&[("w", "w-1", Some(bad)), ("v", "v-1", Some(good()))]));
    translator.reject(&Rejection {
        proxy: "waypoint a/w",
        type_url: proto::PLUGIN_TYPE,
        name: "a/p",
        reason: Some("no such function"),
    });
    let status = status(&translator, &plugin());
    let found = find(&status.conditions, "WaypointAccepted");
    assert_eq!((found.truth, &*found.reason), (Truth::False, "Rejected"));
    let findings = translator.findings(&objects(&format!("{WORLD}{PLUGIN}")));
    assert_eq!(findings.len(), 1, "said once: {findings:#?}");
}

#[test]
fn a_waypoint_has_no_say_about_plugins_it_was_not_told_of() {
    let other = "
{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {name: p, namespace: a},
 spec: {url: 'file:///p.wasm', targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: v}]}}
";
    let mut translator = world(other);
    let before = status(&translator, &plugin());
    let mut bad = good();
    bad.fetched = Some(stage(State::No, "ImagePullFailed", "lies"));
    assert_eq!(
        translator.hear(said(&[("w", "w-1", Some(bad))])),
        Delta::default()
    );
    assert_eq!(status(&translator, &plugin()), before);
}

/// What every waypoint is told, and what of it is about namespace `b`.
fn dump(translator: &Translator) -> Value {
    let resources = translator.resources();
    let waypoints = resources.waypoints.iter().map(|(name, told)| {
        let plugins = told.plugins.iter();
        let plugins = plugins.map(|(name, plugin)| (name.clone(), json::plugin(plugin)));
        let routes = told.routes.iter();
        let routes = routes.map(|(name, route)| (name.clone(), json::route(route)));
        let parts: [Value; 2] = [plugins.collect(), routes.collect()];
        (name.to_string(), Value::from(parts.to_vec()))
    });
    waypoints.collect()
}

/// A-10, U-05, A-08: two tenants share a waypoint; whatever one writes, the other's services, and
/// what waypoints are told about them, stay as they are.
#[test]
fn a_10_no_plugin_reaches_the_services_of_another_namespace() {
    let service = |name: &str| format!("{{group: '', kind: Service, name: {name}}}");
    let gateway = "{group: gateway.networking.k8s.io, kind: Gateway, name: w}".to_owned();
    let class =
        "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}".to_owned();
    let entry = "{group: networking.istio.io, kind: ServiceEntry, name: app}".to_owned();
    for kind in ["WasmPlugin", "TrafficExtension"] {
        for target in [
            service("app"),
            service("app.a"),
            service("app.a.svc.cluster.local"),
            gateway.clone(),
            class.clone(),
            entry.clone(),
        ] {
            let module = "url: 'oci://r.example/p', imagePullSecret: registry";
            let module = if kind == "WasmPlugin" {
                module.to_owned()
            } else {
                format!("wasm: {{{module}}}")
            };
            let plugin = format!(
                "
{{apiVersion: extensions.istio.io/v1alpha1, kind: {kind}, metadata: {{name: evil, namespace: b}},
 spec: {{targetRefs: [{target}], {module}}}}}
---
{{apiVersion: v1, kind: Secret, metadata: {{name: registry, namespace: a}},
 type: kubernetes.io/dockerconfigjson,
 stringData: {{.dockerconfigjson: '{{\"auths\": {{\"r.example\": {{\"auth\": \"hunter2\"}}}}}}'}}}}
"
            );
            let translator = world(&plugin);
            let at = format!("{kind} at {target}");
            for (waypoint, told) in &translator.resources().waypoints {
                assert_eq!(*waypoint, WaypointName::new("a", "w"), "{at}");
                for plugin in told.plugins.values() {
                    assert_eq!(
                        plugin.pull_secret, None,
                        "{at}: a secret of another namespace"
                    );
                    let shown = json::plugin(plugin);
                    let targets = shown["targets"].as_array().unwrap();
                    assert_eq!(targets, &["b/app.b.svc.cluster.local"], "{at}");
                }
            }
            if target != service("app") {
                assert_eq!(dump(&translator), dump(&world("")), "{at}");
            }
        }
    }
}

/// The same by route: a rule names plugins of its own namespace, and a route of another namespace
/// than the Service's runs them for its own clients alone.
#[test]
fn a_10_a_route_runs_plugins_of_its_own_namespace_for_its_own_clients() {
    let plugin = |namespace: &str| {
        format!(
            "
{{apiVersion: extensions.istio.io/v1alpha1, kind: TrafficExtension,
 metadata: {{name: p, namespace: {namespace}}}, spec: {{wasm: {{url: 'file:///p.wasm'}}}}}}
---"
        )
    };
    let route = "
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: b},
 spec: {parentRefs: [{group: '', kind: Service, name: app, namespace: a}], rules: [{filters: [
  {type: ExtensionRef, extensionRef:
   {group: extensions.istio.io, kind: TrafficExtension, name: p}}]}]}}
";
    let theirs = world(&format!("{}{route}", plugin("a")));
    let told = theirs
        .resources()
        .waypoint(&WaypointName::new("a", "w"))
        .unwrap();
    assert!(
        told.plugins.is_empty(),
        "a plugin of another namespace is not named by a route"
    );
    let shown = json::route(&told.routes["b/r/consumer"]);
    let invalid = shown["rules"][0]["invalid"].as_str().unwrap();
    assert!(invalid.contains("does not exist"), "{invalid}");

    let own = world(&format!("{}{route}", plugin("b")));
    let told = own
        .resources()
        .waypoint(&WaypointName::new("a", "w"))
        .unwrap();
    let name = "b/p/TrafficExtension";
    let shown = json::plugin(&told.plugins[name]);
    assert_eq!(shown["byRoutes"], true);
    assert_eq!(shown.get("targets"), None, "it runs for no service as such");
    let shown = json::route(&told.routes["b/r/consumer"]);
    assert_eq!(shown["clientNamespace"], "b");
    assert_eq!(shown["rules"][0]["filters"][0]["plugin"], name);
    let status = status(&own, &Key::new(TRAFFIC_EXTENSION, "b", "p"));
    let found = find(&status.conditions, "WaypointAccepted");
    assert_eq!(found.truth, Truth::True);
    assert_eq!(found.message, "run by rules of HTTPRoute r at a/w");
}

#[test]
fn a_change_of_the_object_is_another_revision_and_a_status_of_ours_is_none() {
    let revision = |more: &str| {
        let translator = world(more);
        let told = translator
            .resources()
            .waypoint(&WaypointName::new("a", "w"));
        told.unwrap().plugins["a/p"].revision.clone()
    };
    let first = revision(PLUGIN);
    assert_eq!(
        revision(PLUGIN),
        first,
        "of the object alone, not of its uid or version"
    );
    let with = |more: &str| PLUGIN.replace("generation: 2", &format!("generation: 2, {more}"));
    assert_ne!(revision(&with("annotations: {touched: now}")), first);
    let anew = with("creationTimestamp: '2026-01-01T00:00:00Z'");
    assert_ne!(revision(&anew), first);
}

#[test]
fn a_word_of_a_waypoint_is_told_from_none() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut translator = world(PLUGIN);
    let written = |translator: &Translator| {
        let status = status(translator, &plugin());
        (status.is_waiting, status.written_over(None, now))
    };
    let (is_waiting, silent) = written(&translator);
    assert!(is_waiting && !crate::status::is_told(silent.as_ref(), 2));
    translator.hear(said(&[
        ("w", "w-1", Some(good())),
        ("v", "v-1", Some(good())),
    ]));
    let (is_waiting, told) = written(&translator);
    assert!(!is_waiting && crate::status::is_told(told.as_ref(), 2));
    assert!(
        !crate::status::is_told(told.as_ref(), 3),
        "of another generation"
    );
    let ancestors = told.unwrap()["ancestors"].clone();
    assert_eq!(ancestors[0]["controllerName"], "istio.io/mesh-controller");
    assert_eq!(ancestors[1]["ancestorRef"]["kind"], "Service");
    assert_eq!(ancestors[1]["conditions"][3]["type"], "Healthy");
}

/// A plugin that no traffic can come to says so, also where it is attached to a waypoint as a whole.
#[test]
fn a_plugin_for_a_waypoint_with_nothing_for_it_to_see_says_so() {
    let gateway = |name: &str, from: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway,
              metadata: {{name: {name}, namespace: c}}, spec: {{gatewayClassName: istio-waypoint,
              listeners: [{{name: mesh, port: 15008, protocol: HBONE,
               allowedRoutes: {{namespaces: {{from: {from}}}}}}}]}},
              status: {{addresses: [{{type: IPAddress, value: 10.2.0.7}}]}}}}\n---\n"
        )
    };
    let service = |name: &str, waypoint: &str, port: &str| {
        format!(
            "{{apiVersion: v1, kind: Service,
              metadata: {{name: {name}, namespace: c, labels: {{istio.io/use-waypoint: {waypoint}}}}},
              spec: {{clusterIP: 10.2.0.3, ports: [{port}]}}}}\n---\n"
        )
    };
    let plugin = |at: &str, more: &str| {
        format!(
            "{{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin,
              metadata: {{name: p, namespace: c}}, spec: {{url: 'file:///p.wasm', {more}
              targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: {at}}}]}}}}"
        )
    };
    let said = |text: &str| {
        let translator = world(text);
        let status = status(&translator, &Key::new(WASM_PLUGIN, "c", "p"));
        let found = find(&status.conditions, "WaypointAccepted");
        format!("{} {}", found.reason, found.message)
    };
    let bytes = [
        gateway("t", "Same"),
        service("db", "t", "{name: tcp, port: 5432}"),
        service("tls", "t", "{name: tls, port: 443}"),
    ]
    .concat();
    let why = said(&format!("{bytes}{}", plugin("t", "")));
    let unread = "NoEffect all ports of the Services behind waypoint c/t are declared to be TCP or \
                  TLS and not HTTP, the plugin sees nothing there";
    assert!(why.starts_with(unread), "{why}");
    let why = said(&format!(
        "{bytes}{}",
        plugin("t", "match: [{ports: [{number: 80}]}],")
    ));
    let no_port = "NoEffect no Service behind waypoint c/t has port 80, which match asks for";
    assert!(why.starts_with(no_port), "{why}");
    // It sees the bytes; one Service is enough; others may come from elsewhere, or all of them.
    let web = service("web", "t", "{name: http, port: 80}");
    let open = bytes.replace("from: Same", "from: All");
    for text in [
        format!("{bytes}{}", plugin("t", "type: NETWORK,")),
        format!("{bytes}{web}{}", plugin("t", "")),
        format!(
            "{bytes}{web}{}",
            plugin("t", "match: [{ports: [{number: 80}]}],")
        ),
        format!("{open}{}", plugin("t", "")),
        format!("{}{}", gateway("t", "Same"), plugin("t", "")),
    ] {
        let why = said(&text);
        assert!(why.starts_with("Accepted "), "{why}");
    }
    let why = said(&format!(
        "{bytes}{}",
        plugin("t", "type: NETWORK, match: [{ports: [{number: 81}]}],")
    ));
    assert!(
        why.starts_with("NoEffect no Service behind waypoint c/t has port 81"),
        "{why}"
    );
}
