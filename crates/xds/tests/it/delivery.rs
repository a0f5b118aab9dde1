//! What arrives, in which order, and how often.

use std::time::Duration;

use tokio::time::Instant;
use xds::{Request, server::Entry};

use crate::wire::{ADDRESS, BAD, POLICY, Peer, World, eventually};

#[tokio::test(start_paused = true)]
async fn a_client_is_ready_when_every_type_was_answered_even_emptily() {
    let mut world = World::new();
    world.publish(ADDRESS, &["a=1", "b=1"]);
    let proxy = world.client("z");
    assert!(!proxy.is_ready());
    world.synced().await;
    assert!(proxy.is_ready() && proxy.is_connected());
    assert_eq!(proxy.state(ADDRESS), ["a=1", "b=1"]);
    assert_eq!(proxy.take_log(), ["Policy", "Address +a=1 +b=1"]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_reaches_every_client_as_a_difference() {
    let mut world = World::new();
    world.publish(ADDRESS, &["a=1", "b=1"]);
    let proxies = ["x", "y", "z"].map(|token| world.client(token));
    eventually("three clients", || world.server.clients().len() == 3).await;
    world.synced().await;
    for proxy in &proxies {
        proxy.take_log();
    }
    world.publish(ADDRESS, &["b=2", "-a"]);
    world.synced().await;
    for proxy in &proxies {
        assert_eq!(proxy.take_log(), ["Address -a +b=2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn edits_within_ten_milliseconds_travel_together() {
    let mut world = World::new();
    let proxy = world.client("z");
    world.synced().await;
    proxy.take_log();
    let started = Instant::now();
    for edit in ["a=1", "b=1", "a=2"] {
        world.publish(ADDRESS, &[edit]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.synced().await;
    assert_eq!(proxy.take_log(), ["Address +a=2 +b=1"]);
    assert!(
        started.elapsed() < Duration::from_millis(40),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_edits_does_not_hold_them_back_longer_than_a_tenth_of_a_second() {
    let mut world = World::new();
    let proxy = world.client("z");
    world.synced().await;
    let started = Instant::now();
    for n in 0..100 {
        world.publish(ADDRESS, &[&format!("a={n}")]);
        tokio::time::sleep(Duration::from_millis(5)).await;
        if !proxy.state(ADDRESS).is_empty() {
            break;
        }
    }
    let took = started.elapsed();
    assert!(
        (Duration::from_millis(90)..Duration::from_millis(120)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_skips_what_was_replaced_meanwhile() {
    let world = World::new();
    let mut slow = world.raw("slow").await;
    slow.open(ADDRESS).await;
    let (text, nonce) = slow.next().await.unwrap().unwrap();
    assert_eq!(text, "Address");

    for n in 0..1000 {
        world.publish(ADDRESS, &[&format!("busy={n}"), &format!("passing{n}=1")]);
        world.publish(ADDRESS, &[&format!("-passing{n}")]);
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    slow.ack(ADDRESS, nonce).await;
    let (text, nonce) = slow.next().await.unwrap().unwrap();
    assert_eq!(text, "Address +busy=999");
    slow.ack(ADDRESS, nonce).await;
    eventually("the slow client caught up", || {
        world.server.clients()[0].is_current()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_disconnected_after_a_minute() {
    let world = World::new();
    let mut silent = world.raw("silent").await;
    silent.open(ADDRESS).await;
    silent.next().await.unwrap();
    let started = Instant::now();
    let status = silent.next().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(started.elapsed().as_secs(), 60);
    eventually("its place is free", || world.server.clients().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_that_answered_stays() {
    let mut world = World::new();
    let proxy = world.client("z");
    world.synced().await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!((proxy.terminations(), world.n_connected()), (vec![], 1));
    assert_eq!(world.server.clients().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn policies_arrive_before_and_leave_after_the_workloads_they_protect() {
    let mut world = World::new();
    world.publish(ADDRESS, &["old=1"]);
    world.publish(POLICY, &["old=1"]);
    let proxy = world.client("z");
    world.synced().await;
    assert_eq!(proxy.take_log(), ["Policy +old=1", "Address +old=1"]);
    world.catalog.edit(|snapshot| {
        snapshot.resources_mut(ADDRESS).remove("old");
        snapshot.resources_mut(ADDRESS).put("new", Entry::new("1"));
        snapshot.resources_mut(POLICY).remove("old");
        snapshot.resources_mut(POLICY).put("new", Entry::new("1"));
    });
    world.synced().await;
    assert_eq!(
        proxy.take_log(),
        ["Policy +new=1", "Address -old +new=1", "Policy -old"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_nack_keeps_the_good_resources_and_reaches_the_embedder() {
    let mut world = World::new();
    world.publish(ADDRESS, &["good=1", "spoilt=1"]);
    let proxy = world.client("z");
    world.synced().await;
    world.answers.lock().clear();
    let bad = format!("spoilt={BAD}");
    world.publish(ADDRESS, &["good=2", &bad]);
    world.synced().await;

    assert_eq!(
        proxy.state(ADDRESS),
        ["good=2", "spoilt=1"],
        "the last good version stays"
    );
    let answers = world.answers.lock().clone();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (peer, answer) = &answers[0];
    assert_eq!((peer, &*answer.type_url), (&Peer("z".to_owned()), ADDRESS));
    assert_eq!(&*answer.acked[0].0, "good");
    assert_eq!(&*answer.rejected[0].name, "spoilt");
    assert_eq!(answer.rejected[0].reason, "is bad; very: bad");

    let client = world.server.clients().remove(0);
    assert_eq!(client.node, "ztunnel~z");
    let holding = &client.holdings[ADDRESS];
    let rejected: Vec<_> = holding
        .rejected()
        .map(|rejection| rejection.name.to_string())
        .collect();
    assert_eq!(rejected, ["spoilt"]);
    assert_eq!(holding.version("spoilt"), None);
    assert_eq!(holding.version("good"), Some(Entry::new("2").version()));

    proxy.take_log();
    world.publish(ADDRESS, &["good=3"]);
    world.synced().await;
    assert_eq!(
        proxy.take_log(),
        ["Address +good=3"],
        "nothing is sent again after a NACK"
    );
}

#[tokio::test(start_paused = true)]
async fn the_embedder_can_wait_until_an_edit_is_in_force() {
    let mut world = World::new();
    let proxy = world.client("z");
    world.synced().await;
    let mut changes = world.server.clients_changed();
    let generation = world.publish(POLICY, &["p=1"]);
    loop {
        let clients = world.server.clients();
        if clients
            .iter()
            .all(|c| c.holdings[POLICY].generation() >= Some(generation))
        {
            break;
        }
        changes.changed().await.unwrap();
    }
    assert_eq!(proxy.state(POLICY), ["p=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_is_answered_at_once_whether_there_is_such_a_resource_or_not() {
    let world = World::new();
    world.publish(ADDRESS, &["a=1", "b=1"]);
    let mut raw = world.raw("z").await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let ask = |subscribe: &[&str], unsubscribe: &[&str]| Request {
        type_url: ADDRESS.to_owned(),
        resource_names_subscribe: names(subscribe),
        resource_names_unsubscribe: names(unsubscribe),
        ..Request::default()
    };
    raw.send(ask(&["*"], &["*"])).await;
    assert_eq!(raw.next().await.unwrap().unwrap().0, "Address");
    let started = Instant::now();
    for (name, answer) in [
        ("b", "Address +b=1"),
        ("c", "Address -c"),
        ("c", "Address -c"),
    ] {
        raw.send(ask(&[name], &[])).await;
        assert_eq!(raw.next().await.unwrap().unwrap().0, answer);
    }
    assert_eq!(
        started.elapsed(),
        Duration::ZERO,
        "not even the unanswered responses delay it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_far_above_four_megabytes_arrives() {
    let mut world = World::new();
    let megabyte = "x".repeat(1 << 20);
    let edits: Vec<_> = (0..12).map(|n| format!("r{n}={megabyte}")).collect();
    world.publish(
        ADDRESS,
        &edits.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let proxy = world.client("z");
    world.synced().await;
    assert_eq!(proxy.state(ADDRESS).len(), 12);
}
