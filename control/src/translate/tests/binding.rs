//! The rules of waypoint binding, one by one; the recorded scenarios hold the rest.

use proto::workload::address::Type;
use proto::workload::gateway_address::Destination;

use super::translate;

/// Two waypoints in `a`, the first of which is ready, and one Service with `labels`.
fn waypoint_of_service(namespace_labels: &str, labels: &str) -> Option<String> {
    let (translator, _) = translate(&format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: a, labels: {{{namespace_labels}}}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: app, namespace: a, labels: {{{labels}}}}},
  spec: {{clusterIP: 10.2.0.1, ports: [{{port: 80}}]}}}}
---
{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: ready, namespace: a}},
  spec: {{gatewayClassName: istio-waypoint, listeners: [{{name: m, port: 15008, protocol: HBONE}}]}},
  status: {{addresses: [{{type: IPAddress, value: 10.2.0.9}}, {{type: Hostname, value: ready.a}}]}}}}
---
{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: late, namespace: a}},
  spec: {{gatewayClassName: istio-waypoint, listeners: [{{name: m, port: 15008, protocol: HBONE}}]}}}}
"
    ));
    let address = translator.resources().addresses["a/app.a.svc.cluster.local"].as_ref();
    let Some(Type::Service(service)) = &address.r#type else {
        panic!("{address:?}")
    };
    let waypoint = service.waypoint.as_ref()?;
    assert_eq!(waypoint.hbone_mtls_port, 15008);
    match waypoint.destination.as_ref()? {
        Destination::Hostname(name) => Some(name.hostname.clone()),
        Destination::Address(address) => Some(format!("{:?}", address.address)),
    }
}

#[test]
fn the_objects_label_goes_before_the_namespaces() {
    let ready = Some("ready.a".to_owned());
    assert_eq!(waypoint_of_service("", ""), None);
    assert_eq!(
        waypoint_of_service("istio.io/use-waypoint: ready", ""),
        ready
    );
    assert_eq!(
        waypoint_of_service("", "istio.io/use-waypoint: ready"),
        ready
    );
    assert_eq!(
        waypoint_of_service(
            "istio.io/use-waypoint: ready",
            "istio.io/use-waypoint: none"
        ),
        None
    );
}

#[test]
fn there_is_no_way_back_to_the_namespaces_waypoint() {
    for missing in ["nowhere", "late", "\"\""] {
        let own = format!("istio.io/use-waypoint: {missing}");
        assert_eq!(
            waypoint_of_service("istio.io/use-waypoint: ready", &own),
            None,
            "{missing}"
        );
    }
}

#[test]
fn the_namespace_label_alone_says_nothing() {
    assert_eq!(
        waypoint_of_service("", "istio.io/use-waypoint-namespace: a"),
        None
    );
    let both = "istio.io/use-waypoint: ready, istio.io/use-waypoint-namespace: b";
    assert_eq!(waypoint_of_service("", both), None);
}

/// The waypoint must know the routes and policies of its first request before that arrives.
#[test]
fn a_waypoint_knows_its_routes_before_it_has_an_address() {
    let (translator, _) = translate(
        "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: a,
  labels: {istio.io/use-waypoint: late}}, spec: {clusterIP: 10.2.0.1, ports: [{port: 80}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: late, namespace: a},
  spec: {gatewayClassName: istio-waypoint, listeners: [{name: m, port: 15008, protocol: HBONE}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: a},
  spec: {parentRefs: [{group: '', kind: Service, name: app}], rules: [{backendRefs: [{name: app, port: 80}]}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p, namespace: a},
  spec: {targetRefs: [{group: '', kind: Service, name: app}], rules: [{}]}}
",
    );
    let late = crate::translate::WaypointName::new("a", "late");
    let told = translator.resources().waypoint(&late).unwrap();
    assert!(told.routes.contains_key("a/r") && told.policies.contains_key("a/p"));
}
