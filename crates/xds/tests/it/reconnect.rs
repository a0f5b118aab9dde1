//! Streams and servers come and go; what is in force stays.

use std::time::Duration;

use tokio::time::Instant;
use xds::client::Termination;

use crate::wire::{ADDRESS, BAD, POLICY, World, eventually, publish};

#[tokio::test(start_paused = true)]
async fn after_a_cut_only_differences_are_sent() {
    let mut world = World::new();
    world.publish(ADDRESS, &["same=1", "changed=1", "gone=1"]);
    world.publish(POLICY, &["p=1"]);
    let proxy = world.client("z");
    world.synced().await;
    proxy.take_log();

    world.cut();
    world.publish(ADDRESS, &["changed=2", "new=1", "-gone"]);
    world.synced_again(1).await;
    assert_eq!(
        proxy.take_log(),
        ["Policy", "Address -gone +changed=2 +new=1"]
    );
    assert_eq!(proxy.state(ADDRESS), ["changed=2", "new=1", "same=1"]);
    assert_eq!(proxy.state(POLICY), ["p=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_resource_is_offered_again_after_a_reconnect() {
    let mut world = World::new();
    let bad = format!("spoilt={BAD}");
    world.publish(ADDRESS, &["good=1", &bad]);
    let proxy = world.client("z");
    world.synced().await;
    proxy.take_log();
    world.cut();
    world.synced_again(1).await;
    assert_eq!(
        proxy.take_log(),
        ["Policy".to_owned(), format!("Address +{bad}")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_with_the_same_resources_sends_nothing() {
    let mut world = World::new();
    world.publish(ADDRESS, &["a=1", "b=1"]);
    let proxy = world.client("z");
    world.synced().await;
    proxy.take_log();
    world.stop();
    eventually("the client noticed", || !proxy.is_connected()).await;
    world.start(|catalog| {
        publish(catalog, ADDRESS, &["a=1", "b=1"]);
    });
    world.synced().await;
    assert_eq!(
        proxy.take_log(),
        ["Policy", "Address"],
        "versions are of the content alone"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_server_everything_stays_in_force_and_the_client_keeps_trying() {
    let mut world = World::new();
    world.publish(ADDRESS, &["a=1"]);
    let proxy = world.client("z");
    world.synced().await;
    world.stop();
    let started = Instant::now();
    eventually("ten attempts", || proxy.terminations().len() > 10).await;
    assert!(
        started.elapsed() < Duration::from_secs(11),
        "10 ms doubled ten times"
    );
    assert!(
        proxy.terminations()[1..]
            .iter()
            .all(|why| *why == Termination::ConnectionError)
    );
    assert!(proxy.is_ready() && !proxy.is_connected());
    assert_eq!(proxy.state(ADDRESS), ["a=1"]);

    tokio::time::sleep(Duration::from_hours(1)).await;
    let n_before = proxy.terminations().len();
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(
        proxy.terminations().len() - n_before,
        10,
        "every 15 s in the end"
    );

    world.start(|catalog| {
        publish(catalog, ADDRESS, &["b=1"]);
    });
    world.synced().await;
    assert_eq!(proxy.state(ADDRESS), ["b=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_worked_is_replaced_within_milliseconds() {
    let mut world = World::new();
    let proxy = world.client("z");
    world.synced().await;
    for stream in 1..=5 {
        let started = Instant::now();
        world.cut();
        world.synced_again(stream).await;
        assert!(
            started.elapsed() < Duration::from_millis(30),
            "{:?}",
            started.elapsed()
        );
    }
    assert_eq!(proxy.terminations().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_closing_server_ends_its_streams_without_error() {
    let mut world = World::new();
    let proxy = world.client("z");
    world.synced().await;
    world.server.close();
    eventually("the stream ended", || !proxy.terminations().is_empty()).await;
    assert_eq!(proxy.terminations()[0], Termination::Complete);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(
        proxy.terminations().len() < 20,
        "a server that hangs up is not hammered"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_leaves_nothing_behind() {
    let mut world = World::new();
    let proxy = world.client("z");
    world.synced().await;
    proxy.kill();
    eventually("no client", || world.server.clients().is_empty()).await;
}
