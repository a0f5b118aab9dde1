//! DNS messages of pods: every query has an answer that is its own and fits.
#![no_main]

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use cairn::world::resolver::{EndpointName, Target, Zone};
use hickory_proto::op::{Message, MessageType};
use libfuzzer_sys::fuzz_target;
use mesh::service::Service;
use mesh::store::Store;
use mesh::workload::Workload;
use proto::workload as wire;

fn service(hostname: &str, vips: &[[u8; 4]]) -> Service {
    let message = wire::Service {
        name: "s".into(),
        namespace: "shop".into(),
        hostname: hostname.into(),
        addresses: vips
            .iter()
            .map(|vip| wire::NetworkAddress {
                address: vip.to_vec().into(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    Service::try_from(message).expect("a service")
}

fn store() -> (Store, Workload) {
    let mut store = Store::default();
    let many: Vec<[u8; 4]> = (0..200).map(|n| [10, 2, 0, n]).collect();
    for (hostname, vips) in [
        ("cart.shop.svc.cluster.local", &[[10, 2, 1, 1]][..]),
        ("many.shop.svc.cluster.local", &many[..]),
        ("*.example.org", &[[240, 240, 0, 1]][..]),
    ] {
        store.upsert_service(service(hostname, vips));
    }
    let message = wire::Workload {
        uid: "u".into(),
        name: "web".into(),
        namespace: "shop".into(),
        service_account: "web".into(),
        ..Default::default()
    };
    (store, Workload::try_from(message).expect("a workload"))
}

fn zone() -> Zone {
    let endpoint = |ip: [u8; 4]| EndpointName {
        ip: ip.into(),
        hostname: Some("a".into()),
    };
    let services = [
        ("cart", Target::Vip([10, 2, 1, 1].into())),
        (
            "db",
            Target::Endpoints((0..100).map(|n| endpoint([10, 1, 0, n])).collect()),
        ),
        ("other", Target::Alias("cart.shop.svc.cluster.local".into())),
        ("loop", Target::Alias("loop.shop.svc.cluster.local".into())),
    ];
    let named = services.map(|(name, target)| (("shop".to_owned(), name.to_owned()), target));
    Zone {
        namespaces: BTreeSet::from(["shop".to_owned()]),
        services: BTreeMap::from(named),
    }
}

thread_local! {
    static MESH: LazyCell<(Store, Workload)> = const { LazyCell::new(store) };
    static ZONE: LazyCell<Zone> = const { LazyCell::new(zone) };
}

fuzz_target!(|query: &[u8]| {
    let asked = Message::from_vec(query);
    let answerable = asked
        .as_ref()
        .is_ok_and(|message| message.metadata.message_type == MessageType::Query);
    for udp in [true, false] {
        let answer = MESH.with(|mesh| ztunnel::fuzz::dns(&mesh.0, &mesh.1, query, udp));
        let Some(answer) = answer else {
            assert!(!answerable, "a client is left waiting");
            continue;
        };
        let limit = if udp { 512 } else { 65_535 };
        assert!(answer.len() <= limit, "{} bytes", answer.len());
        assert_eq!(answer[..2], query[..2], "somebody else's answer");
        let answer = Message::from_vec(&answer).expect("an answer decodes");
        assert_eq!(answer.metadata.message_type, MessageType::Response);
    }
    if let Ok(asked) = asked {
        let answer = ZONE.with(|zone| zone.answer(&asked, 1));
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        assert_eq!(answer.metadata.id, asked.metadata.id);
        drop(answer.to_vec());
    }
});
