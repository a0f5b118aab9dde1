use mesh::workload::Workload;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::{Flag, Reporter, Security, TcpMetrics, TrafficLabels};
use crate::label::PeerLabels;

fn workload() -> Workload {
    Workload::try_from(proto::workload::Workload {
        uid: "u".into(),
        name: "echo-744674bb66-xlphv".into(),
        namespace: "app".into(),
        workload_name: "echo".into(),
        canonical_name: "echo".into(),
        canonical_revision: "latest".into(),
        ..Default::default()
    })
    .unwrap()
}

/// Runs a connection to its end and gives the text a scrape would get.
fn scrape(flag: Flag) -> String {
    let mut registry = Registry::with_prefix("istio");
    let metrics = TcpMetrics::register(&mut registry);
    let workload = workload();
    let peer = PeerLabels::of(&workload, Some(&workload.identity));
    let security = Security::MutualTls;
    let labels = TrafficLabels::new(Reporter::Source, peer.clone(), peer, None, security);
    let handles = metrics.open(labels);
    handles.received(7);
    handles.sent(11);
    handles.close(flag);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn labels_stand_in_istios_order() {
    let text = scrape(Flag::None);
    let line = text
        .lines()
        .find(|line| line.starts_with("istio_tcp_connections_opened_total{"));
    assert_eq!(
        line.unwrap(),
        "istio_tcp_connections_opened_total{reporter=\"source\",source_workload=\"echo\",\
         source_canonical_service=\"echo\",source_canonical_revision=\"latest\",\
         source_workload_namespace=\"app\",\
         source_principal=\"spiffe://cluster.local/ns/app/sa/default\",source_app=\"echo\",\
         source_version=\"latest\",source_cluster=\"Kubernetes\",\
         destination_service=\"unknown\",destination_service_namespace=\"unknown\",\
         destination_service_name=\"unknown\",destination_workload=\"echo\",\
         destination_canonical_service=\"echo\",destination_canonical_revision=\"latest\",\
         destination_workload_namespace=\"app\",\
         destination_principal=\"spiffe://cluster.local/ns/app/sa/default\",\
         destination_app=\"echo\",destination_version=\"latest\",\
         destination_cluster=\"Kubernetes\",request_protocol=\"tcp\",response_flags=\"-\",\
         connection_security_policy=\"mutual_tls\",source_region=\"unknown\",\
         source_zone=\"unknown\",destination_region=\"unknown\",destination_zone=\"unknown\"} 1"
    );
}

#[test]
fn a_failure_is_counted_under_its_flag_and_the_opening_is_not() {
    let text = scrape(Flag::Denied);
    let with = |name: &str, flag: &str| {
        text.lines().any(|line| {
            line.starts_with(name) && line.contains(&format!("response_flags=\"{flag}\""))
        })
    };
    assert!(with("istio_tcp_connections_opened_total{", "-"));
    assert!(with("istio_tcp_connections_closed_total{", "DENY"));
    assert!(with("istio_tcp_connections_failed_total{", "DENY"));
    assert!(!with("istio_tcp_connections_failed_total{", "-"));
}

#[test]
fn bytes_are_counted_by_direction() {
    let text = scrape(Flag::None);
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(value("istio_tcp_received_bytes_total{"), "7");
    assert_eq!(value("istio_tcp_sent_bytes_total{"), "11");
}
