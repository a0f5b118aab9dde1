//! What proxies refuse reaches the status of the object it came from.

use super::incremental::{edit, pool};
use crate::index::{AUTHORIZATION_POLICY, HTTP_ROUTE};
use crate::object::Key;
use crate::status::{Condition, Truth};
use crate::translate::{Delta, Rejection, Settings, Translator};

fn conditions(translator: &Translator, key: &Key) -> Vec<Condition> {
    let status = translator.statuses().remove(key).unwrap();
    let of_parents = status
        .parents
        .into_iter()
        .flatten()
        .flat_map(|parent| parent.conditions);
    status.conditions.into_iter().chain(of_parents).collect()
}

fn condition(translator: &Translator, key: &Key, kind: &str) -> Condition {
    conditions(translator, key)
        .into_iter()
        .find(|condition| condition.kind == kind)
        .unwrap()
}

#[test]
fn a_refused_route_says_who_refuses_it_and_why() {
    let store = pool();
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    let key = Key::new(HTTP_ROUTE, "a", "r");
    assert_eq!(condition(&translator, &key, "Accepted").truth, Truth::True);
    let mut rejection = Rejection {
        proxy: "waypoint a/w",
        type_url: proto::ROUTE_TYPE,
        name: "a/r",
        reason: Some("rules[0]: too many"),
    };
    let delta = translator.reject(&rejection);
    assert!(delta.findings && delta.statuses.contains_key(&key));
    let told = condition(&translator, &key, "Accepted");
    assert_eq!((told.truth, &*told.reason), (Truth::False, "Rejected"));
    assert!(
        told.message
            .contains("waypoint a/w cannot use it: rules[0]: too many"),
        "{told:?}"
    );
    let findings = translator.findings(store.objects());
    assert!(
        findings
            .iter()
            .any(|finding| finding.what.contains("too many")),
        "{findings:#?}"
    );

    // The same again is no news; accepting it after all is.
    assert_eq!(translator.reject(&rejection), Delta::default());
    rejection.reason = None;
    assert!(translator.reject(&rejection).statuses.contains_key(&key));
    assert_eq!(condition(&translator, &key, "Accepted").truth, Truth::True);
}

#[test]
fn every_proxy_that_refuses_is_named() {
    let store = pool();
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    let key = Key::new(AUTHORIZATION_POLICY, "a", "on-app");
    for proxy in ["waypoint a/w", "waypoint a/v"] {
        let (type_url, reason) = (proto::POLICY_TYPE, Some("no"));
        translator.reject(&Rejection {
            proxy,
            type_url,
            name: "a/on-app",
            reason,
        });
    }
    let message = condition(&translator, &key, "WaypointAccepted").message;
    assert!(
        message.contains("waypoint a/w") && message.contains("waypoint a/v"),
        "{message}"
    );
}

#[test]
fn another_version_has_not_been_refused_yet() {
    let mut store = pool();
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    let key = Key::new(AUTHORIZATION_POLICY, "a", "on-app");
    let (proxy, type_url) = ("waypoint a/w", proto::POLICY_TYPE);
    translator.reject(&Rejection {
        proxy,
        type_url,
        name: "a/on-app",
        reason: Some("no"),
    });
    assert_eq!(
        condition(&translator, &key, "WaypointAccepted").reason,
        "Rejected"
    );
    edit(&mut store, &key, 1);
    let delta = translator.update(store.objects());
    assert!(delta.statuses.contains_key(&key) && delta.findings);
    assert!(
        conditions(&translator, &key)
            .iter()
            .all(|found| found.reason != "Rejected")
    );
}

#[test]
fn a_resource_of_nobody_is_ignored() {
    let store = pool();
    let mut translator = Translator::new(Settings::default());
    translator.update(store.objects());
    for (type_url, name) in [
        (proto::ROUTE_TYPE, "a/nowhere"),
        (
            proto::AUTHORIZATION_TYPE,
            "istio-system/istio_converted_static_strict",
        ),
        ("type.googleapis.com/unknown", "a/r"),
        (proto::ADDRESS_TYPE, "no-slash"),
    ] {
        let rejection = Rejection {
            proxy: "p",
            type_url,
            name,
            reason: Some("no"),
        };
        assert_eq!(translator.reject(&rejection), Delta::default(), "{name}");
    }
}

#[test]
fn what_one_proxy_refuses_is_not_forgotten_for_another_proxys_sake() {
    let gateway = |name: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: a}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{{name: mesh, port: 15008, protocol: HBONE}}]
status: {{addresses: [{{type: IPAddress, value: 10.9.9.9}}]}}
---
"
        )
    };
    let policy = |targets: &str| {
        let world = gateway("w") + &gateway("v");
        let policy = format!(
            "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: p, namespace: a}}
spec: {{targetRefs: [{targets}], rules: [{{}}]}}
"
        );
        super::objects(&(world + &policy))
    };
    let w = "{group: gateway.networking.k8s.io, kind: Gateway, name: w}";
    let v = "{group: gateway.networking.k8s.io, kind: Gateway, name: v}";
    let mut translator = Translator::new(Settings::default());
    translator.update(&policy(w));
    let key = Key::new(AUTHORIZATION_POLICY, "a", "p");
    translator.reject(&Rejection {
        proxy: "waypoint a/w",
        type_url: proto::POLICY_TYPE,
        name: "a/p",
        reason: Some("no"),
    });
    let both = policy(&format!("{w}, {v}"));
    assert!(!translator.update(&both).resources.is_empty());
    let told = condition(&translator, &key, "WaypointAccepted");
    assert_eq!(told.reason, "Rejected", "{told:?}");
}
