//! What turns out to be unusable after it was acknowledged.

use std::time::Duration;

use proto::google::rpc::Status;
use xds::Request;

use crate::wire::{ADDRESS, POLICY, Proxy, World, eventually};

const REASON: &str = "no such module; it: is missing";

async fn world() -> (World, Proxy) {
    let mut world = World::new();
    world.publish(ADDRESS, &["a=1", "b=1", "c=1"]);
    let proxy = world.client("z");
    world.synced().await;
    proxy.take_log();
    (world, proxy)
}

async fn refused(world: &World, expected: &[&str]) {
    eventually("the server knows what is refused", || {
        world.refused(ADDRESS) == expected
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_resource_may_be_refused_after_it_was_acked_and_nothing_is_sent_for_that() {
    let (world, proxy) = world().await;
    world.answers.lock().clear();
    proxy.refusals().refuse(ADDRESS, "a", REASON);
    refused(&world, &["a=1: no such module; it: is missing"]).await;
    proxy.refusals().refuse(ADDRESS, "c", "nor this");
    refused(
        &world,
        &["a=1: no such module; it: is missing", "c=1: nor this"],
    )
    .await;

    let told: Vec<_> = world.answers.lock().drain(..).collect();
    let rejected = told.iter().flat_map(|(_, answer)| &answer.rejected);
    let names: Vec<_> = rejected.map(|rejected| &*rejected.name).collect();
    assert_eq!(names, ["a", "c"], "each once");
    let client = world.server.clients().remove(0);
    let holding = &client.holdings[ADDRESS];
    assert!(client.is_current(), "it has answered everything");
    assert_eq!(holding.version("a"), None);
    assert!(holding.version("b").is_some());

    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(proxy.take_log().is_empty(), "nothing is sent again");
    assert!(proxy.terminations().is_empty());
    world.publish(ADDRESS, &["b=2"]);
    world.synced().await;
    assert_eq!(proxy.take_log(), ["Address +b=2"]);
    assert_eq!(world.refused(ADDRESS).len(), 2, "the answer is of b alone");
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_is_taken_back() {
    let (world, proxy) = world().await;
    proxy.refusals().refuse(ADDRESS, "a", "first");
    proxy.refusals().refuse(ADDRESS, "b", "no");
    refused(&world, &["a=1: first", "b=1: no"]).await;
    proxy.refusals().refuse(ADDRESS, "a", "second");
    refused(&world, &["a=1: second", "b=1: no"]).await;
    world.answers.lock().clear();
    proxy.refusals().accept(ADDRESS, "b");
    refused(&world, &["a=1: second"]).await;
    proxy.refusals().accept(ADDRESS, "a");
    refused(&world, &[]).await;
    let acked = world.answers.lock().clone();
    let acked = acked.iter().flat_map(|(_, answer)| &answer.acked);
    let names: Vec<_> = acked.map(|(name, _)| &**name).collect();
    assert_eq!(names, ["b", "a"]);
    assert!(
        world.server.clients()[0].holdings[ADDRESS]
            .version("a")
            .is_some()
    );
    assert!(proxy.take_log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_is_told_again_on_every_new_stream_and_the_resource_is_not_sent_again() {
    let (mut world, proxy) = world().await;
    proxy.refusals().refuse(ADDRESS, "a", "no");
    refused(&world, &["a=1: no"]).await;

    world.cut();
    world.synced_again(1).await;
    refused(&world, &["a=1: no"]).await;
    assert_eq!(proxy.take_log(), ["Policy", "Address"]);

    // To a server that remembers nothing, and removes something at the same time.
    world.stop();
    proxy
        .refusals()
        .refuse(ADDRESS, "b", "said while nobody listens");
    world.start(|catalog| {
        crate::wire::publish(catalog, ADDRESS, &["a=1", "b=1", "d=1"]);
        crate::wire::publish(catalog, POLICY, &["p=1"]);
    });
    world.synced().await;
    refused(&world, &["a=1: no", "b=1: said while nobody listens"]).await;
    assert_eq!(proxy.take_log(), ["Policy +p=1", "Address -c +d=1"]);

    proxy.refusals().accept(ADDRESS, "a");
    proxy.refusals().accept(ADDRESS, "b");
    refused(&world, &[]).await;
    world.cut();
    world.synced_again(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.refused(ADDRESS).is_empty(), "it is over for good");
}

#[tokio::test(start_paused = true)]
async fn another_version_or_its_end_clears_a_late_refusal() {
    let (world, proxy) = world().await;
    for name in ["a", "b"] {
        proxy.refusals().refuse(ADDRESS, name, "no");
    }
    refused(&world, &["a=1: no", "b=1: no"]).await;
    world.publish(ADDRESS, &["a=2", "-b"]);
    world.synced().await;
    refused(&world, &[]).await;
    proxy.refusals().refuse(ADDRESS, "a", "no");
    proxy.refusals().refuse(ADDRESS, "b", "it is gone");
    refused(&world, &["a=2: no"]).await;
    world.cut();
    world.synced_again(1).await;
    refused(&world, &["a=2: no"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_version_before_never_counts_for_the_next() {
    let (world, proxy) = world().await;
    proxy.refusals().refuse(ADDRESS, "a", "no");
    // Not told yet when the next version is there.
    world.publish(ADDRESS, &["a=2"]);
    world.synced().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.refused(ADDRESS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn talking_of_what_was_answered_is_no_answer_to_what_was_not() {
    let world = World::new();
    let mut raw = world.raw("z").await;
    raw.open(ADDRESS).await;
    let (_, first) = raw.next().await.unwrap().unwrap();
    raw.ack(ADDRESS, first.clone()).await;
    world.publish(ADDRESS, &["a=1"]);
    raw.next().await.unwrap().unwrap();
    let started = tokio::time::Instant::now();
    let again = async {
        loop {
            let refusal = Request {
                type_url: ADDRESS.to_owned(),
                response_nonce: first.clone(),
                error_detail: Some(Status {
                    message: format!("a: at {:?}", started.elapsed()),
                    ..Status::default()
                }),
                ..Request::default()
            };
            if raw.requests.send(refusal).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(7)).await;
        }
    };
    let ended = raw.responses.as_mut().unwrap().message();
    let status = tokio::select! {
        ended = ended => ended.unwrap_err(),
        () = again => panic!("nobody listens, and nobody says why"),
    };
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(started.elapsed().as_secs(), 60);
}
