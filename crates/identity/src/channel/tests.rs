use std::path::PathBuf;

use proto::ca::IstioCertificateRequest;
use proto::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};

use super::{ControlPlane, Roots, open, open_authenticated};
use crate::test_authority::TestAuthority;
use crate::test_control_plane::TestControlPlane;
use crate::{Credentials, Error, Token};

const ISTIOD: &str = "istiod.istio-system.svc";

fn at(port: u16, authority: &TestAuthority) -> ControlPlane {
    ControlPlane {
        address: format!("https://localhost:{port}"),
        roots: Roots::Pem(authority.root_pem()),
        alternative_name: None,
    }
}

async fn ask(control: &ControlPlane) -> Result<Vec<String>, Status> {
    let mut client = IstioCertificateServiceClient::new(open(control).unwrap());
    let answer = client
        .create_certificate(IstioCertificateRequest::default())
        .await;
    answer.map(|answer| answer.into_inner().cert_chain)
}

fn whole_text(status: &Status) -> String {
    crate::error::with_causes(status)
}

async fn server(authority: &TestAuthority, name: &str) -> TestControlPlane {
    TestControlPlane::start(authority, name, |_| Ok(vec!["yes".to_owned()])).await
}

#[tokio::test]
async fn reaches_a_server_of_the_right_name() {
    let authority = TestAuthority::new();
    let server = server(&authority, "localhost").await;
    assert_eq!(ask(&at(server.port, &authority)).await.unwrap(), ["yes"]);
}

#[tokio::test]
async fn refuses_a_server_of_another_name_unless_it_is_the_alternative() {
    let authority = TestAuthority::new();
    let server = server(&authority, ISTIOD).await;
    let mut control = at(server.port, &authority);
    let refused = whole_text(&ask(&control).await.unwrap_err());
    assert!(
        refused.contains(ISTIOD) && refused.contains("localhost"),
        "{refused}"
    );
    control.alternative_name = Some("istiod.elsewhere.svc".to_owned());
    ask(&control).await.unwrap_err();
    control.alternative_name = Some(ISTIOD.to_owned());
    assert_eq!(ask(&control).await.unwrap(), ["yes"]);
    control.address = format!("127.0.0.1:{}", server.port);
    assert_eq!(
        ask(&control).await.unwrap(),
        ["yes"],
        "an address without a scheme is https"
    );
    assert!(
        server.calls.lock().len() == 2,
        "a refused server hears nothing"
    );
}

#[tokio::test]
async fn refuses_a_server_of_another_root() {
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    let server = server(&stranger, "localhost").await;
    let refused = whole_text(&ask(&at(server.port, &authority)).await.unwrap_err());
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    assert!(server.calls.lock().is_empty());
}

/// A file that goes with the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("cairn-{name}-{}", std::process::id())))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A test that never wrote it is fine.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn the_root_file_is_read_at_every_connect() {
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    let server = server(&authority, "localhost").await;
    let file = TempFile::new("roots");
    let control = ControlPlane {
        roots: Roots::File(file.0.clone()),
        ..at(server.port, &authority)
    };
    let mut client = IstioCertificateServiceClient::new(open(&control).unwrap());
    let mut ask = async || {
        let answer = client
            .create_certificate(IstioCertificateRequest::default())
            .await;
        answer.map(|_| ()).map_err(|status| whole_text(&status))
    };
    let missing = ask().await.unwrap_err();
    assert!(missing.contains(file.0.to_str().unwrap()), "{missing}");
    std::fs::write(&file.0, stranger.root_pem()).unwrap();
    assert!(ask().await.unwrap_err().contains("UnknownIssuer"));
    std::fs::write(&file.0, stranger.root_pem() + &authority.root_pem()).unwrap();
    ask().await.unwrap();
}

#[tokio::test]
async fn connects_again_after_the_server_went_away() {
    let authority = TestAuthority::new();
    let first = server(&authority, "localhost").await;
    let port = first.port;
    let mut client = IstioCertificateServiceClient::new(open(&at(port, &authority)).unwrap());
    client
        .create_certificate(IstioCertificateRequest::default())
        .await
        .unwrap();
    first.stop().await;
    let address = ([127, 0, 0, 1], port).into();
    let _second =
        TestControlPlane::start_at(address, &authority, "localhost", |_| Ok(Vec::new())).await;
    // The first call may still find the old connection.
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(
            client
                .create_certificate(IstioCertificateRequest::default())
                .await
                .is_ok(),
        );
    }
    assert!(answers[1], "{answers:?}");
}

#[tokio::test]
async fn every_call_carries_the_credentials() {
    let authority = TestAuthority::new();
    let server = server(&authority, "localhost").await;
    let credentials = Credentials::new(
        Token::Literal("t0ken".to_owned()),
        AsciiMetadataValue::from_static("Kubernetes"),
    );
    let channel = open_authenticated(&at(server.port, &authority), credentials).unwrap();
    let mut client = IstioCertificateServiceClient::new(channel);
    client
        .create_certificate(IstioCertificateRequest::default())
        .await
        .unwrap();
    let calls = server.calls.lock();
    assert_eq!(
        calls[0].metadata.get("authorization").unwrap(),
        "Bearer t0ken"
    );
    assert_eq!(calls[0].metadata.get("clusterid").unwrap(), "Kubernetes");
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let refused = ask(&at(1, &TestAuthority::new())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn addresses_are_https_with_host_and_port() {
    let authority = TestAuthority::new();
    for (address, reason) in [
        ("http://istiod:15012", "https only"),
        ("https://istiod", "port is missing"),
        ("not an address", "write https://host:port"),
        ("https://", "write https://host:port"),
        ("https://under_score..:1", "neither a DNS name nor an IP"),
    ] {
        let control = ControlPlane {
            address: address.to_owned(),
            ..at(1, &authority)
        };
        let error = open(&control).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Address { .. }), "{address}: {error}");
        assert!(error.to_string().contains(reason), "{address}: {error}");
    }
    for address in [
        "https://[::1]:15012",
        "istiod.istio-system.svc:15012",
        "https://10.0.0.1:1/",
    ] {
        let control = ControlPlane {
            address: address.to_owned(),
            ..at(1, &authority)
        };
        open(&control).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
}
