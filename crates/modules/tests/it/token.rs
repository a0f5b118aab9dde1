//! The real registry with tokens, from a token server of the test.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use modules::{Credentials, Phase};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

use crate::registry::{Pki, Registry, push};
use crate::server::{Server, answer};
use crate::{MODULE, fetch, request};

/// Signs what the registry believes.
struct Issuer {
    key: EncodingKey,
    certificate: String,
    pem: String,
}

impl Issuer {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        Self {
            key: EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap(),
            certificate: STANDARD.encode(certificate.der()),
            pem: certificate.pem(),
        }
    }

    /// A token for what one scope says, `repository:NAME:ACTIONS`.
    fn token(&self, scope: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut parts = scope.splitn(3, ':');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (kind, name, actions) = (part(), part(), part());
        let actions: Vec<_> = actions.split(',').collect();
        let claims = json!({
            "iss": "tests", "sub": "cairn", "aud": "registry", "jti": fastrand::u64(..).to_string(),
            "iat": now - 60, "nbf": now - 60, "exp": now + 300,
            "access": [{"type": kind, "name": name, "actions": actions}],
        });
        let mut header = Header::new(Algorithm::ES256);
        header.x5c = Some(vec![self.certificate.clone()]);
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

fn query(path: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(&format!("http://x{path}")).unwrap();
    let found = url.query_pairs().find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_token_is_got_with_the_credentials_and_shown_to_the_registry() {
    let pki = Pki::new();
    let issuer = Arc::new(Issuer::new());
    let scopes = Arc::new(Mutex::new(vec![]));
    let (signs, asked_for) = (Arc::clone(&issuer), Arc::clone(&scopes));
    let basic = format!("Basic {}", STANDARD.encode("cairn:secret"));
    let tokens = Server::start_tls(pki.server(), move |seen, wire| {
        let form = format!("/?{}", String::from_utf8_lossy(&seen.body));
        let from = if seen.method == "POST" {
            &form
        } else {
            &seen.path
        };
        let is_known = seen.headers.get("authorization") == Some(&basic)
            || query(from, "refresh_token").as_deref() == Some("identity");
        if !is_known {
            return answer(wire, 401, &[], b"");
        }
        assert_eq!(query(from, "service").as_deref(), Some("registry"));
        let scope = query(from, "scope").unwrap();
        let body = json!({"token": signs.token(&scope)}).to_string();
        asked_for.lock().push(scope);
        answer(
            wire,
            200,
            &[("content-type", "application/json")],
            body.as_bytes(),
        );
    });
    std::fs::write(pki.file("issuer.pem"), &issuer.pem).unwrap();
    let auth = format!(
        "auth:\n  token: {{realm: 'https://{}/token', service: registry, issuer: tests, \
         rootcertbundle: {}}}\n",
        tokens.address,
        pki.file("issuer.pem").display()
    );
    let Some(registry) = Registry::start(&(pki.tls() + &auth)) else {
        return;
    };
    let image = registry.image("team/filter:v1");
    let host = registry.address.to_string();
    let good = Credentials::basic(&host, "cairn", "secret");
    push(pki.settings(), &image, MODULE, &good).await.unwrap();
    assert!(
        scopes.lock().iter().any(|scope| scope.ends_with("push")),
        "{scopes:?}"
    );

    scopes.lock().clear();
    let mut asked = request(&image);
    let identity = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"identity"}}}}}}"#);
    let identity = Credentials::from_docker_config(identity.as_bytes()).unwrap();
    let ready = issuer.token("repository:team/filter:pull");
    let ready = format!(r#"{{"auths":{{"{host}":{{"registrytoken":"{ready}"}}}}}}"#);
    let ready = Credentials::from_docker_config(ready.as_bytes()).unwrap();
    for credentials in [good, identity, ready] {
        asked.credentials = credentials;
        assert_eq!(
            &fetch(pki.settings(), &asked).await.unwrap().bytes[..],
            MODULE
        );
    }
    assert_eq!(*scopes.lock(), ["repository:team/filter:pull"; 2]);

    asked.credentials = Credentials::none();
    let error = fetch(pki.settings(), &asked).await.unwrap_err();
    assert_eq!(error.phase, Phase::Authenticate);
    assert!(
        error
            .to_string()
            .contains("no credentials for this registry"),
        "{error}"
    );
}
