use super::*;

fn admission(streams: usize, streams_per_second: u32) -> Admission {
    Admission::new(Limits {
        streams,
        streams_per_second,
        ..Limits::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_when_its_stream_ends() {
    let admission = admission(2, 100);
    let first = admission.enter().await.unwrap();
    let _second = admission.enter().await.unwrap();
    assert_eq!(admission.enter().await.unwrap_err(), Refused::Full);
    drop(first);
    admission.enter().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn new_streams_come_at_the_allowed_rate() {
    let admission = admission(1000, 10);
    let started = Instant::now();
    let mut places = Vec::new();
    for _ in 0..30 {
        places.push(admission.enter().await.unwrap());
    }
    let took = started.elapsed();
    assert!(
        (Duration::from_millis(2800)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_sent_away_without_losing_places() {
    let admission = admission(1000, 10);
    let crowd = (0..100).map(|_| admission.enter());
    let entered = futures_util::future::join_all(crowd).await;
    let n_entered = entered.iter().filter(|entered| entered.is_ok()).count();
    assert!((10..=12).contains(&n_entered), "{n_entered} entered");
    assert_eq!(admission.n_open.load(Ordering::Acquire), n_entered);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_time_lets_a_second_of_streams_in_at_once() {
    let admission = admission(1000, 10);
    tokio::time::advance(Duration::from_mins(1)).await;
    let started = Instant::now();
    let mut places = Vec::new();
    for _ in 0..10 {
        places.push(admission.enter().await.unwrap());
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
}
