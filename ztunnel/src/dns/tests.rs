use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use mesh::store::Store;
use mesh::workload::Workload;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use telemetry::dns::{DnsMetrics, Transport};

use super::{Outcome, Settings, decide, read, unanswered};

/// A client, and a mesh that knows no name.
struct World {
    registry: Registry,
    settings: Settings,
    store: Store,
    client: Workload,
}

impl World {
    fn new() -> Self {
        let mut registry = Registry::default();
        let message = proto::workload::Workload {
            uid: "u".into(),
            name: "web".into(),
            namespace: "shop".into(),
            service_account: "web".into(),
            canonical_name: "web".into(),
            ..Default::default()
        };
        Self {
            settings: Settings {
                cluster_domain: "cluster.local".into(),
                resolvers: vec![],
                metrics: DnsMetrics::register(&mut registry),
            },
            registry,
            store: Store::default(),
            client: Workload::try_from(message).unwrap(),
        }
    }

    /// The answer to a query when no resolver behind us gives one.
    fn ask(&self, query: &Message) -> Message {
        let query = read(&query.to_vec().unwrap()).unwrap();
        let transport = Transport::Udp;
        let outcome = decide(&self.settings, &self.store, &self.client, &query, transport);
        let Outcome::Elsewhere(counted) = outcome else {
            panic!("answered by the mesh");
        };
        let answer = unanswered(&self.settings, &query, counted, transport).unwrap();
        assert!(answer.len() <= 512);
        Message::from_vec(&answer).unwrap()
    }

    fn count(&self, metric: &str, kind: &str) -> Option<u64> {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let label = format!("request_query_type=\"{kind}\"");
        let line = text
            .lines()
            .find(|line| line.starts_with(metric) && line.contains(&label))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }
}

fn query(name: &str, kinds: &[RecordType]) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    for kind in kinds {
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), *kind));
    }
    message
}

#[test]
fn every_type_of_query_is_counted_where_it_goes() {
    let world = World::new();
    for (kind, name) in [
        (RecordType::A, "a"),
        (RecordType::TXT, "txt"),
        (RecordType::SRV, "srv"),
    ] {
        world.ask(&query("example.org.", &[kind]));
        for metric in [
            "dns_requests_total",
            "dns_upstream_requests_total",
            "dns_upstream_failures_total",
        ] {
            assert_eq!(world.count(metric, name), Some(1), "{metric} {name}");
        }
    }
}

#[test]
fn a_client_hears_servfail_when_no_resolver_answers() {
    let world = World::new();
    for kinds in [
        &[RecordType::A][..],
        &[RecordType::MX],
        &[],
        &[RecordType::A, RecordType::AAAA],
    ] {
        let answer = world.ask(&query("example.org.", kinds));
        assert_eq!(answer.metadata.id, 7);
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(answer.metadata.recursion_desired);
    }
    let name = format!("{0}.{0}.{0}.", "x".repeat(60));
    let answer = world.ask(&query(&name, &[RecordType::A; 40]));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let mut update = query("example.org.", &[RecordType::A]);
    update.metadata.op_code = OpCode::Notify;
    let answer = world.ask(&update);
    assert_eq!(answer.metadata.op_code, OpCode::Notify);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}
