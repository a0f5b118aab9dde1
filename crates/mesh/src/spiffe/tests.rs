use super::SpiffeId;

#[test]
fn reads_namespace_and_service_account_of_a_mesh_identity() {
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap();
    assert_eq!(id.trust_domain(), "cluster.local");
    assert_eq!(id.namespace(), Some("shop"));
    assert_eq!(id.service_account(), Some("cart"));
    assert_eq!(id.principal(), "cluster.local/ns/shop/sa/cart");
    assert_eq!(
        id,
        SpiffeId::workload("cluster.local", "shop", "cart").unwrap()
    );
}

#[test]
fn other_paths_authenticate_without_namespace() {
    for text in [
        "spiffe://td.example",
        "spiffe://td.example/x",
        "spiffe://td.example/ns/a/sa",
        "spiffe://td.example/ns/a/sa/b/c",
        "spiffe://td.example/sa/a/ns/b",
    ] {
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(
            (id.namespace(), id.service_account()),
            (None, None),
            "{text}"
        );
    }
}

#[test]
fn refuses_what_the_standard_refuses() {
    for text in [
        "",
        "cluster.local/ns/a/sa/b",
        "http://cluster.local/ns/a/sa/b",
        "spiffe://",
        "spiffe:///ns/a/sa/b",
        "spiffe://td:80/ns/a/sa/b",
        "spiffe://user@td/ns/a/sa/b",
        "spiffe://td/ns/a/sa/b?q",
        "spiffe://td/ns/a/sa/b#f",
        "spiffe://td/ns//sa/b",
        "spiffe://td/ns/../sa/b",
        "spiffe://td/ns/./sa/b",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns/a/sa/%62",
        "spiffe://td/ns/a/sa/b\0",
        "spiffe://td/ns/a b/sa/b",
        "spiffe://td/ns/ä/sa/b",
    ] {
        assert!(text.parse::<SpiffeId>().is_err(), "{text:?} was accepted");
    }
}

#[test]
fn the_error_shows_the_text() {
    let error = "spiffe://td/a b".parse::<SpiffeId>().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`spiffe://td/a b` is no SPIFFE ID: "),
        "{error}"
    );
}

#[test]
fn neither_an_identity_nor_a_trust_domain_is_longer_than_the_standard_allows() {
    let identity = |domain: usize, path: usize| {
        let text = format!("spiffe://{}/{}", "d".repeat(domain), "p".repeat(path));
        text.parse::<SpiffeId>()
    };
    // Nine bytes of scheme, one of the slash.
    assert!(identity(255, 2048 - 255 - 10).is_ok());
    assert!(identity(255, 2048 - 255 - 9).is_err());
    assert!(identity(256, 1).is_err());
}
