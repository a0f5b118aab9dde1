use std::time::{Duration, SystemTime};

use mesh::workload::Workload;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::log::Line;
use super::{Ending, Flag, Flags, GrpcStatus, HttpMetrics, Protocol, RequestLabels};
use crate::label::PeerLabels;

fn ending() -> Ending {
    let mut flags = Flags::default();
    flags.raise(Flag::RetryLimit);
    flags.raise(Flag::UpstreamConnectFailure);
    flags.raise(Flag::UpstreamTimeout);
    Ending {
        protocol: Protocol::Http,
        response_code: 503,
        grpc_status: GrpcStatus(None),
        flags,
    }
}

#[test]
fn labels_stand_in_istios_order() {
    let mut registry = Registry::with_prefix("istio");
    let metrics = HttpMetrics::register(&mut registry);
    let workload = Workload::try_from(proto::workload::Workload {
        uid: "u".into(),
        namespace: "app".into(),
        workload_name: "echo".into(),
        canonical_name: "echo".into(),
        ..Default::default()
    })
    .unwrap();
    let peer = PeerLabels::of(&workload, Some(&workload.identity));
    let labels = RequestLabels::new(peer, PeerLabels::UNKNOWN, None, ending());
    metrics.handles(&labels).record(7.0, 100, 200);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("istio_requests_total{"));
    assert_eq!(
        line.unwrap(),
        "istio_requests_total{reporter=\"waypoint\",source_workload=\"echo\",\
         source_canonical_service=\"echo\",source_canonical_revision=\"latest\",\
         source_workload_namespace=\"app\",\
         source_principal=\"spiffe://cluster.local/ns/app/sa/default\",source_app=\"echo\",\
         source_version=\"unknown\",source_cluster=\"Kubernetes\",\
         destination_workload=\"unknown\",destination_workload_namespace=\"unknown\",\
         destination_principal=\"unknown\",destination_app=\"unknown\",\
         destination_version=\"unknown\",destination_service=\"unknown\",\
         destination_canonical_service=\"unknown\",destination_canonical_revision=\"unknown\",\
         destination_service_name=\"unknown\",destination_service_namespace=\"unknown\",\
         destination_cluster=\"unknown\",request_protocol=\"http\",response_code=\"503\",\
         grpc_response_status=\"\",response_flags=\"URX,UF\",\
         connection_security_policy=\"mutual_tls\"} 1"
    );
    for name in [
        "request_duration_milliseconds",
        "request_bytes",
        "response_bytes",
    ] {
        assert!(text.contains(&format!("istio_{name}_count{{")), "{name}");
    }
}

fn line() -> Line<'static> {
    Line {
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_209_445_678),
        method: "GET",
        path: "/reviews?x=\"1\"\n",
        protocol: "HTTP/1.1",
        response_code: 200,
        flags: Flags::default(),
        details: "via_upstream",
        upstream_failure: "",
        bytes_received: 0,
        bytes_sent: 295,
        duration: Duration::from_millis(6),
        upstream_time: Some(Duration::from_millis(5)),
        forwarded_for: "10.0.0.1",
        user_agent: "curl/8.5.0",
        request_id: "id",
        authority: "reviews:9080",
        upstream_host: Some("10.0.1.7:9080".parse().unwrap()),
        upstream_cluster: "inbound-vip|9080|http|reviews.shop.svc.cluster.local",
        downstream_local: Some("10.96.0.4:9080".parse().unwrap()),
        downstream_remote: "10.0.0.1:4242".parse().unwrap(),
        route: "shop/reviews 0",
    }
}

#[test]
fn the_line_is_envoys_and_holds_no_line_break() {
    assert_eq!(
        line().to_string(),
        "[2024-02-29T12:24:05.678Z] \"GET /reviews?x=\\\"1\\\"\\x0a HTTP/1.1\" 200 - via_upstream \
         - \"-\" 0 295 6 5 \"10.0.0.1\" \"curl/8.5.0\" \"id\" \"reviews:9080\" \"10.0.1.7:9080\" \
         inbound-vip|9080|http|reviews.shop.svc.cluster.local - 10.96.0.4:9080 10.0.0.1:4242 - \
         shop/reviews_0"
    );
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (seconds, expected) in [
        (0, "[1970-01-01T00:00:00.000Z]"),
        (951_782_400, "[2000-02-29T00:00:00.000Z]"),
        (1_735_689_599, "[2024-12-31T23:59:59.000Z]"),
        (4_107_542_400, "[2100-03-01T00:00:00.000Z]"),
    ] {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(
            Line { start, ..line() }.to_string().starts_with(expected),
            "{expected}"
        );
    }
}
