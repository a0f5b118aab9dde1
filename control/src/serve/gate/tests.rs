use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::core::v3::Node;
use proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, POLICY_TYPE, ROUTE_TYPE};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Status};
use xds::server::{Embedder, Grant};

use super::{Audience, Gate, Peer};
use crate::ca::fixture::{Mesh, pod};
use crate::ca::{CaSettings, Pod};
use crate::serve::Catalogs;
use crate::translate::WaypointName;

fn gate(mesh: &Mesh) -> Gate {
    Gate::new(
        Arc::clone(&mesh.tokens) as _,
        Arc::clone(&mesh.pods) as _,
        CaSettings::default().trusted_node_accounts,
        Arc::<Catalogs>::default(),
    )
}

async fn enter(gate: &Gate, token: &str) -> Result<Grant<Peer>, Status> {
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
    gate.authenticate(&metadata, &Extensions::default()).await
}

async fn audience(mesh: &Mesh, namespace: &str, name: &str) -> Result<Audience, Code> {
    let entered = enter(&gate(mesh), &mesh.token(namespace, name)).await;
    entered
        .map(|grant| grant.peer.audience)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn c_03_what_a_proxy_is_follows_from_its_token_and_pod() {
    let mesh = Mesh::new();
    assert_eq!(
        audience(&mesh, "istio-system", "ztunnel-2").await,
        Ok(Audience::Ztunnel {
            node: Some("node-2".into())
        })
    );
    assert_eq!(
        audience(&mesh, "shop", "waypoint-1").await,
        Ok(Audience::Waypoint(WaypointName::new("shop", "waypoint")))
    );
}

#[tokio::test]
async fn c_03_workloads_are_told_nothing() {
    let mesh = Mesh::new();
    assert_eq!(
        audience(&mesh, "shop", "cart-1").await,
        Err(Code::PermissionDenied)
    );
    mesh.pods.put("shop", "fake-1", pod("ztunnel", "node-1"));
    assert_eq!(
        audience(&mesh, "shop", "fake-1").await,
        Err(Code::PermissionDenied)
    );
}

#[tokio::test]
async fn c_02_nobody_enters_without_a_good_token() {
    let mesh = Mesh::new();
    let gate = gate(&mesh);
    let without = gate
        .authenticate(&MetadataMap::new(), &Extensions::default())
        .await;
    for refused in [without, enter(&gate, "garbage").await] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(refused.message(), "authentication failure");
    }
}

#[tokio::test]
async fn c_03_an_audience_sees_its_own_types_alone() {
    let mesh = Mesh::new();
    let gate = gate(&mesh);
    let sees = async |namespace, name, url| {
        let grant = enter(&gate, &mesh.token(namespace, name)).await.unwrap();
        // What the node says of itself is not even looked at.
        let node = Node {
            id: "ztunnel~1.1.1.1~x.y~z".to_owned(),
            ..Node::default()
        };
        gate.view(&grant.peer, url, &node).is_some()
    };
    for (url, ztunnel, waypoint) in [
        (ADDRESS_TYPE, true, true),
        (AUTHORIZATION_TYPE, true, false),
        (ROUTE_TYPE, false, true),
        (POLICY_TYPE, false, true),
        (
            "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            false,
            false,
        ),
    ] {
        assert_eq!(
            sees("istio-system", "ztunnel-1", url).await,
            ztunnel,
            "{url}"
        );
        assert_eq!(sees("shop", "waypoint-1", url).await, waypoint, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn c_08_a_proxy_is_looked_at_again_every_ten_minutes() {
    let mesh = Mesh::new();
    let gate = gate(&mesh);
    let grant = enter(&gate, &mesh.token("shop", "waypoint-1"))
        .await
        .unwrap();
    let ten_minutes = Instant::now() + Duration::from_mins(10);
    assert_eq!(grant.recheck_at, Some(ten_minutes));
    assert_eq!(gate.recheck(&grant.peer).await.unwrap(), Some(ten_minutes));

    let other = Some(WaypointName::new("shop", "other"));
    mesh.pods.put(
        "shop",
        "waypoint-1",
        Pod {
            waypoint: other,
            ..pod("waypoint", "node-2")
        },
    );
    let refused = gate.recheck(&grant.peer).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    mesh.pods.remove("shop", "waypoint-1");
    let refused = gate.recheck(&grant.peer).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn k_03_a_peer_does_not_show_its_token() {
    let mesh = Mesh::new();
    let token = mesh.token("shop", "waypoint-1");
    let grant = enter(&gate(&mesh), &token).await.unwrap();
    assert!(!format!("{grant:?}").contains(&token));
}
