use identity::PrivateKey;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, SigningKey,
};

use super::{Unsignable, proven_key};

fn request(key: &impl SigningKey) -> String {
    CertificateParams::new(vec!["anything.example".to_owned()])
        .unwrap()
        .serialize_request(key)
        .unwrap()
        .pem()
        .unwrap()
}

#[test]
fn c_04_takes_p256_p384_and_rsa() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        assert!(!proven_key(&request(&key)).unwrap().is_rsa);
    }
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    assert!(proven_key(&request(&key)).unwrap().is_rsa);
    let id = "spiffe://cluster.local/ns/a/sa/b".parse().unwrap();
    proven_key(
        &PrivateKey::generate()
            .unwrap()
            .signing_request(&id)
            .unwrap(),
    )
    .unwrap();
}

#[test]
fn c_04_refuses_other_keys() {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P521_SHA512] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let refused = proven_key(&request(&key)).unwrap_err();
        assert!(
            matches!(refused, Unsignable::UnfitKey(_)),
            "{algorithm:?}: {refused}"
        );
    }
}

/// Signs with one key and claims another.
struct Impostor {
    claims: KeyPair,
    holds: KeyPair,
}

impl rcgen::PublicKeyData for Impostor {
    fn der_bytes(&self) -> &[u8] {
        self.claims.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.claims.algorithm()
    }
}

impl SigningKey for Impostor {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.holds.sign(message)
    }
}

#[test]
fn c_04_the_caller_holds_the_key() {
    let [claims, holds] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let refused = proven_key(&request(&Impostor { claims, holds })).unwrap_err();
    assert!(matches!(refused, Unsignable::NoPossession), "{refused}");
}

#[test]
fn c_04_whatever_else_is_asked_for_does_not_matter() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "admin");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    params.custom_extensions = vec![unknown];
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let proven = proven_key(&request).unwrap();
    assert_eq!(
        rcgen::PublicKeyData::der_bytes(&proven.public),
        key.public_key_raw()
    );
}

#[test]
fn refuses_what_is_no_request() {
    let good = request(&KeyPair::generate().unwrap());
    let (_, der) = x509_parser::pem::parse_x509_pem(good.as_bytes()).unwrap();
    let longer = pem_of(&[&der.contents[..], b"x"].concat());
    let shorter = pem_of(&der.contents[..der.contents.len() - 1]);
    let long = format!("{good}{}", "x".repeat(super::MAX_PEM));
    let certificate = good.replace("CERTIFICATE REQUEST", "CERTIFICATE");
    for text in ["", "garbage", &longer, &shorter, &long, &certificate] {
        let refused = proven_key(text).unwrap_err();
        assert!(matches!(refused, Unsignable::Malformed(_)), "{refused}");
    }
}

fn pem_of(der: &[u8]) -> String {
    identity::pem::write(&der.to_vec().into()).replace("CERTIFICATE", "CERTIFICATE REQUEST")
}
