//! Real handshakes in memory: ours on one side, a peer that may be wrong in any way on the other.

use std::net::Ipv4Addr;
use std::sync::Arc;

use mesh::spiffe::SpiffeId;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, DistinguishedName, NamedGroup, ServerConfig,
    SignatureScheme, SupportedCipherSuite,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Error, accept, connect};
use crate::error::with_causes;
use crate::test_authority::{HOUR, Leaf, TestAuthority};
use crate::verify::MAX_CHAIN;
use crate::{Certified, PrivateKey, crypto};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const RATINGS: &str = "spiffe://cluster.local/ns/shop/sa/ratings";
const H2: &[&[u8]] = &[b"h2"];

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// Believes anybody; for the peer under suspicion.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Gullible {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

fn lenient_client(key: Option<Arc<CertifiedKey>>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(crypto::provider())));
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

fn lenient_server(key: Arc<CertifiedKey>, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Gullible(crypto::provider())))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// What our server says to a client, having made sure that a refused one gets no data.
async fn call(server: &Certified, client: Arc<ClientConfig>) -> Result<SpiffeId, Error> {
    let (ours, theirs) = duplex(1 << 16);
    let client_side = Box::pin(async {
        let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut stream = TlsConnector::from(client).connect(name, theirs).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        Ok::<_, std::io::Error>(greeting)
    });
    let server_side = Box::pin(async {
        let (mut stream, peer) = accept(server.server_config(), ours).await?;
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        // The stream is kept until the other side has read.
        Ok((stream, peer))
    });
    let (heard, answered) = tokio::join!(client_side, server_side);
    assert_eq!(heard.is_ok(), answered.is_ok(), "heard {heard:?}");
    answered.map(|(_, peer)| peer)
}

/// What our client says to a server, having made sure that a refused one gets no data.
async fn answer(
    client: &Certified,
    expected: &[&str],
    server: Arc<ServerConfig>,
) -> Result<SpiffeId, Error> {
    let (ours, theirs) = duplex(1 << 16);
    let expected: Vec<_> = expected.iter().map(|text| id(text)).collect();
    let client_side = Box::pin(async {
        let (mut stream, peer) = connect(client.client_config(&expected), ours).await?;
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        Ok((stream, peer))
    });
    let server_side = Box::pin(async {
        let mut stream = TlsAcceptor::from(server).accept(theirs).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        Ok::<_, std::io::Error>(greeting)
    });
    let (called, heard) = tokio::join!(client_side, server_side);
    assert_eq!(heard.is_ok(), called.is_ok(), "heard {heard:?}");
    called.map(|(_, peer)| peer)
}

/// The key and chain of a peer with this leaf, signed by `authority`.
fn peer(authority: &TestAuthority, leaf: &Leaf) -> Arc<CertifiedKey> {
    let key = PrivateKey::generate().unwrap();
    key.certified(vec![authority.issue(leaf, &key)]).unwrap()
}

#[track_caller]
fn assert_refused(what: &str, result: Result<SpiffeId, Error>, expected: &str) {
    let text = with_causes(&result.expect_err(what));
    assert!(
        text.contains(expected),
        "{what}: `{text}` does not say `{expected}`"
    );
}

#[tokio::test]
async fn both_ends_learn_who_the_other_is() {
    let authority = TestAuthority::new();
    let (cart, ratings) = (authority.certify(CART), authority.certify(RATINGS));
    let (a, b) = duplex(1 << 16);
    let expected = [id("spiffe://cluster.local/ns/shop/sa/other"), id(RATINGS)];
    let (called, answered) = tokio::join!(
        connect(cart.client_config(&expected), a),
        accept(ratings.server_config(), b),
    );
    let ((client, server_id), (server, client_id)) = (called.unwrap(), answered.unwrap());
    assert_eq!((server_id, client_id), (id(RATINGS), id(CART)));

    let connection = client.get_ref().1;
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(
        connection
            .negotiated_cipher_suite()
            .map(|suite| suite.suite()),
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384)
    );
    assert_eq!(
        connection
            .negotiated_key_exchange_group()
            .map(SupportedKxGroup::name),
        Some(NamedGroup::X25519MLKEM768),
        "t_14: recorded traffic stays secret from quantum computers"
    );
    assert_eq!(server.get_ref().1.server_name(), None, "no SNI");
}

#[test]
fn t_01_t_14_suites_and_groups_are_these_in_this_order() {
    let provider = crypto::provider();
    let suites: Vec<_> = provider
        .cipher_suites
        .iter()
        .map(SupportedCipherSuite::suite)
        .collect();
    assert_eq!(
        suites,
        [
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS13_AES_128_GCM_SHA256
        ]
    );
    let groups: Vec<_> = provider
        .kx_groups
        .iter()
        .map(|group| group.name())
        .collect();
    assert_eq!(
        groups,
        [
            NamedGroup::X25519MLKEM768,
            NamedGroup::X25519,
            NamedGroup::secp256r1,
            NamedGroup::secp384r1
        ]
    );
}

#[tokio::test]
async fn an_intermediate_may_stand_between_leaf_and_root() {
    let root = TestAuthority::new();
    let intermediate = root.intermediate();
    let key = PrivateKey::generate().unwrap();
    let chain = vec![
        intermediate.issue(&Leaf::of(CART), &key),
        intermediate.certificate(),
    ];
    let client = lenient_client(Some(key.certified(chain).unwrap()), H2);
    assert_eq!(
        call(&root.certify(RATINGS), client).await.unwrap(),
        id(CART)
    );
}

#[tokio::test]
async fn t_07_a_server_takes_its_own_trust_domain_and_aliases_only() {
    let authority = TestAuthority::new();
    let foreign = "spiffe://other.example/ns/shop/sa/cart";
    let client = || lenient_client(Some(peer(&authority, &Leaf::of(foreign))), H2);
    assert_refused(
        "trust domain",
        call(&authority.certify(RATINGS), client()).await,
        "the peer spiffe://other.example/ns/shop/sa/cart is not of trust domain cluster.local",
    );
    let aliased = authority.certify_with_aliases(RATINGS, &["other.example".into()]);
    assert_eq!(call(&aliased, client()).await.unwrap(), id(foreign));
}

#[tokio::test]
async fn t_09_a_client_takes_the_expected_identity_only() {
    let authority = TestAuthority::new();
    let server = || lenient_server(peer(&authority, &Leaf::of(RATINGS)), H2);
    let cart = authority.certify(CART);
    assert_eq!(
        answer(&cart, &[RATINGS], server()).await.unwrap(),
        id(RATINGS)
    );
    assert_refused(
        "wrong SAN",
        answer(&cart, &[CART], server()).await,
        "identity verification error: peer did not present the expected SAN \
         (spiffe://cluster.local/ns/shop/sa/cart), got spiffe://cluster.local/ns/shop/sa/ratings",
    );
    assert_refused(
        "nobody expected",
        answer(&cart, &[], server()).await,
        "expected SAN ()",
    );
}

/// Every way to spoil a leaf that both ends refuse, and what is said about it.
fn spoiled_leaves() -> Vec<(&'static str, Leaf, &'static str)> {
    let spoil = |change: fn(&mut Leaf)| {
        let mut leaf = Leaf::of(RATINGS);
        change(&mut leaf);
        leaf
    };
    vec![
        (
            "t_03 two",
            spoil(|leaf| leaf.uris.push(CART.to_owned())),
            "has 2 URI SANs",
        ),
        (
            "t_03 none",
            spoil(|leaf| leaf.uris.clear()),
            "has no URI SAN",
        ),
        (
            "t_04",
            spoil(|leaf| leaf.uris = vec!["https://x".to_owned()]),
            "URI SAN is invalid",
        ),
        (
            "t_06 authority",
            spoil(|leaf| leaf.is_ca = true),
            "CaUsedAsEndEntity",
        ),
        (
            "t_06 usage",
            spoil(|leaf| leaf.key_usages.clear()),
            "key usage is missing",
        ),
        (
            "t_12 over",
            spoil(|leaf| leaf.not_after = leaf.not_before + HOUR / 60),
            "expired",
        ),
        (
            "t_12 not yet",
            spoil(|leaf| leaf.not_before = leaf.not_after - HOUR),
            "certificate not valid yet",
        ),
        (
            "t_17",
            spoil(|leaf| leaf.common_name = leaf.uris.pop()),
            "the peer's certificate has no URI SAN",
        ),
    ]
}

#[tokio::test]
async fn a_server_refuses_every_spoiled_client() {
    let authority = TestAuthority::new();
    let server = authority.certify(CART);
    for (what, leaf, expected) in spoiled_leaves() {
        let client = lenient_client(Some(peer(&authority, &leaf)), H2);
        assert_refused(what, call(&server, client).await, expected);
    }
}

#[tokio::test]
async fn a_client_refuses_every_spoiled_server() {
    let authority = TestAuthority::new();
    let client = authority.certify(CART);
    for (what, leaf, expected) in spoiled_leaves() {
        let server = lenient_server(peer(&authority, &leaf), H2);
        assert_refused(what, answer(&client, &[RATINGS], server).await, expected);
    }
}

#[tokio::test]
async fn t_06_the_extended_key_usage_fits_the_role() {
    let authority = TestAuthority::new();
    let ours = authority.certify(CART);
    let only = |usage| {
        let mut leaf = Leaf::of(RATINGS);
        leaf.extended = vec![usage];
        peer(&authority, &leaf)
    };
    let (server_auth, client_auth) = (
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let wrong = "certificate does not allow extended key usage";
    let client = lenient_client(Some(only(server_auth.clone())), H2);
    assert_refused("client", call(&ours, client).await, wrong);
    let server = lenient_server(only(client_auth.clone()), H2);
    assert_refused("server", answer(&ours, &[RATINGS], server).await, wrong);

    let client = lenient_client(Some(only(client_auth)), H2);
    assert_eq!(call(&ours, client).await.unwrap(), id(RATINGS));
    let server = lenient_server(only(server_auth), H2);
    assert_eq!(
        answer(&ours, &[RATINGS], server).await.unwrap(),
        id(RATINGS)
    );
}

#[tokio::test]
async fn t_07_chains_to_other_roots_are_refused() {
    let (authority, stranger) = (TestAuthority::new(), TestAuthority::new());
    let ours = authority.certify(CART);
    let self_signed = {
        let key = PrivateKey::generate().unwrap();
        key.certified(vec![TestAuthority::self_signed(&Leaf::of(RATINGS), &key)])
            .unwrap()
    };
    for (what, key) in [
        ("unknown root", peer(&stranger, &Leaf::of(RATINGS))),
        ("self-signed", self_signed),
    ] {
        let client = lenient_client(Some(Arc::clone(&key)), H2);
        assert_refused(what, call(&ours, client).await, "UnknownIssuer");
        let server = lenient_server(key, H2);
        assert_refused(
            what,
            answer(&ours, &[RATINGS], server).await,
            "UnknownIssuer",
        );
    }
}

#[tokio::test]
async fn t_07_a_client_without_certificate_is_refused() {
    let server = TestAuthority::new().certify(CART);
    let refused = call(&server, lenient_client(None, H2)).await;
    assert_refused("no certificate", refused, "peer sent no certificates");
}

#[tokio::test]
async fn t_02_h2_is_required_of_both() {
    let authority = TestAuthority::new();
    let ours = authority.certify(CART);
    for alpn in [&[b"http/1.1".as_slice()][..], &[]] {
        let client = lenient_client(Some(peer(&authority, &Leaf::of(RATINGS))), alpn);
        let refused = call(&ours, client).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Protocol | Error::Tls(rustls::Error::NoApplicationProtocol)
            ),
            "{alpn:?}: {refused:?}"
        );
        let server = lenient_server(peer(&authority, &Leaf::of(RATINGS)), alpn);
        let refused = answer(&ours, &[RATINGS], server).await.unwrap_err();
        // A server that speaks something else ends the handshake itself.
        assert!(
            matches!(refused, Error::Protocol | Error::Tls(_)),
            "{alpn:?}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn t_11_long_chains_are_refused_before_they_are_searched() {
    let authority = TestAuthority::new();
    let key = PrivateKey::generate().unwrap();
    let mut chain = vec![authority.issue(&Leaf::of(RATINGS), &key)];
    chain.extend((0..MAX_CHAIN).map(|_| authority.intermediate().certificate()));
    let client = lenient_client(Some(key.certified(chain).unwrap()), H2);
    let refused = call(&authority.certify(CART), client).await;
    assert_refused("chain", refused, "presented a chain of 9 certificates");
}

#[tokio::test(start_paused = true)]
async fn t_13_a_silent_client_is_given_up_on() {
    let server = TestAuthority::new().certify(CART);
    let (ours, _theirs): (DuplexStream, DuplexStream) = duplex(64);
    let started = tokio::time::Instant::now();
    let refused = accept(server.server_config(), ours).await.unwrap_err();
    assert!(matches!(refused, Error::Timeout), "{refused:?}");
    assert_eq!(started.elapsed(), super::ACCEPT_TIMEOUT);
}

#[tokio::test]
async fn plain_text_is_no_handshake() {
    let server = TestAuthority::new().certify(CART);
    let (ours, mut theirs) = duplex(1 << 16);
    theirs
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let refused = accept(server.server_config(), ours).await.unwrap_err();
    assert_eq!(refused.reason(), "tls");
}
