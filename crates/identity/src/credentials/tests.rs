use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;

use super::{Credentials, Token};

fn header(credentials: &mut Credentials, name: &str) -> Option<String> {
    let request = credentials.call(Request::new(())).unwrap();
    request
        .metadata()
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
}

fn cluster() -> AsciiMetadataValue {
    AsciiMetadataValue::from_static("Kubernetes")
}

#[test]
fn k_03_the_token_file_is_read_for_every_call() {
    let path = std::env::temp_dir().join(format!("cairn-token-{}", std::process::id()));
    let mut credentials = Credentials::new(Token::File(path.clone()), cluster());
    for token in ["first", "second\n"] {
        std::fs::write(&path, token).unwrap();
        assert_eq!(
            header(&mut credentials, "authorization"),
            Some(format!("Bearer {}", token.trim()))
        );
    }
    std::fs::remove_file(&path).unwrap();
    let refused = credentials.call(Request::new(())).unwrap_err();
    assert!(
        refused.message().contains(path.to_str().unwrap()),
        "{refused}"
    );
}

#[test]
fn sends_the_cluster_and_what_was_configured() {
    let mut credentials = Credentials::new(Token::None, cluster()).with_header(
        "x-tenant".parse().unwrap(),
        AsciiMetadataValue::from_static("blue"),
    );
    assert_eq!(
        header(&mut credentials, "clusterid").as_deref(),
        Some("Kubernetes")
    );
    assert_eq!(
        header(&mut credentials, "x-tenant").as_deref(),
        Some("blue")
    );
    assert_eq!(header(&mut credentials, "authorization"), None);
}

#[test]
fn k_03_the_token_is_never_shown() {
    let mut credentials = Credentials::new(Token::Literal("s3cret".to_owned()), cluster());
    assert!(!format!("{credentials:?}").contains("s3cret"));
    let request = credentials.call(Request::new(())).unwrap();
    assert!(!format!("{:?}", request.metadata()).contains("s3cret"));
    assert_eq!(
        header(&mut credentials, "authorization").as_deref(),
        Some("Bearer s3cret")
    );
}
