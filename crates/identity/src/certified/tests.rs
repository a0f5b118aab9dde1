use std::sync::Arc;

use mesh::spiffe::SpiffeId;

use super::{Certified, MAX_CLIENT_CONFIGS};
use crate::test_authority::{HOUR, Leaf, TestAuthority};
use crate::{Error, PrivateKey, pem};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const RATINGS: &str = "spiffe://cluster.local/ns/shop/sa/ratings";

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// The authority's answer for a leaf, and the key it certifies.
fn answer(authority: &TestAuthority, leaf: &Leaf) -> (PrivateKey, Vec<String>) {
    let key = PrivateKey::generate().unwrap();
    let leaf = pem::write(&authority.issue(leaf, &key));
    (key, vec![leaf, authority.root_pem()])
}

#[test]
fn keeps_chain_roots_and_validity() {
    let root = TestAuthority::new();
    let other_root = TestAuthority::new();
    let intermediate = root.intermediate();
    let mut leaf = Leaf::of(CART);
    leaf.not_after = leaf.not_before + HOUR;
    let key = PrivateKey::generate().unwrap();
    let answer = [
        pem::write(&intermediate.issue(&leaf, &key)),
        intermediate.root_pem(),
        root.root_pem() + &other_root.root_pem(),
    ];
    let certified = Certified::new(&id(CART), &key, &answer, &[]).unwrap();
    assert_eq!(certified.id(), &id(CART));
    assert_eq!(certified.chain().len(), 2);
    assert_eq!(certified.roots().len(), 2);
    assert_eq!(
        certified
            .not_after()
            .duration_since(certified.not_before())
            .unwrap(),
        HOUR
    );
}

#[test]
fn an_answer_without_roots_is_an_error() {
    let authority = TestAuthority::new();
    let (key, answer) = answer(&authority, &Leaf::of(CART));
    for answer in [&[][..], &answer[..1], &[answer[0].clone(), String::new()]] {
        let error = Certified::new(&id(CART), &key, answer, &[]).unwrap_err();
        assert!(matches!(error, Error::NoRoots { .. }), "{error}");
    }
}

#[test]
fn an_answer_for_someone_else_is_an_error() {
    let (key, answer) = answer(&TestAuthority::new(), &Leaf::of(RATINGS));
    let error = Certified::new(&id(CART), &key, &answer, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the certificate authority answered the request for {CART} with {RATINGS}")
    );
}

#[test]
fn an_answer_for_another_key_is_an_error() {
    let (_, answer) = answer(&TestAuthority::new(), &Leaf::of(CART));
    let key = PrivateKey::generate().unwrap();
    let error = Certified::new(&id(CART), &key, &answer, &[]).unwrap_err();
    assert!(matches!(error, Error::KeyMismatch { .. }), "{error}");
}

#[test]
fn a_leaf_no_peer_would_take_is_an_error() {
    let mut leaf = Leaf::of(CART);
    leaf.is_ca = true;
    let (key, answer) = answer(&TestAuthority::new(), &leaf);
    let error = Certified::new(&id(CART), &key, &answer, &[]).unwrap_err();
    assert!(matches!(error, Error::Leaf { .. }), "{error}");
}

#[test]
fn garbage_is_an_error() {
    let (key, answer) = answer(&TestAuthority::new(), &Leaf::of(CART));
    let broken = answer[0].replace("-----END CERTIFICATE-----", "");
    let error = Certified::new(&id(CART), &key, &[broken, answer[1].clone()], &[]).unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
}

#[test]
fn client_configurations_are_made_once_per_expected_set() {
    let certified = TestAuthority::new().certify(CART);
    let [cart, ratings] = [id(CART), id(RATINGS)];
    let first = certified.client_config(std::slice::from_ref(&cart));
    assert!(Arc::ptr_eq(
        &first,
        &certified.client_config(std::slice::from_ref(&cart))
    ));
    assert!(!Arc::ptr_eq(
        &first,
        &certified.client_config(std::slice::from_ref(&ratings))
    ));
    assert!(!Arc::ptr_eq(
        &first,
        &certified.client_config(&[cart, ratings])
    ));
}

#[test]
fn the_memo_of_client_configurations_is_bounded() {
    let certified = TestAuthority::new().certify(CART);
    for n in 0..=MAX_CLIENT_CONFIGS {
        certified
            .client_config(&[SpiffeId::workload("cluster.local", "many", &n.to_string()).unwrap()]);
        assert!(certified.clients.lock().len() <= MAX_CLIENT_CONFIGS);
    }
}

#[test]
fn t_10_nothing_can_be_resumed() {
    let certified = TestAuthority::new().certify(CART);
    let server = certified.server_config();
    assert_eq!(server.send_tls13_tickets, 0);
    assert_eq!(server.max_early_data_size, 0);
    assert!(!server.session_storage.can_cache());
    let client = certified.client_config(&[id(CART)]);
    assert!(!client.enable_early_data);
    assert!(!client.enable_sni);
}

#[test]
fn k_01_debug_shows_nothing_of_the_key() {
    let text = format!("{:?}", TestAuthority::new().certify(CART));
    assert!(text.starts_with("Certified { id: spiffe://"), "{text}");
    assert!(!text.to_lowercase().contains("key"), "{text}");
}
