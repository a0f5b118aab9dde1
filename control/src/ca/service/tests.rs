use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{Certified, PrivateKey};
use mesh::spiffe::SpiffeId;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use proto::ca::IstioCertificateRequest;
use proto::ca::istio_certificate_service_server::IstioCertificateService;
use tonic::{Code, Request, Status};

use super::{CaService, CaSettings, IMPERSONATED_IDENTITY};
use crate::ca::fixture::Mesh;

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

fn service(mesh: &Mesh) -> CaService {
    CaService::new(
        Arc::clone(&mesh.authority),
        Arc::clone(&mesh.tokens) as _,
        Arc::clone(&mesh.pods) as _,
        CaSettings::default(),
    )
}

fn metadata(value: Kind) -> Struct {
    let value = Value { kind: Some(value) };
    Struct {
        fields: BTreeMap::from([(IMPERSONATED_IDENTITY.to_owned(), value)]),
    }
}

fn impersonate(id: &str) -> Struct {
    metadata(Kind::StringValue(id.to_owned()))
}

/// Asks with this token for a certificate; the request's own SAN is the cart's, always.
async fn ask(
    service: &CaService,
    token: Option<&str>,
    metadata: Option<Struct>,
) -> Result<(PrivateKey, Vec<String>), Status> {
    let key = PrivateKey::generate().unwrap();
    let csr = key.signing_request(&CART.parse().unwrap()).unwrap();
    let mut request = Request::new(IstioCertificateRequest {
        csr,
        validity_duration: 0,
        metadata,
    });
    if let Some(token) = token {
        let header = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", header);
    }
    let answer = service.create_certificate(request).await?;
    Ok((key, answer.into_inner().cert_chain))
}

#[track_caller]
fn assert_is(id: &str, (key, answer): (PrivateKey, Vec<String>)) {
    let id: SpiffeId = id.parse().unwrap();
    Certified::new(&id, &key, &answer, &[]).unwrap();
}

#[tokio::test]
async fn c_04_a_caller_is_certified_as_itself_whatever_its_request_says() {
    let mesh = Mesh::new();
    let token = mesh.token("shop", "waypoint-1");
    for nothing in [
        None,
        Some(impersonate("")),
        Some(metadata(Kind::NullValue(0))),
    ] {
        let answer = ask(&service(&mesh), Some(&token), nothing).await.unwrap();
        assert_is("spiffe://cluster.local/ns/shop/sa/waypoint", answer);
    }
}

#[tokio::test]
async fn c_05_a_node_proxy_is_certified_for_its_pods() {
    let mesh = Mesh::new();
    let token = mesh.token("istio-system", "ztunnel-1");
    let answer = ask(&service(&mesh), Some(&token), Some(impersonate(CART)))
        .await
        .unwrap();
    assert_is(CART, answer);
}

#[tokio::test]
async fn c_05_a_refusal_of_impersonation_says_nothing() {
    let mesh = Mesh::new();
    let service = service(&mesh);
    let (near, far, cart) = (
        mesh.token("istio-system", "ztunnel-1"),
        mesh.token("istio-system", "ztunnel-2"),
        mesh.token("shop", "cart-1"),
    );
    for (token, wanted) in [
        (&far, impersonate(CART)),
        (&cart, impersonate(CART)),
        (
            &near,
            impersonate("spiffe://cluster.local/ns/shop/sa/nobody"),
        ),
        (&near, impersonate("garbage")),
        (&near, metadata(Kind::BoolValue(true))),
    ] {
        let refused = ask(&service, Some(token), Some(wanted)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(
            refused.message(),
            "request impersonation authentication failure"
        );
    }
}

#[tokio::test]
async fn c_02_bad_credentials_get_no_reason() {
    let mesh = Mesh::new();
    let service = service(&mesh);
    let token = mesh.token("shop", "cart-1");
    mesh.pods.remove("shop", "cart-1");
    for token in [None, Some("garbage"), Some(token.as_str())] {
        let refused = ask(&service, token, None).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(refused.message(), "request authenticate failure");
    }
}

#[tokio::test]
async fn a_bad_request_is_told_what_is_wrong_with_it() {
    let mesh = Mesh::new();
    let mut request = Request::new(IstioCertificateRequest {
        csr: "garbage".to_owned(),
        ..Default::default()
    });
    let header = format!("Bearer {}", mesh.token("shop", "cart-1"))
        .parse()
        .unwrap();
    request.metadata_mut().insert("authorization", header);
    let refused = service(&mesh)
        .create_certificate(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().starts_with("CSR signing error ("),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn c_07_a_node_that_asks_too_often_is_slowed_down() {
    let mesh = Mesh::new();
    let service = service(&mesh);
    let (near, far) = (
        mesh.token("shop", "cart-1"),
        mesh.token("shop", "waypoint-1"),
    );
    for _ in 0..100 {
        ask(&service, Some(&near), None).await.unwrap();
    }
    let refused = ask(&service, Some(&near), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    ask(&service, Some(&far), None).await.unwrap();
}
