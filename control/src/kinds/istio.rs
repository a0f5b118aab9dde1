//! The kinds of Istio.

use super::Info;
use super::authorization::AuthorizationPolicy;
use super::defaults::empty_spec;
use super::peer_authentication::PeerAuthentication;
use super::traffic_extension::TrafficExtension;
use super::wasm_plugin::WasmPlugin;
use crate::admission::{authorization, peer_authentication, traffic_extension, wasm_plugin};

const SECURITY: &[&str] = &["v1", "v1beta1"];
const NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const fn security(kind: &'static str, plural: &'static str) -> Info {
    Info::new("security.istio.io", SECURITY, kind, plural)
}

const fn networking(kind: &'static str, plural: &'static str) -> Info {
    Info::new("networking.istio.io", NETWORKING, kind, plural)
}

const fn extension(kind: &'static str, plural: &'static str) -> Info {
    Info::new("extensions.istio.io", &["v1alpha1"], kind, plural)
}

pub(super) const KINDS: &[Info] = &[
    security("AuthorizationPolicy", "authorizationpolicies")
        .short(&["ap"])
        .decoded_as::<AuthorizationPolicy>()
        .with_defaults(empty_spec)
        .checked_by(&[authorization::AUTHORIZATION_POLICY]),
    security("PeerAuthentication", "peerauthentications")
        .short(&["pa"])
        .decoded_as::<PeerAuthentication>()
        .with_defaults(empty_spec)
        .checked_by(&[peer_authentication::PEER_AUTHENTICATION]),
    security("RequestAuthentication", "requestauthentications").short(&["ra"]),
    extension("WasmPlugin", "wasmplugins")
        .decoded_as::<WasmPlugin>()
        .checked_by(&[wasm_plugin::ATTACHED, wasm_plugin::WASM_PLUGIN]),
    extension("TrafficExtension", "trafficextensions")
        .decoded_as::<TrafficExtension>()
        .checked_by(&[
            wasm_plugin::ATTACHED,
            wasm_plugin::MODULE,
            traffic_extension::TRAFFIC_EXTENSION,
        ]),
    networking("DestinationRule", "destinationrules").short(&["dr"]),
    networking("Gateway", "gateways").short(&["gw"]),
    networking("ServiceEntry", "serviceentries").short(&["se"]),
    networking("Sidecar", "sidecars"),
    networking("VirtualService", "virtualservices").short(&["vs"]),
    networking("WorkloadEntry", "workloadentries").short(&["we"]),
    networking("WorkloadGroup", "workloadgroups").short(&["wg"]),
    Info::new(
        "networking.istio.io",
        &["v1alpha3"],
        "EnvoyFilter",
        "envoyfilters",
    ),
    Info::new(
        "networking.istio.io",
        &["v1beta1"],
        "ProxyConfig",
        "proxyconfigs",
    ),
    Info::new(
        "telemetry.istio.io",
        &["v1", "v1alpha1"],
        "Telemetry",
        "telemetries",
    )
    .short(&["telemetry"]),
];
