use std::future::Future;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Workers;

#[test]
fn a_job_runs_on_the_thread_it_was_given_to() {
    let workers = Workers::start(2, "test").unwrap();
    let (names, found) = mpsc::channel();
    for index in 0..2 {
        let names = names.clone();
        workers.run_on(index, move |_| {
            // Not Send, and it need not be.
            let shared = Rc::new(std::thread::current().name().unwrap_or_default().to_owned());
            async move { names.send(shared.as_str().to_owned()).unwrap() }
        });
    }
    let mut found: Vec<_> = found.iter().take(2).collect();
    found.sort();
    assert_eq!(found, ["test-0", "test-1"]);
    workers.stop();
}

#[test]
fn stopping_ends_what_still_runs() {
    let workers = Workers::start(1, "test").unwrap();
    let (started, wait) = mpsc::channel();
    workers.run_on(0, move |tasks| async move {
        tasks.spawn("endless", std::future::pending());
        started.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    wait.recv().unwrap();
    workers.stop();
}

fn on_control_thread<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(test)
}

#[test]
fn a_call_returns_what_it_found_on_the_worker() {
    on_control_thread(async {
        let workers = Workers::start(3, "test").unwrap();
        let name = workers.call(7, |_| async {
            std::thread::current().name().unwrap_or_default().to_owned()
        });
        assert_eq!(name.await.unwrap(), "test-1");
        let panics = workers.call(0, |_| async { panic!("on purpose") });
        assert_eq!(panics.await, None::<()>);
        let making = workers.call(0, |_| -> std::future::Ready<u8> { panic!("on purpose") });
        assert_eq!(making.await, None);
        let still_there = workers.call(0, |_| async { 7 });
        assert_eq!(still_there.await, Some(7));
        assert_eq!(workers.finish(later()).await, 0);
    });
}

fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[test]
fn a_broadcast_reaches_every_worker_once() {
    on_control_thread(async {
        let workers = Workers::start(4, "test").unwrap();
        let (found, mut indices) = tokio::sync::mpsc::unbounded_channel();
        workers.broadcast(move |index, _| async move { found.send(index).unwrap() });
        let mut all = Vec::new();
        while let Some(index) = indices.recv().await {
            all.push(index);
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
        workers.finish(later()).await;
    });
}

#[test]
fn finishing_waits_for_what_runs_until_the_deadline() {
    on_control_thread(async {
        let workers = Workers::start(2, "test").unwrap();
        let (release, released) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        workers.run_on(0, |_| async {
            released.await.unwrap();
            done.send(()).unwrap();
        });
        let finish = workers.finish(later());
        let release = async { release.send(()).unwrap() };
        let (ended, ()) = tokio::join!(finish, release);
        finished.await.unwrap();
        assert_eq!(ended, 0);

        let workers = Workers::start(2, "test").unwrap();
        let started = workers.call(0, |tasks| async move {
            tasks.spawn("endless", std::future::pending());
            tasks.spawn("endless", std::future::pending());
        });
        started.await.unwrap();
        assert_eq!(workers.finish(Instant::now()).await, 2);
    });
}

#[test]
fn the_next_connection_goes_to_the_worker_with_the_fewest_tasks() {
    on_control_thread(async {
        let workers = Workers::start(2, "test").unwrap();
        let busy = workers.call(0, |tasks| async move {
            tasks.spawn("endless", std::future::pending());
        });
        busy.await.unwrap();
        assert_eq!(workers.least_loaded(), 1);
        workers.stop();
    });
}

#[test]
fn metrics_say_how_busy_each_worker_is() {
    on_control_thread(async {
        let workers = Workers::start(2, "test").unwrap();
        let mut registry = Registry::default();
        workers.register(&mut registry);
        workers.call(0, |_| async {}).await.unwrap();
        let text = crate::admin::stats::Metrics::new(registry).encode();
        for expected in [
            "# TYPE tokio_num_workers gauge\ntokio_num_workers 2\n",
            "tokio_global_queue_depth 0\n",
            "tokio_num_alive_tasks ",
            "# TYPE tokio_worker_total_busy_duration_seconds counter\n",
            "tokio_worker_park_count_total{worker=\"0\"} ",
            "tokio_worker_park_unpark_count_total{worker=\"1\"} ",
        ] {
            assert!(text.contains(expected), "{expected} not in:\n{text}");
        }
        workers.stop();
    });
}
