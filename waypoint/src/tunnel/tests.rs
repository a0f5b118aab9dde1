//! What a CONNECT may name.

use std::sync::Arc;

use prost::Message;
use proto::workload::{Address, NetworkAddress, Port, Service, Visibility, Workload, address};
use xds::client::{Handler, Resource, Update};

use super::{Refusal, resolve};
use crate::fixtures;
use crate::http::context::Destination;
use crate::state::{Snapshot, State, Writer};

fn snapshot() -> Arc<Snapshot> {
    let port = Port {
        service_port: 80,
        target_port: 8080,
        app_protocol: 1,
    };
    let service = |name: &str, ip: [u8; 4], waypoint| Service {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        hostname: format!("{name}.shop"),
        addresses: vec![NetworkAddress {
            address: ip.to_vec().into(),
            ..Default::default()
        }],
        ports: vec![port],
        waypoint,
        ..Default::default()
    };
    let ours = Some(fixtures::waypoint());
    let private = Service {
        visibility: Visibility::Namespace.into(),
        ..service("private", [10, 9, 0, 3], ours.clone())
    };
    let services = [
        service("cart", [10, 9, 0, 1], ours.clone()),
        service("bare", [10, 9, 0, 2], None),
        private,
    ];
    let pod = |name: &str, ip: [u8; 4], waypoint| Workload {
        uid: name.to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec![ip.to_vec().into()],
        waypoint,
        ..Default::default()
    };
    let pods = [
        pod("ours", [10, 1, 0, 1], ours),
        pod("bare", [10, 1, 0, 2], None),
    ];
    let all = services
        .map(|service| {
            (
                format!("shop/{}", service.hostname),
                address::Type::Service(service),
            )
        })
        .into_iter()
        .chain(pods.map(|pod| (pod.uid.clone(), address::Type::Workload(pod))));
    let updates = all.map(|(name, message)| {
        let bytes = Address {
            r#type: Some(message),
        }
        .encode_to_vec()
        .into();
        Update::Put(Resource {
            name,
            aliases: vec![],
            version: String::new(),
            bytes,
        })
    });
    let state = Arc::new(State::new(&fixtures::place()));
    let (mut writer, _loads) = Writer::new(Arc::clone(&state));
    assert!(
        writer
            .apply(proto::ADDRESS_TYPE, updates.collect())
            .is_empty()
    );
    state.current()
}

/// Names what an authority resolves to, for a client of `namespace`.
fn resolved(authority: &str, namespace: &str) -> String {
    match resolve(&snapshot(), &authority.parse().unwrap(), namespace) {
        Ok(Destination::Service(service, port)) => format!("service {} {port}", service.name),
        Ok(Destination::Workload(workload, port)) => format!("workload {} {port}", workload.uid),
        Err(refusal) => format!("{} {refusal}", refusal.status().as_u16()),
    }
}

#[test]
fn services_are_named_by_address_or_host_and_their_port() {
    assert_eq!(resolved("10.9.0.1:80", "web"), "service cart 80");
    assert_eq!(resolved("cart.shop:80", "web"), "service cart 80");
    assert_eq!(resolved("CART.shop.:80", "web"), "service cart 80");
    assert_eq!(resolved("[::ffff:10.9.0.1]:80", "web"), "service cart 80");
    assert_eq!(
        resolved("10.9.0.1:81", "web"),
        "404 the service has no port 81"
    );
}

#[test]
fn workloads_are_named_by_address_and_any_port() {
    assert_eq!(resolved("10.1.0.1:9999", "web"), "workload ours 9999");
}

#[test]
fn what_is_not_behind_this_waypoint_is_refused() {
    for authority in [
        "10.9.0.2:80",
        "bare.shop:80",
        "10.1.0.2:80",
        "10.2.3.4:80",
        "no.where:80",
    ] {
        let answer = resolved(authority, "web");
        assert!(
            answer.starts_with("404 no service or workload"),
            "{authority}: {answer}"
        );
    }
}

#[test]
fn a_service_for_its_own_namespace_is_not_there_for_others() {
    assert_eq!(resolved("private.shop:80", "shop"), "service private 80");
    assert!(resolved("private.shop:80", "web").starts_with("404"));
    assert!(resolved("10.9.0.3:80", "web").starts_with("404"));
}

#[test]
fn a_malformed_request_is_answered_as_ztunnel_does() {
    let rejected = hbone::server::Rejected::Method(http::Method::GET);
    assert_eq!(Refusal::from(rejected).status().as_u16(), 400);
}
