use mesh::spiffe::SpiffeId;

use super::{Refused, TrustedAccounts, check};
use crate::ca::fixture::{Mesh, pod};
use crate::ca::{Authenticated, Pod, ServiceAccount, TokenReviewer};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

async fn caller(mesh: &Mesh, namespace: &str, name: &str) -> Authenticated {
    let token = mesh.token(namespace, name);
    mesh.tokens
        .review(&token.as_str().into(), "istio-ca")
        .await
        .unwrap()
}

fn impersonate(mesh: &Mesh, caller: &Authenticated, wanted: &str) -> Result<SpiffeId, Refused> {
    let trusted = TrustedAccounts::from([ServiceAccount::new("istio-system", "ztunnel")]);
    check(caller, wanted, "cluster.local", &trusted, &*mesh.pods)
}

#[tokio::test]
async fn c_05_a_node_proxy_may_stand_for_the_pods_of_its_node() {
    let mesh = Mesh::new();
    let ztunnel = caller(&mesh, "istio-system", "ztunnel-1").await;
    assert_eq!(impersonate(&mesh, &ztunnel, CART).unwrap().as_str(), CART);
}

#[tokio::test]
async fn c_05_not_for_pods_of_another_node() {
    let mesh = Mesh::new();
    let ztunnel = caller(&mesh, "istio-system", "ztunnel-2").await;
    let refused = impersonate(&mesh, &ztunnel, CART).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no live pod of shop/cart is on node node-2"
    );
}

#[tokio::test]
async fn c_05_not_after_the_last_pod_is_gone() {
    let mesh = Mesh::new();
    let ztunnel = caller(&mesh, "istio-system", "ztunnel-1").await;
    mesh.pods.remove("shop", "cart-1");
    let refused = impersonate(&mesh, &ztunnel, CART).unwrap_err();
    assert!(matches!(refused, Refused::NotThere { .. }), "{refused}");
}

#[tokio::test]
async fn c_05_nobody_else_may_stand_for_anyone() {
    let mesh = Mesh::new();
    for (namespace, name) in [("shop", "cart-1"), ("shop", "waypoint-1")] {
        let caller = caller(&mesh, namespace, name).await;
        let refused = impersonate(&mesh, &caller, CART).unwrap_err();
        assert!(matches!(refused, Refused::Account(_)), "{refused}");
    }
    // The name alone is no trusted account.
    mesh.pods.put("shop", "fake-1", pod("ztunnel", "node-1"));
    let fake = caller(&mesh, "shop", "fake-1").await;
    assert!(matches!(
        impersonate(&mesh, &fake, CART),
        Err(Refused::Account(_))
    ));
}

#[tokio::test]
async fn c_05_the_callers_pod_is_still_the_same() {
    let mesh = Mesh::new();
    let ztunnel = caller(&mesh, "istio-system", "ztunnel-1").await;
    let own = pod("ztunnel", "node-1");
    for other in [
        Pod {
            uid: "another".into(),
            ..own.clone()
        },
        Pod {
            service_account: "other".into(),
            ..own.clone()
        },
    ] {
        mesh.pods.put("istio-system", "ztunnel-1", other);
        assert!(matches!(
            impersonate(&mesh, &ztunnel, CART),
            Err(Refused::Caller)
        ));
    }
    mesh.pods
        .put("istio-system", "ztunnel-1", Pod { node: None, ..own });
    assert!(matches!(
        impersonate(&mesh, &ztunnel, CART),
        Err(Refused::NoNode)
    ));
    mesh.pods.remove("istio-system", "ztunnel-1");
    assert!(matches!(
        impersonate(&mesh, &ztunnel, CART),
        Err(Refused::Caller)
    ));
}

#[tokio::test]
async fn c_05_the_identity_is_a_workloads_of_this_mesh() {
    let mesh = Mesh::new();
    let ztunnel = caller(&mesh, "istio-system", "ztunnel-1").await;
    for foreign in [
        "spiffe://other.example/ns/shop/sa/cart",
        "spiffe://cluster.local/ns/shop/sa/cart/more",
        "spiffe://cluster.local/shop/cart",
    ] {
        let refused = impersonate(&mesh, &ztunnel, foreign).unwrap_err();
        assert!(
            matches!(refused, Refused::Foreign(_)),
            "{foreign}: {refused}"
        );
    }
    for invalid in [
        "cart",
        "spiffe://cluster.local/ns/shop/sa/cart,spiffe://x",
        "",
    ] {
        let refused = impersonate(&mesh, &ztunnel, invalid).unwrap_err();
        assert!(
            matches!(refused, Refused::Invalid(_)),
            "{invalid}: {refused}"
        );
    }
}
