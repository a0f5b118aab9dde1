use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::object::Store;
use crate::source::{Document, Event, Origin, Root, Scope};

fn named(name: &str) -> Option<String> {
    let kind = lookup(name, &Objects::default())?;
    Some(format!("{}.{}", kind.name(), kind.group()))
}

#[test]
fn a_kind_is_found_by_every_name_kubectl_takes() {
    for (names, kind) in [
        (&["pod", "pods", "po", "Pod", "PODS"][..], "Pod."),
        (&["svc", "Service", "services"], "Service."),
        (
            &["deploy", "deployments.apps", "Deployment.v1.apps"],
            "Deployment.apps",
        ),
        (&["ns", "namespaces"], "Namespace."),
        (&["sa", "serviceAccount"], "ServiceAccount."),
        (
            &["endpointslices", "EndpointSlice"],
            "EndpointSlice.discovery.k8s.io",
        ),
        (
            &["httproute", "HTTPRoutes"],
            "HTTPRoute.gateway.networking.k8s.io",
        ),
        (
            &["gateway", "gtw", "gateways"],
            "Gateway.gateway.networking.k8s.io",
        ),
        (
            &["gw", "gateways.networking.istio.io"],
            "Gateway.networking.istio.io",
        ),
        (&["gc"], "GatewayClass.gateway.networking.k8s.io"),
        (
            &["ap", "authorizationpolicies"],
            "AuthorizationPolicy.security.istio.io",
        ),
        (&["pa"], "PeerAuthentication.security.istio.io"),
        (
            &["wasmplugin", "WasmPlugins.extensions.istio.io"],
            "WasmPlugin.extensions.istio.io",
        ),
        (
            &["TrafficExtension", "trafficextensions"],
            "TrafficExtension.extensions.istio.io",
        ),
        (&["events", "ev"], "Event."),
        (&["telemetry"], "Telemetry.telemetry.istio.io"),
        (&["ip"], "IPAddress.networking.k8s.io"),
    ] {
        for name in names {
            assert_eq!(named(name).as_deref(), Some(kind), "{name}");
        }
    }
    for name in ["", "nothing", "pods.apps", "service.x"] {
        assert_eq!(named(name), None, "{name}");
    }
}

#[test]
fn an_unknown_kind_is_found_by_its_plural_once_there_is_one() {
    let mut store = Store::new(jiff::Timestamp::UNIX_EPOCH);
    let document = |kind: &str| Document {
        value: json!({"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": "x"}}),
        origin: Origin::default(),
    };
    store.apply(
        Event::Snapshot {
            scope: Scope::new(Root::Generated, "x"),
            documents: vec![document("Policy"), document("Box"), document("Widget")],
            unreadable: vec![],
        },
        jiff::Timestamp::UNIX_EPOCH,
    );
    for (name, kind) in [
        ("policies", "Policy"),
        ("policy", "Policy"),
        ("boxes", "Box"),
        ("WIDGETS", "Widget"),
        ("widgets.example.com", "Widget"),
        ("widgets.v1.example.com", "Widget"),
    ] {
        let found = lookup(name, store.objects()).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (found.name(), found.group()),
            (kind, "example.com"),
            "{name}"
        );
    }
    assert_eq!(lookup("widgets.other.com", store.objects()), None);
}

#[test]
fn no_two_rows_describe_one_kind() {
    let mut seen = BTreeSet::new();
    for info in all() {
        assert!(
            seen.insert((info.group, info.kind)),
            "{} of {}",
            info.kind,
            info.group
        );
        assert_eq!(info.plural, info.plural.to_lowercase());
        assert!(!info.versions.is_empty());
    }
}

#[test]
fn the_typed_form_of_a_row_is_that_of_its_kind() {
    fn check<T: kube::Resource<DynamicType = ()> + 'static>(spec: &Value) {
        let kind = Kind::decoded_by::<T>();
        let info = of(&kind).unwrap_or_else(|| panic!("{kind} is in the table"));
        assert_eq!(info.api_version(), T::api_version(&()), "{kind}");
        assert_eq!(info.plural, T::plural(&()), "{kind}");
        let mut value = json!({
            "apiVersion": info.api_version(),
            "kind": info.kind,
            "metadata": {"name": "x"},
        });
        if !spec.is_null() {
            value["spec"] = spec.clone();
        }
        info.fill_defaults(&mut value);
        let (typed, unknown) = info.decode(&value).unwrap().unwrap();
        assert!(typed.downcast_ref::<T>().is_some(), "{kind}");
        let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        assert!(
            unknown.iter().all(|f| f == "apiVersion" || f == "kind"),
            "{kind}: {unknown:?}"
        );
    }
    use k8s_openapi::api::{apps, batch, core, discovery, networking};
    let (none, empty) = (Value::Null, json!({}));
    check::<core::v1::Namespace>(&none);
    check::<core::v1::Node>(&empty);
    check::<core::v1::ServiceAccount>(&none);
    check::<core::v1::Service>(&empty);
    check::<core::v1::Pod>(&json!({"containers": [{"name": "x"}]}));
    check::<core::v1::ConfigMap>(&none);
    check::<core::v1::Secret>(&none);
    check::<apps::v1::Deployment>(&json!({"template": {"spec": {"containers": []}}}));
    check::<apps::v1::ReplicaSet>(&empty);
    check::<apps::v1::StatefulSet>(&empty);
    check::<apps::v1::DaemonSet>(&empty);
    check::<batch::v1::Job>(&empty);
    check::<batch::v1::CronJob>(&empty);
    check::<discovery::v1::EndpointSlice>(&none);
    check::<networking::v1::IPAddress>(&empty);
    let listener = json!({"name": "mesh", "port": 15008, "protocol": "HBONE"});
    check::<gateway_api::experimental::gateways::Gateway>(
        &json!({"gatewayClassName": "istio-waypoint", "listeners": [listener]}),
    );
    check::<gateway_api::experimental::gatewayclasses::GatewayClass>(
        &json!({"controllerName": "a/b"}),
    );
    check::<gateway_api::experimental::httproutes::HttpRoute>(&empty);
    check::<authorization::AuthorizationPolicy>(&none);
    check::<peer_authentication::PeerAuthentication>(&none);
    check::<wasm_plugin::WasmPlugin>(&json!({"url": "oci://x"}));
    check::<traffic_extension::TrafficExtension>(&json!({"wasm": {"url": "oci://x"}}));
}
