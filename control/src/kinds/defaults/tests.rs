use serde_json::json;

use super::*;
use crate::kinds;

/// What the API server would store of an object with this body.
fn stored(group: &str, kind: &str, body: Value) -> Value {
    let mut value = body;
    strip_nulls(&mut value);
    kinds::find(group, kind).unwrap().fill_defaults(&mut value);
    value
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";

#[test]
fn a_service_is_stored_as_an_api_server_stores_it() {
    let given = json!({"spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}});
    assert_eq!(
        stored("", "Service", given)["spec"],
        json!({
            "type": "ClusterIP", "sessionAffinity": "None", "selector": {"app": "a"},
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        })
    );
    let given = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
    assert_eq!(
        stored("", "Service", given)["spec"],
        json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"})
    );
    let given = json!({"spec": {
        "type": "LoadBalancer", "clusterIP": "10.0.0.1", "sessionAffinity": "ClientIP",
        "ports": [{"port": 80, "protocol": "UDP", "targetPort": "dns"}],
    }});
    let spec = &stored("", "Service", given)["spec"];
    assert_eq!(spec["clusterIPs"], json!(["10.0.0.1"]));
    assert_eq!(spec["externalTrafficPolicy"], "Cluster");
    assert_eq!(spec["allocateLoadBalancerNodePorts"], true);
    assert_eq!(
        spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"],
        10_800
    );
    assert_eq!(spec["ports"][0]["targetPort"], "dns");
    assert_eq!(spec["ports"][0]["protocol"], "UDP");
}

#[test]
fn a_deployment_gets_its_strategy_and_its_pods_their_policies() {
    let given = json!({"spec": {"template": {"spec": {"containers": [{
        "name": "a", "image": "shop/web", "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
        "readinessProbe": {"httpGet": {"port": 80}},
    }]}}}});
    let value = stored("apps", "Deployment", given);
    assert_eq!(value["spec"]["replicas"], 1);
    assert_eq!(
        value["spec"]["strategy"],
        json!({
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
        })
    );
    let pod = &value["spec"]["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Always");
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert_eq!(pod.get("serviceAccountName"), None);
    let container = &pod["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(
        container["resources"]["limits"],
        json!({"cpu": "1", "memory": "1Gi"})
    );
    assert_eq!(
        container["readinessProbe"],
        json!({
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        })
    );
}

#[test]
fn an_image_is_pulled_always_if_its_tag_moves() {
    for (image, policy) in [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("host:5000/a", "Always"),
        ("host:5000/a:1", "IfNotPresent"),
        ("a@sha256:00", "IfNotPresent"),
    ] {
        let given = json!({"spec": {"containers": [{"name": "a", "image": image}]}});
        let value = stored("", "Pod", given);
        assert_eq!(
            value["spec"]["containers"][0]["imagePullPolicy"], policy,
            "{image}"
        );
        assert_eq!(value["spec"]["serviceAccountName"], "default");
    }
}

#[test]
fn a_namespace_carries_its_name_as_a_label() {
    let value = stored("", "Namespace", json!({"metadata": {"name": "shop"}}));
    assert_eq!(
        value["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "shop"})
    );
}

#[test]
fn a_route_without_rules_takes_everything() {
    let any = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    let value = stored(GATEWAY_API, "HTTPRoute", json!({"spec": {}}));
    assert_eq!(value["spec"]["rules"], json!([{"matches": any}]));
    let value = stored(
        GATEWAY_API,
        "HTTPRoute",
        json!({"spec": {"rules": [{"matches": null}]}}),
    );
    assert_eq!(value["spec"]["rules"], json!([{"matches": any}]));
}

#[test]
fn the_parts_of_a_route_get_the_defaults_of_the_crd() {
    let given = json!({"spec": {
        "parentRefs": [{"name": "gw"}, {"group": "", "kind": "Service", "name": "a"}],
        "rules": [{
            "matches": [{"path": {"value": "/a"}}, {"headers": [{"name": "h", "value": "v"}]},
                {"path": {"type": "Exact"}, "queryParams": [{"name": "q", "value": "v"}]}],
            "filters": [{"type": "RequestMirror", "requestMirror": {
                "backendRef": {"name": "m"}, "fraction": {"numerator": 1},
            }}],
            "backendRefs": [{"name": "a", "filters": [
                {"type": "RequestRedirect", "requestRedirect": {}},
                {"type": "CORS", "cors": {}},
            ]}],
        }],
    }});
    assert_eq!(
        stored(GATEWAY_API, "HTTPRoute", given)["spec"],
        json!({
            "parentRefs": [
                {"group": GATEWAY_API, "kind": "Gateway", "name": "gw"},
                {"group": "", "kind": "Service", "name": "a"},
            ],
            "rules": [{
                "matches": [
                    {"path": {"type": "PathPrefix", "value": "/a"}},
                    {
                        "path": {"type": "PathPrefix", "value": "/"},
                        "headers": [{"type": "Exact", "name": "h", "value": "v"}],
                    },
                    {
                        "path": {"type": "Exact", "value": "/"},
                        "queryParams": [{"type": "Exact", "name": "q", "value": "v"}],
                    },
                ],
                "filters": [{"type": "RequestMirror", "requestMirror": {
                    "backendRef": {"group": "", "kind": "Service", "name": "m"},
                    "fraction": {"numerator": 1, "denominator": 100},
                }}],
                "backendRefs": [{
                    "group": "", "kind": "Service", "name": "a", "weight": 1,
                    "filters": [
                        {"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}},
                        {"type": "CORS", "cors": {"maxAge": 5}},
                    ],
                }],
            }],
        })
    );
}

#[test]
fn listeners_take_routes_of_their_own_namespace_unless_told_otherwise() {
    let given = json!({"spec": {
        "gatewayClassName": "istio-waypoint",
        "listeners": [
            {"name": "mesh", "port": 15008, "protocol": "HBONE"},
            {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]},
             "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}]}},
        ],
        "addresses": [{"value": "10.0.0.1"}],
    }});
    let spec = &stored(GATEWAY_API, "Gateway", given)["spec"];
    let same = json!({"from": "Same"});
    assert_eq!(
        spec["listeners"][0]["allowedRoutes"],
        json!({"namespaces": same})
    );
    assert_eq!(
        spec["listeners"][1]["allowedRoutes"],
        json!({"namespaces": same, "kinds": [{"group": GATEWAY_API, "kind": "HTTPRoute"}]})
    );
    assert_eq!(
        spec["listeners"][1]["tls"],
        json!({
            "mode": "Terminate",
            "certificateRefs": [{"group": "", "kind": "Secret", "name": "c"}],
        })
    );
    assert_eq!(
        spec["addresses"],
        json!([{"type": "IPAddress", "value": "10.0.0.1"}])
    );
}

#[test]
fn a_policy_without_spec_is_a_policy() {
    for kind in ["AuthorizationPolicy", "PeerAuthentication"] {
        let value = stored(
            "security.istio.io",
            kind,
            json!({"metadata": {"name": "a"}}),
        );
        assert_eq!(value["spec"], json!({}), "{kind}");
    }
}

#[test]
fn nulls_are_left_out_but_for_what_is_not_ours() {
    let mut value = json!({
        "spec": {"a": null, "b": [null, {"c": null}], "pluginConfig": {"d": null}},
    });
    strip_nulls(&mut value);
    assert_eq!(
        value,
        json!({"spec": {"b": [null, {}], "pluginConfig": {"d": null}}})
    );
}

#[test]
fn filling_in_twice_changes_nothing() {
    let given = json!({"metadata": {"name": "a"}, "spec": {
        "ports": [{"port": 80}], "rules": [{}], "listeners": [{}],
        "template": {"spec": {"containers": [{"name": "a"}]}}, "containers": [{"name": "a"}],
    }});
    for info in kinds::all() {
        let mut once = given.clone();
        info.fill_defaults(&mut once);
        let mut twice = once.clone();
        info.fill_defaults(&mut twice);
        assert_eq!(once, twice, "{}", info.kind);
    }
}
