use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;

use super::{
    AUDIENCE, BearerToken, KEY, LocalTokens, Refused, ServiceAccount, TOKEN_LIFETIME, TokenReviewer,
};
use crate::ca::fixture::{Mesh, pod};

async fn review(mesh: &Mesh, token: &str) -> Result<super::Authenticated, Refused> {
    mesh.tokens.review(&token.into(), AUDIENCE).await
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap()
}

/// Signs claims with the mesh's own key, or with another.
fn sign(mesh: &Mesh, claims: &Value, forged: bool) -> String {
    let pem = if forged {
        KeyPair::generate().unwrap().serialize_pem()
    } else {
        std::fs::read_to_string(mesh.folder.path().join(KEY)).unwrap()
    };
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &key).unwrap()
}

#[tokio::test]
async fn recognises_its_own_token() {
    let mesh = Mesh::new();
    let token = mesh.token("shop", "cart-1");
    let caller = review(&mesh, &token).await.unwrap();
    assert_eq!(caller.account, ServiceAccount::new("shop", "cart"));
    assert_eq!(caller.pod.name, "cart-1");
    assert_eq!(caller.node.as_deref(), Some("node-1"));
    let left = caller.expires.duration_since(SystemTime::now()).unwrap();
    assert!(left <= TOKEN_LIFETIME && left + Duration::from_mins(1) > TOKEN_LIFETIME);
}

#[tokio::test]
async fn a_token_looks_as_the_kubelet_projects_it() {
    let mesh = Mesh::new();
    let claims = claims(&mesh.token("shop", "cart-1"));
    assert_eq!(claims["aud"], json!(["istio-ca"]));
    assert_eq!(claims["sub"], "system:serviceaccount:shop:cart");
    assert_eq!(
        claims["kubernetes.io"],
        json!({
            "namespace": "shop",
            "node": {"name": "node-1"},
            "pod": {"name": "cart-1", "uid": "uid-cart-node-1"},
            "serviceaccount": {"name": "cart"},
        })
    );
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lifetime, 43_200);
}

#[tokio::test]
async fn tokens_outlive_a_restart_of_control() {
    let mesh = Mesh::new();
    let token = mesh.token("shop", "cart-1");
    let again = LocalTokens::open(mesh.folder.path(), Arc::clone(&mesh.pods) as _).unwrap();
    again
        .review(&token.as_str().into(), AUDIENCE)
        .await
        .unwrap();
    let key = std::fs::metadata(mesh.folder.path().join(KEY)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn c_02_a_token_for_another_audience_is_refused() {
    let mesh = Mesh::new();
    let other = mesh
        .tokens
        .issue(&mesh.subject("shop", "cart-1"), "vault")
        .unwrap();
    let refused = review(&mesh, other.token.expose()).await.unwrap_err();
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
}

#[tokio::test]
async fn c_02_forged_expired_and_foreign_tokens_are_refused() {
    let mesh = Mesh::new();
    let good = claims(&mesh.token("shop", "cart-1"));
    review(&mesh, &sign(&mesh, &good, false)).await.unwrap();
    review(&mesh, &sign(&mesh, &good, true)).await.unwrap_err();
    let now = good["iat"].as_u64().unwrap();
    for (field, value) in [
        ("exp", json!(now - 1)),
        ("nbf", json!(now + 600)),
        ("iss", json!("https://elsewhere")),
        ("aud", json!([])),
        ("sub", json!("system:serviceaccount:shop:admin")),
        ("kubernetes.io", json!({"namespace": "shop"})),
    ] {
        let mut claims = good.clone();
        claims[field] = value;
        review(&mesh, &sign(&mesh, &claims, false))
            .await
            .expect_err(field);
        claims.as_object_mut().unwrap().remove(field);
        review(&mesh, &sign(&mesh, &claims, false))
            .await
            .expect_err(field);
    }
    for garbage in ["", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        review(&mesh, garbage).await.unwrap_err();
    }
}

#[tokio::test]
async fn c_02_another_algorithm_is_refused() {
    let mesh = Mesh::new();
    let good = claims(&mesh.token("shop", "cart-1"));
    // The public key as a shared secret: the oldest trick there is.
    let pem = std::fs::read_to_string(mesh.folder.path().join(KEY)).unwrap();
    let public = KeyPair::from_pem(&pem).unwrap().public_key_pem();
    let key = EncodingKey::from_secret(public.as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good, &key).unwrap();
    review(&mesh, &token).await.unwrap_err();
}

#[tokio::test]
async fn c_02_a_token_dies_with_its_pod() {
    let mesh = Mesh::new();
    let token = mesh.token("shop", "cart-1");
    let cart = pod("cart", "node-1");
    for other in [
        super::super::Pod {
            uid: "another".into(),
            ..cart.clone()
        },
        super::super::Pod {
            service_account: "other".into(),
            ..cart.clone()
        },
        super::super::Pod {
            node: Some("node-2".into()),
            ..cart.clone()
        },
        super::super::Pod {
            node: None,
            ..cart.clone()
        },
    ] {
        mesh.pods.put("shop", "cart-1", other);
        let refused = review(&mesh, &token).await.unwrap_err();
        assert!(matches!(refused, Refused::Pod { .. }), "{refused}");
    }
    mesh.pods.put("shop", "cart-1", cart);
    review(&mesh, &token).await.unwrap();
    mesh.pods.remove("shop", "cart-1");
    let refused = review(&mesh, &token).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the token's pod shop/cart-1 is gone or another one now"
    );
}

#[test]
fn reads_the_bearer_token_of_a_request() {
    let read = |value: &str| {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value.parse().unwrap());
        BearerToken::from_metadata(&metadata).map(|token| token.expose().to_owned())
    };
    assert_eq!(read("Bearer abc").unwrap(), "abc");
    assert_eq!(read("bearer abc").unwrap(), "abc");
    for wrong in [
        "",
        "abc",
        "Basic abc",
        &format!("Bearer {}", "x".repeat(20_000)),
    ] {
        assert!(matches!(read(wrong), Err(Refused::Missing)), "{wrong}");
    }
    assert!(BearerToken::from_metadata(&MetadataMap::new()).is_err());
}

#[test]
fn k_03_a_token_is_never_shown() {
    let mesh = Mesh::new();
    let token = mesh
        .tokens
        .issue(&mesh.subject("shop", "cart-1"), AUDIENCE)
        .unwrap();
    let shown = format!("{token:?} {:?}", mesh.tokens);
    assert!(
        !shown.contains(token.token.expose()) && shown.contains("<redacted>"),
        "{shown}"
    );
}

#[test]
fn reads_service_accounts() {
    let account: ServiceAccount = "istio-system/ztunnel".parse().unwrap();
    assert_eq!(account, ServiceAccount::new("istio-system", "ztunnel"));
    for wrong in ["", "ztunnel", "/ztunnel", "istio-system/", "a/b/c"] {
        let error = wrong.parse::<ServiceAccount>().unwrap_err();
        assert!(
            error.to_string().contains("write namespace/name"),
            "{error}"
        );
    }
}
