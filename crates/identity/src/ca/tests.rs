use std::time::Duration;

use mesh::spiffe::SpiffeId;
use prost_types::value::Kind;
use tonic::Status;
use tonic::metadata::AsciiMetadataValue;

use super::{CaClient, RequestShape};
use crate::channel::{ControlPlane, Roots, open_authenticated};
use crate::test_authority::TestAuthority;
use crate::test_control_plane::{Call, TestControlPlane, sign};
use crate::{Certified, Credentials, Error, Fetcher, Token};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const RATINGS: &str = "spiffe://cluster.local/ns/shop/sa/ratings";

/// Asks an authority that answers like this for a certificate of the cart.
async fn fetch(
    shape: RequestShape,
    answer: impl Fn(&TestAuthority, &Call) -> Result<Vec<String>, Status> + Send + Sync + 'static,
) -> (Result<Certified, Error>, TestControlPlane) {
    let authority = TestAuthority::new();
    let roots = Roots::Pem(authority.root_pem());
    let signer = TestAuthority::new();
    let server =
        TestControlPlane::start(&authority, "localhost", move |call| answer(&signer, call)).await;
    let control = ControlPlane {
        address: format!("https://localhost:{}", server.port),
        roots,
        alternative_name: None,
    };
    let credentials = Credentials::new(Token::None, AsciiMetadataValue::from_static("Kubernetes"));
    let client = CaClient::new(open_authenticated(&control, credentials).unwrap(), shape);
    let id: SpiffeId = CART.parse().unwrap();
    (client.fetch(&id).await, server)
}

#[tokio::test]
async fn obtains_a_certificate_for_itself() {
    let (certified, server) = fetch(RequestShape::default(), |signer, call| {
        Ok(sign(signer, call, CART))
    })
    .await;
    assert_eq!(certified.unwrap().id().as_str(), CART);
    let calls = server.calls.lock();
    assert_eq!(calls[0].message.validity_duration, 86_400);
    assert_eq!(calls[0].message.metadata, None);
}

#[tokio::test]
async fn names_whom_it_impersonates() {
    let shape = RequestShape {
        impersonate: true,
        validity: Duration::from_hours(1),
        ..RequestShape::default()
    };
    let (certified, server) = fetch(shape, |signer, call| Ok(sign(signer, call, CART))).await;
    certified.unwrap();
    let calls = server.calls.lock();
    assert_eq!(calls[0].message.validity_duration, 3600);
    let metadata = &calls[0].message.metadata.as_ref().unwrap().fields;
    assert_eq!(metadata.len(), 1);
    assert_eq!(
        metadata["ImpersonatedIdentity"].kind,
        Some(Kind::StringValue(CART.to_owned()))
    );
}

#[tokio::test]
async fn a_certificate_for_someone_else_is_refused() {
    let (certified, _server) = fetch(RequestShape::default(), |signer, call| {
        Ok(sign(signer, call, RATINGS))
    })
    .await;
    assert!(
        matches!(certified, Err(Error::Identity { .. })),
        "{certified:?}"
    );
}

#[tokio::test]
async fn an_answer_without_the_root_bundle_is_refused() {
    let (certified, _server) = fetch(RequestShape::default(), |signer, call| {
        Ok(sign(signer, call, CART).into_iter().take(1).collect())
    })
    .await;
    assert!(
        matches!(certified, Err(Error::NoRoots { .. })),
        "{certified:?}"
    );
}

#[tokio::test]
async fn a_refusal_is_passed_on() {
    let (certified, _server) = fetch(RequestShape::default(), |_, _| {
        Err(Status::unauthenticated("no such token"))
    })
    .await;
    let Err(Error::Authority { source, .. }) = certified else {
        panic!("{certified:?}")
    };
    assert_eq!(source.message(), "no such token");
}
