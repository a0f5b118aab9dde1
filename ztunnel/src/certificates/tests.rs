use identity::{Certified, Error, Fetcher, Keyring};
use mesh::spiffe::SpiffeId;

use super::Certificates;

/// An authority that never answers; the keyring is asked what it wants, not what it has.
struct Silent;

impl Fetcher for Silent {
    async fn fetch(&self, _: &SpiffeId) -> Result<Certified, Error> {
        std::future::pending().await
    }
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::workload("cluster.local", "shop", account).unwrap()
}

fn certificates() -> (Keyring, Certificates) {
    let (keyring, _) = Keyring::new(Silent);
    (keyring.clone(), Certificates::new(keyring))
}

#[test]
fn an_identity_is_dropped_with_its_last_holder_and_not_before() {
    let (keyring, certificates) = certificates();
    certificates.hold("workload a", &id("web"));
    certificates.hold("pod a", &id("web"));
    certificates.release("workload a");
    assert!(keyring.state(&id("web")).is_some());
    certificates.release("pod a");
    assert!(keyring.state(&id("web")).is_none());
}

#[test]
fn a_holder_that_changes_identity_drops_the_old_one() {
    let (keyring, certificates) = certificates();
    certificates.hold("a", &id("web"));
    certificates.hold("a", &id("cart"));
    assert!(keyring.state(&id("web")).is_none());
    assert!(keyring.state(&id("cart")).is_some());
}

#[test]
fn releasing_what_was_never_held_changes_nothing() {
    let (keyring, certificates) = certificates();
    certificates.hold("a", &id("web"));
    certificates.release("b");
    assert!(keyring.state(&id("web")).is_some());
}
