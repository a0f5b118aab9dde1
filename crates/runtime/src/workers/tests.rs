use std::rc::Rc;
use std::sync::mpsc;

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
