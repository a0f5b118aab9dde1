use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Entry, Now, Urgency, renew_at, retry_after};
use crate::Error;
use crate::keyring::State;
use crate::test_authority::{HOUR, Leaf, TestAuthority};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

#[test]
fn renews_at_half_life_give_or_take_five_percent() {
    let (from, to) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + 24 * HOUR);
    let minutes = |draw| {
        renew_at(from, to, draw)
            .duration_since(from)
            .unwrap()
            .as_secs()
            / 60
    };
    assert_eq!(minutes(0.5), 12 * 60);
    assert_eq!(minutes(0.0), 12 * 60 - 36);
    assert_eq!(minutes(1.0), 12 * 60 + 36);
}

#[test]
fn retries_double_up_to_two_and_a_half_minutes() {
    let seconds: Vec<_> = (1..=12)
        .map(|n| retry_after(n, 0.5).as_secs_f64())
        .collect();
    assert_eq!(
        seconds,
        [
            0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 150.0, 150.0, 150.0
        ]
    );
    assert_eq!(retry_after(1, 0.0), Duration::from_millis(400));
    assert_eq!(retry_after(1, 1.0), Duration::from_millis(600));
    assert_eq!(retry_after(u32::MAX, 1.0), Duration::from_mins(3));
}

fn now() -> Now {
    Now {
        wall: SystemTime::now(),
        steady: Instant::now(),
    }
}

fn later(now: Now, by: Duration) -> Now {
    Now {
        wall: now.wall + by,
        steady: now.steady + by,
    }
}

#[test]
fn a_retry_is_never_later_than_the_expiry() {
    let now = now();
    let mut leaf = Leaf::of(CART);
    leaf.not_after = now.wall + Duration::from_secs(20);
    let certified = TestAuthority::new().certify_leaf(&leaf, &[]);
    let mut entry = Entry::new(1);
    entry.start().unwrap();
    entry.succeed(certified, now, 0.5);
    for _ in 0..9 {
        assert!(entry.fail(&Error::Key, now, 0.5) <= Duration::from_secs(20));
    }
    assert!(matches!(entry.state(), State::Available(_)), "still valid");
    entry.advance(later(now, Duration::from_secs(21)), &mut 1);
    assert!(matches!(entry.state(), State::Unavailable(_)), "over");
}

#[test]
fn a_wall_clock_set_forward_renews_at_once() {
    let now = now();
    let mut entry = Entry::new(1);
    entry.start().unwrap();
    entry.succeed(TestAuthority::new().certify(CART), now, 0.5);
    assert!(entry.place().is_none());
    let mut turns = 1;
    entry.advance(
        Now {
            wall: now.wall + 13 * HOUR,
            ..now
        },
        &mut turns,
    );
    assert_eq!(turns, 2);
    assert_eq!(
        entry.place().map(|(urgency, _)| urgency),
        Some(Urgency::Renewal)
    );
}

#[test]
fn an_answer_of_an_earlier_turn_is_not_ours() {
    let mut entry = Entry::new(7);
    assert_eq!(entry.start(), Some(7));
    assert!(entry.is_fetching(7));
    assert!(!entry.is_fetching(6));
    assert_eq!(entry.start(), None, "asked once");
}
