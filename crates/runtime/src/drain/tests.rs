use std::time::Duration;

use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn open_work_may_go_on_until_the_deadline() {
    let (trigger, mut drain) = super::channel();
    assert!(!drain.is_started());
    let begun = Instant::now();
    trigger.start(Duration::from_secs(7));
    drain.started().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    drain.expired().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_drain_can_be_hastened_but_not_delayed() {
    let (trigger, mut drain) = super::channel();
    let begun = Instant::now();
    trigger.start(Duration::from_mins(1));
    trigger.start(Duration::from_mins(10));
    let mut other = drain.clone();
    let ((), ()) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            trigger.now();
        },
        drain.expired()
    );
    other.expired().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn a_lost_trigger_ends_everything() {
    let (trigger, mut drain) = super::channel();
    drop(trigger);
    assert!(drain.is_started());
    drain.expired().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_outlives_its_trigger() {
    let (trigger, mut drain) = super::channel();
    let begun = Instant::now();
    trigger.start(Duration::from_secs(7));
    drop(trigger);
    drain.expired().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(7));
}
