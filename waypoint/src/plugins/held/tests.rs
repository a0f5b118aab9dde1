//! What is held is counted, and never more than may be.

use prometheus_client::metrics::gauge::Gauge;

use super::Allowance;

#[test]
fn what_is_held_is_counted_until_it_goes() {
    let held = Gauge::default();
    let allowance = Allowance::new(held.clone(), 100);
    let (mut one, mut two) = (allowance.holding(), allowance.holding());
    assert!(one.set(60) && two.set(40));
    assert_eq!(held.get(), 100);
    assert!(!one.set(61), "no byte more");
    assert_eq!(held.get(), 100, "what was refused is not counted");
    assert!(one.set(10) && two.set(90));
    drop(two);
    assert_eq!(held.get(), 10);
    one.release();
    assert_eq!(held.get(), 0);
    assert!(!one.set(101));
    drop(one);
    assert_eq!(held.get(), 0);
}
