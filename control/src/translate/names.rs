//! Labels, annotations and names that objects carry. Most are Istio's and Kubernetes' and are the
//! contract with people's YAML; nothing of those is ours to rename. Ours begin with `cairn.dev/`.

/// Names the waypoint of a Service, Pod or Namespace; [`NONE`] opts out.
pub(crate) const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// Namespace of the waypoint that [`USE_WAYPOINT`] on the same object names.
pub(crate) const USE_WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
/// A second waypoint that gets a share of connections.
pub(crate) const USE_WAYPOINT_CANARY: &str = "istio.io/use-waypoint-canary";
/// Namespace of the waypoint that [`USE_WAYPOINT_CANARY`] names.
pub(crate) const USE_WAYPOINT_CANARY_NAMESPACE: &str = "istio.io/use-waypoint-canary-namespace";
/// Annotation: percent of connections for the canary.
pub(crate) const USE_WAYPOINT_CANARY_WEIGHT: &str = "istio.io/use-waypoint-canary-weight";
/// Which destinations a waypoint serves: `service`, `workload`, `all`, `none`.
pub(crate) const WAYPOINT_FOR: &str = "istio.io/waypoint-for";
/// Whether ingress gateways go through the waypoint too.
pub(crate) const INGRESS_USE_WAYPOINT: &str = "istio.io/ingress-use-waypoint";
/// The value of [`USE_WAYPOINT`] that opts out of an inherited waypoint.
pub(crate) const NONE: &str = "none";

/// Annotation: how a sandwiched waypoint wants its traffic.
pub(crate) const INBOUND_BINDING: &str = "ambient.istio.io/waypoint-inbound-binding";
/// Annotation the node agent writes: `enabled` once a pod is captured.
pub(crate) const REDIRECTION: &str = "ambient.istio.io/redirection";
/// Label of a workload that terminates HBONE itself.
pub(crate) const TUNNEL: &str = "networking.istio.io/tunnel";
/// Annotation: preference among endpoints.
pub(crate) const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";
/// Annotation: an AuthorizationPolicy that only logs.
pub(crate) const DRY_RUN: &str = "istio.io/dry-run";

/// Annotation of a plugin: where its callouts may go, `HOST[:PORT], …`.
pub(crate) const ALLOWED_UPSTREAMS: &str = "cairn.dev/allowed-upstreams";
/// Annotation of a plugin: memory of one machine.
pub(crate) const MEMORY_LIMIT: &str = "cairn.dev/memory-limit";
/// Annotation of a plugin: time of one callback.
pub(crate) const CALLBACK_BUDGET: &str = "cairn.dev/callback-budget";
/// Annotation of a plugin: body bytes held for one direction of a stream.
pub(crate) const BUFFER_LIMIT: &str = "cairn.dev/buffer-limit";
/// Annotation of a plugin: whether a guest that stops at headers still gets the body.
pub(crate) const STOP_ITERATION: &str = "cairn.dev/allow-on-headers-stop-iteration";

/// Name of the Gateway that an object was generated for.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Class of that Gateway.
pub(crate) const GATEWAY_CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
/// Controller that manages a generated object.
pub(crate) const MANAGED: &str = "gateway.istio.io/managed";
/// Value of [`MANAGED`] for waypoints.
pub(crate) const MANAGED_WAYPOINT: &str = "istio.io-mesh-controller";
/// Value of [`MANAGED`] for east-west gateways.
pub(crate) const MANAGED_EAST_WEST: &str = "istio.io-eastwest-controller";
/// Annotation of a Gateway: name of the generated Deployment and Service.
pub(crate) const NAME_OVERRIDE: &str = "gateway.istio.io/name-override";
/// Annotation of a Gateway: name of the generated ServiceAccount.
pub(crate) const SERVICE_ACCOUNT: &str = "gateway.istio.io/service-account";
/// Annotation of a Gateway: which controller owns what was generated for it.
pub(crate) const CONTROLLER_VERSION: &str = "gateway.istio.io/controller-version";
/// Annotation of a Gateway: settings of its proxy, Istio's `ProxyConfig` in YAML.
pub(crate) const PROXY_CONFIG: &str = "proxy.istio.io/config";
/// Annotation of a Gateway: type of the generated Service.
pub(crate) const SERVICE_TYPE: &str = "networking.istio.io/service-type";

/// Network of a Gateway or Pod.
pub(crate) const NETWORK: &str = "topology.istio.io/network";
/// Region of a Node.
pub(crate) const REGION: &str = "topology.kubernetes.io/region";
/// Zone of a Node.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
/// Subzone of a Node.
pub(crate) const SUBZONE: &str = "topology.istio.io/subzone";

/// Service of an EndpointSlice.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Hash in the name of what stands between a Deployment and its pods.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Telemetry name of the owner of a pod.
pub(crate) const WORKLOAD_NAME: &str = "service.istio.io/workload-name";
/// Telemetry name of a pod's service.
pub(crate) const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
/// Telemetry revision of a pod's service.
pub(crate) const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// Revision of the control plane that owns a pod.
pub(crate) const REV: &str = "istio.io/rev";
/// Whether pods are captured.
pub(crate) const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";

/// Controller of waypoints.
pub(crate) const MESH_CONTROLLER: &str = "istio.io/mesh-controller";
/// Controller of ingress gateways, and the one that route statuses name.
pub(crate) const GATEWAY_CONTROLLER: &str = "istio.io/gateway-controller";
/// Controller of Gateways that stand for one elsewhere.
pub(crate) const UNMANAGED_CONTROLLER: &str = "istio.io/unmanaged-gateway";

/// Class of ingress gateways.
pub(crate) const INGRESS_CLASS: &str = "istio";

/// Gateway API's group.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// Istio's networking group.
pub(crate) const NETWORKING_GROUP: &str = "networking.istio.io";

/// Protocol of a waypoint's listener.
pub(crate) const HBONE: &str = "HBONE";
/// Protocol of the listener of a sandwiched waypoint.
pub(crate) const PROXY: &str = "istio.io/PROXY";
/// Port of HBONE.
pub(crate) const HBONE_PORT: u16 = 15008;

/// Reads a boolean as Go's `strconv.ParseBool` does, which is what Istio's labels accept.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
