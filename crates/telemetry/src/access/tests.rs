use std::time::Duration;

use super::{Connection, Direction};
use mesh::workload::Workload;

fn workload(name: &str, account: &str) -> Workload {
    Workload::try_from(proto::workload::Workload {
        uid: format!("Kubernetes//Pod/app/{name}"),
        name: name.into(),
        namespace: "app".into(),
        service_account: account.into(),
        ..Default::default()
    })
    .unwrap()
}

fn service() -> mesh::service::Service {
    mesh::service::Service::try_from(proto::workload::Service {
        name: "echo".into(),
        namespace: "app".into(),
        hostname: "echo.app.svc.cluster.local".into(),
        ..Default::default()
    })
    .unwrap()
}

/// The lines a real ztunnel wrote, ports replaced as in the recording.
#[test]
fn lines_are_those_of_istio() {
    let (bad, echo, service) = (
        workload("bad", "bad"),
        workload("echo-1", "default"),
        service(),
    );
    let denied = Connection {
        source_addr: "10.244.2.6:4242".parse().unwrap(),
        source: Some(&bad),
        source_identity: Some(&bad.identity),
        destination_addr: "10.244.2.5:15008".parse().unwrap(),
        hbone_target: Some("10.244.2.5:8080"),
        service: Some(&service),
        destination: Some(&echo),
        destination_identity: Some(&echo.identity),
        direction: Direction::Outbound,
        bytes_sent: 0,
        bytes_received: 0,
        duration: Duration::from_micros(1900),
        error: Some("http status: 401 Unauthorized"),
    };
    assert_eq!(
        denied.to_string(),
        "src.addr=10.244.2.6:4242 src.workload=\"bad\" src.namespace=\"app\" \
         src.identity=\"spiffe://cluster.local/ns/app/sa/bad\" src.cluster=\"Kubernetes\" \
         dst.addr=10.244.2.5:15008 dst.hbone_addr=10.244.2.5:8080 \
         dst.service=\"echo.app.svc.cluster.local\" dst.workload=\"echo-1\" \
         dst.namespace=\"app\" dst.identity=\"spiffe://cluster.local/ns/app/sa/default\" \
         dst.cluster=\"Kubernetes\" direction=\"outbound\" bytes_sent=0 bytes_recv=0 \
         duration=\"1ms\" error=\"http status: 401 Unauthorized\""
    );
}

#[test]
fn what_is_not_known_leaves_its_key_out() {
    let plain = Connection {
        source_addr: "192.0.2.1:1".parse().unwrap(),
        source: None,
        source_identity: None,
        destination_addr: "192.0.2.2:2".parse().unwrap(),
        hbone_target: None,
        service: None,
        destination: None,
        destination_identity: None,
        direction: Direction::Inbound,
        bytes_sent: 3,
        bytes_received: 4,
        duration: Duration::ZERO,
        error: None,
    };
    assert_eq!(
        plain.to_string(),
        "src.addr=192.0.2.1:1 dst.addr=192.0.2.2:2 direction=\"inbound\" bytes_sent=3 \
         bytes_recv=4 duration=\"0ms\""
    );
}

#[test]
fn a_hostile_value_stays_on_its_line() {
    let connection = Connection {
        source_addr: "192.0.2.1:1".parse().unwrap(),
        source: None,
        source_identity: None,
        destination_addr: "192.0.2.2:2".parse().unwrap(),
        hbone_target: None,
        service: None,
        destination: None,
        destination_identity: None,
        direction: Direction::Inbound,
        bytes_sent: 0,
        bytes_received: 0,
        duration: Duration::ZERO,
        error: Some("a\n\"b\" error=\"c\""),
    };
    assert!(
        connection
            .to_string()
            .ends_with(r#" error="a\n\"b\" error=\"c\"""#)
    );
}
