use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Certificate, ServerIdentity, default_names};
use crate::ca::fixture::Mesh;

fn identity() -> ServerIdentity {
    let names = default_names("istio-system", "cluster.local");
    ServerIdentity::new(Arc::clone(&Mesh::new().authority), names).unwrap()
}

#[test]
fn is_renewed_at_half_its_life() {
    let identity = identity();
    let left = identity
        .presented
        .0
        .load()
        .renew_at
        .duration_since(SystemTime::now())
        .unwrap();
    let half = Duration::from_hours(12);
    assert!(
        left <= half && left + Duration::from_mins(1) > half,
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_due_certificate_is_replaced() {
    let identity = identity();
    let first = Arc::clone(&identity.presented.0.load().key);
    let due = Certificate {
        key: Arc::clone(&first),
        renew_at: SystemTime::now(),
    };
    identity.presented.0.store(Arc::new(due));
    tokio::select! {
        biased;
        never = identity.renew() => match never {},
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    let second = Arc::clone(&identity.presented.0.load().key);
    assert_ne!(first.cert, second.cert);
}
