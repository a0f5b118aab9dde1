use mesh::spiffe::SpiffeId;
use rcgen::KeyUsagePurpose;

use super::{Expected, Refused, peer_identity};
use crate::PrivateKey;
use crate::test_authority::{Leaf, TestAuthority};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

fn identity(leaf: &Leaf) -> Result<SpiffeId, Refused> {
    let leaf = TestAuthority::new().issue(leaf, &PrivateKey::generate().unwrap());
    peer_identity(&[leaf])
}

#[test]
fn reads_the_one_uri_san() {
    let mut leaf = Leaf::of(CART);
    leaf.dns = vec!["cart.shop.svc".to_owned()];
    assert_eq!(identity(&leaf).unwrap().as_str(), CART);
}

#[test]
fn t_03_exactly_one_uri_san() {
    let mut leaf = Leaf::of(CART);
    leaf.uris.clear();
    assert_eq!(identity(&leaf), Err(Refused::NoId));
    for other in [
        CART,
        "spiffe://cluster.local/ns/shop/sa/other",
        "https://example.org",
    ] {
        leaf.uris = vec![CART.to_owned(), other.to_owned()];
        assert_eq!(identity(&leaf), Err(Refused::SeveralIds(2)), "{other}");
    }
}

#[test]
fn t_04_the_uri_is_a_spiffe_id() {
    for uri in [
        "https://cluster.local/ns/shop/sa/cart",
        "spiffe://td/ns/../sa/b",
        "spiffe://td/a\0",
    ] {
        let refused = identity(&Leaf::of(uri)).unwrap_err();
        assert!(matches!(refused, Refused::InvalidId(_)), "{uri}: {refused}");
    }
}

#[test]
fn t_05_an_identity_of_another_form_authenticates() {
    let id = identity(&Leaf::of("spiffe://cluster.local/anything/else")).unwrap();
    assert_eq!(id.namespace(), None);
}

#[test]
fn t_06_the_leaf_is_an_end_entity_that_signs() {
    type Spoil = fn(&mut Leaf);
    let cases: [(Spoil, &str); 5] = [
        (|leaf| leaf.is_ca = true, "one of a certificate authority"),
        (|leaf| leaf.key_usages.clear(), "is missing"),
        (
            |leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement],
            "does not allow digital",
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign),
            "allows signing certificates",
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign),
            "allows signing certificates",
        ),
    ];
    for (spoil, expected) in cases {
        let mut leaf = Leaf::of(CART);
        spoil(&mut leaf);
        let refused = identity(&leaf).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused} is not {expected}");
    }
}

#[test]
fn t_17_the_subject_is_not_an_identity() {
    let mut leaf = Leaf::of(CART);
    leaf.uris.clear();
    leaf.common_name = Some(CART.to_owned());
    assert_eq!(identity(&leaf), Err(Refused::NoId));
}

#[test]
fn nothing_and_garbage_are_refused() {
    assert_eq!(peer_identity(&[]), Err(Refused::NoCertificate));
    assert_eq!(
        peer_identity(&[b"garbage".as_slice().into()]),
        Err(Refused::Unreadable)
    );
    let good = TestAuthority::new().issue(&Leaf::of(CART), &PrivateKey::generate().unwrap());
    let longer = [&good[..], b"x"].concat();
    assert_eq!(peer_identity(&[longer.into()]), Err(Refused::Unreadable));
}

#[test]
fn an_unexpected_identity_is_worded_as_operators_search_for_it() {
    let [a, b]: [SpiffeId; 2] =
        ["spiffe://cluster.local/ns/a/sa/a", CART].map(|id| id.parse().unwrap());
    let refused = Refused::Unexpected {
        expected: Expected::from(&[a, b.clone()][..]),
        got: b,
    };
    assert_eq!(
        refused.to_string(),
        "identity verification error: peer did not present the expected SAN \
         (spiffe://cluster.local/ns/a/sa/a, spiffe://cluster.local/ns/shop/sa/cart), \
         got spiffe://cluster.local/ns/shop/sa/cart"
    );
}
