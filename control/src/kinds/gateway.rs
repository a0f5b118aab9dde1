//! The kinds of the Gateway API.
//!
//! Typed forms are those of the experimental channel of the `gateway-api` crate: they contain the
//! standard ones. The crate follows v1.5, so what is newer is read from the tree.

use gateway_api::experimental::gatewayclasses::GatewayClass;
use gateway_api::experimental::gateways::Gateway;
use gateway_api::experimental::httproutes::HttpRoute;

use super::Info;
use super::defaults::gateway as defaults;
use crate::admission::{gateway as checks, http_filter, http_route};

const STABLE: &[&str] = &["v1", "v1beta1"];

const fn row(versions: &'static [&'static str], kind: &'static str, plural: &'static str) -> Info {
    Info::new("gateway.networking.k8s.io", versions, kind, plural)
}

const fn trial(kind: &'static str, plural: &'static str) -> Info {
    Info::new("gateway.networking.x-k8s.io", &["v1alpha1"], kind, plural)
}

pub(super) const KINDS: &[Info] = &[
    row(STABLE, "Gateway", "gateways")
        .short(&["gtw"])
        .decoded_as::<Gateway>()
        .with_defaults(defaults::gateway)
        .with_first_status(defaults::gateway_status)
        .checked_by(&[checks::GATEWAY]),
    row(STABLE, "GatewayClass", "gatewayclasses")
        .short(&["gc"])
        .cluster_scoped()
        .decoded_as::<GatewayClass>()
        .with_first_status(defaults::gateway_class_status)
        .checked_by(&[checks::GATEWAY_CLASS]),
    row(STABLE, "HTTPRoute", "httproutes")
        .decoded_as::<HttpRoute>()
        .with_defaults(defaults::http_route)
        .checked_by(&[
            checks::ROUTE,
            http_route::HTTP_ROUTE,
            http_filter::HTTP_FILTER,
        ]),
    row(&["v1"], "GRPCRoute", "grpcroutes"),
    row(&["v1", "v1alpha2"], "TCPRoute", "tcproutes"),
    row(&["v1", "v1alpha2", "v1alpha3"], "TLSRoute", "tlsroutes"),
    row(&["v1", "v1alpha2"], "UDPRoute", "udproutes"),
    row(STABLE, "ReferenceGrant", "referencegrants")
        .short(&["refgrant"])
        .without_status(),
    row(
        &["v1", "v1alpha3"],
        "BackendTLSPolicy",
        "backendtlspolicies",
    )
    .short(&["btlspolicy"]),
    row(&["v1"], "ListenerSet", "listenersets").short(&["lset"]),
    trial("XBackend", "xbackends"),
    trial("XBackendTrafficPolicy", "xbackendtrafficpolicies").short(&["xbtrafficpolicy"]),
    trial("XListenerSet", "xlistenersets").short(&["lset"]),
    trial("XMesh", "xmeshes").cluster_scoped(),
];
