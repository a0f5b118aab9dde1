use proto::workload as wire;

use crate::fixtures::{service, waypoint, workload};
use crate::service::Service;
use crate::workload::{TunnelProtocol, Workload};

fn refused<T, M>(message: M) -> String
where
    T: TryFrom<M, Error = super::Rejected> + std::fmt::Debug,
{
    T::try_from(message).unwrap_err().to_string()
}

#[test]
fn defaults_of_the_wire_are_filled_in() {
    let message = wire::Workload {
        uid: "u".into(),
        namespace: "shop".into(),
        ..wire::Workload::default()
    };
    let workload = Workload::try_from(message).unwrap();
    assert_eq!(
        workload.identity.as_str(),
        "spiffe://cluster.local/ns/shop/sa/default"
    );
    assert_eq!(&*workload.cluster_id, "Kubernetes");
    assert_eq!(workload.capacity, 1);
    assert_eq!(workload.tunnel_protocol, TunnelProtocol::Tcp);
}

#[test]
fn a_service_is_called_only_what_it_can_be_removed_by() {
    for (namespace, hostname) in [("", "a"), ("shop", ""), ("sh/op", "a"), ("shop", "a/b")] {
        let bad = wire::Service {
            namespace: namespace.into(),
            hostname: hostname.into(),
            ..wire::Service::default()
        };
        let why = refused::<Service, _>(bad);
        assert!(why.starts_with("hostname: "), "{why}");
    }
}

#[test]
fn a_rejection_names_the_field() {
    let mut bad = workload("cart", "10.1.0.2");
    bad.addresses.push(bytes::Bytes::from_static(b"abc"));
    assert_eq!(
        refused::<Workload, _>(bad),
        "addresses[1]: an address has 4 or 16 bytes, not 3"
    );

    let mut bad = workload("cart", "10.1.0.2");
    bad.services
        .insert("nonsense".into(), wire::PortList::default());
    assert_eq!(
        refused::<Workload, _>(bad),
        "services[nonsense]: the key is not namespace/hostname"
    );

    let mut bad = service("cart", "10.2.0.1");
    bad.ports[0].service_port = 70_000;
    assert_eq!(
        refused::<Service, _>(bad),
        "ports[0].service_port: 70000 is no port number"
    );

    let mut bad = service("cart", "10.2.0.1");
    bad.waypoint = Some(wire::GatewayAddress {
        hbone_mtls_port: 0,
        ..waypoint("w")
    });
    assert_eq!(
        refused::<Service, _>(bad),
        "waypoint.hbone_mtls_port: the port is missing"
    );

    let mut bad = service("cart", "10.2.0.1");
    bad.addresses[0].length = Some(33);
    assert_eq!(
        refused::<Service, _>(bad),
        "addresses[0]: no such prefix length"
    );
}

#[test]
fn sidecar_mtls_and_unknown_tunnels_are_refused_rather_than_sent_plainly() {
    let mut bad = workload("cart", "10.1.0.2");
    bad.tunnel_protocol = wire::TunnelProtocol::LegacyIstioMtls.into();
    assert_eq!(
        refused::<Workload, _>(bad.clone()),
        "tunnel_protocol: sidecar mTLS is not spoken here"
    );
    bad.tunnel_protocol = 7;
    assert_eq!(
        refused::<Workload, _>(bad),
        "tunnel_protocol: 7 is not one we know"
    );
}

#[test]
fn an_identity_that_is_no_spiffe_id_is_refused() {
    let mut bad = workload("cart", "10.1.0.2");
    bad.service_account = "a b".into();
    assert!(refused::<Workload, _>(bad).starts_with("service_account: "));
}
