//! Who gets in, who sees what, and for how long.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use xds::{Request, client::Termination, server::Limits};

use crate::wire::{ADDRESS, World, eventually};

#[tokio::test(start_paused = true)]
async fn without_credentials_nothing_is_answered() {
    let world = World::new();
    world.publish(ADDRESS, &["secret=1"]);
    let raw = world.raw("").await;
    assert_eq!(raw.responses.unwrap_err().code(), Code::Unauthenticated);
    assert!(world.server.clients().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_keeps_trying_ever_more_slowly() {
    let mut world = World::new();
    let proxy = world.client("");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let terminations = proxy.terminations();
    assert!(
        terminations.iter().all(|why| *why == Termination::Error),
        "{terminations:?}"
    );
    assert!(
        (12..=16).contains(&terminations.len()),
        "{}",
        terminations.len()
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sees_follows_from_who_it_is_not_from_what_it_says() {
    let world = World::new();
    world.publish(ADDRESS, &["a=1"]);
    let mut stranger = world.raw("stranger").await;
    let node = xds::Node {
        role: xds::Role::Ztunnel,
        ip: None,
        pod: "ztunnel-1".to_owned(),
        namespace: "istio-system".to_owned(),
        node: "n1".to_owned(),
        metadata: std::collections::BTreeMap::new(),
    };
    stranger
        .send(Request {
            type_url: ADDRESS.to_owned(),
            node: Some(node.to_proto()),
            ..Request::default()
        })
        .await;
    assert_eq!(stranger.next().await.unwrap().unwrap().0, "Address");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_credentials_and_comes_again_with_fresh_ones() {
    let limits = Limits {
        streams_per_second: 1000,
        ..Limits::default()
    };
    let mut world = World::with(limits, Some(Duration::from_mins(10)));
    world.publish(ADDRESS, &["a=1"]);
    let proxy = world.client("z");
    world.synced().await;
    let started = Instant::now();
    eventually_within(Duration::from_secs(700), || {
        !proxy.terminations().is_empty()
    })
    .await;
    assert!(
        (598..=601).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
    eventually("a new stream", || proxy.is_connected()).await;
    assert_eq!(proxy.state(ADDRESS), ["a=1"]);
}

async fn eventually_within(limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn more_streams_than_allowed_are_refused_until_one_ends() {
    let world = World::with(
        Limits {
            streams: 2,
            streams_per_second: 1000,
            ..Limits::default()
        },
        None,
    );
    let first = world.raw("1").await;
    let _second = world.raw("2").await;
    let third = world.raw("3").await;
    assert_eq!(third.responses.unwrap_err().code(), Code::ResourceExhausted);
    drop(first);
    eventually("a place is free", || world.server.clients().len() == 1).await;
    assert!(world.raw("4").await.responses.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_limit_ends_only_its_own_stream() {
    let limits = Limits {
        request_bytes: 1024,
        streams_per_second: 1000,
        ..Limits::default()
    };
    let mut world = World::with(limits, None);
    let proxy = world.client("z");
    world.synced().await;
    let mut greedy = world.raw("greedy").await;
    greedy.open(&"x".repeat(2048)).await;
    assert_eq!(greedy.next().await.unwrap_err().code(), Code::OutOfRange);
    assert!(proxy.is_connected());
}

#[tokio::test(start_paused = true)]
async fn nonsense_on_a_stream_is_survived() {
    let world = World::new();
    world.publish(ADDRESS, &["a=1"]);
    let mut raw = world.raw("z").await;
    raw.send(Request::default()).await;
    raw.ack("type.googleapis.com/unheard.Of", "no such nonce".to_owned())
        .await;
    assert_eq!(raw.next().await.unwrap().unwrap().0, "Of");
    raw.open(ADDRESS).await;
    raw.ack(ADDRESS, "stale".to_owned()).await;
    raw.ack("type.googleapis.com/unheard.Of", "1-1".to_owned())
        .await;
    assert_eq!(raw.next().await.unwrap().unwrap().0, "Address +a=1");
}
