use mesh::spiffe::SpiffeId;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::PrivateKey;
use crate::Error;
use crate::test_authority::{Leaf, TestAuthority};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

#[test]
fn a_signing_request_has_no_subject_and_one_critical_uri_san() {
    let key = PrivateKey::generate().unwrap();
    let id: SpiffeId = CART.parse().unwrap();
    let text = key.signing_request(&id).unwrap();
    assert!(
        text.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"),
        "{text}"
    );

    let (_, der) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
    let (rest, request) = X509CertificationRequest::from_der(&der.contents).unwrap();
    assert!(rest.is_empty());
    request
        .verify_signature()
        .expect("the request proves possession of the key");
    let info = &request.certification_request_info;
    assert_eq!(info.subject.iter().count(), 0);

    let extensions: Vec<_> = info
        .iter_attributes()
        .filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(request) => Some(&request.extensions),
            _ => None,
        })
        .flatten()
        .collect();
    let [san] = extensions.as_slice() else {
        panic!("{extensions:?}")
    };
    assert!(san.critical);
    let ParsedExtension::SubjectAlternativeName(san) = san.parsed_extension() else {
        panic!("{san:?}")
    };
    assert_eq!(san.general_names, vec![GeneralName::URI(CART)]);
}

#[test]
fn two_keys_are_never_the_same() {
    let id: SpiffeId = CART.parse().unwrap();
    let requests = [(); 2].map(|()| {
        PrivateKey::generate()
            .unwrap()
            .signing_request(&id)
            .unwrap()
    });
    assert_ne!(requests[0], requests[1]);
}

#[test]
fn k_01_debug_shows_nothing_of_the_key() {
    let key = PrivateKey::generate().unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(<redacted>)");
}

#[test]
fn refuses_a_chain_for_another_key() {
    let authority = TestAuthority::new();
    let key = PrivateKey::generate().unwrap();
    let other = PrivateKey::generate().unwrap();
    let leaf = authority.issue(&Leaf::of(CART), &other);
    assert!(matches!(
        key.certified(vec![leaf.clone()]),
        Err(Error::KeyMismatch { .. })
    ));
    assert!(other.certified(vec![leaf]).is_ok());
}
