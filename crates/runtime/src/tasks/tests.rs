use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::{LocalTasks, TaskSet, panics};

#[tokio::test]
async fn a_panicking_task_is_counted_and_takes_nobody_with_it() {
    let before = panics();
    let tasks = TaskSet::current();
    let done = Arc::new(Notify::new());
    tasks.spawn("bad", async { panic!("on purpose") });
    let other = done.clone();
    tasks.spawn("good", async move { other.notify_one() });
    done.notified().await;
    tasks.finished().await;
    // Not by exactly one: tasks of other tests panic on purpose, too.
    assert!(panics() > before);
}

#[tokio::test]
async fn dropping_the_owner_ends_its_tasks() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let tasks = TaskSet::current();
    for _ in 0..3 {
        let counted = Counted(ended.clone());
        tasks.spawn("endless", async move {
            let _counted = counted;
            std::future::pending::<()>().await;
        });
    }
    tokio::task::yield_now().await;
    assert_eq!(tasks.len(), 3);
    drop(tasks);
    while ended.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn local_tasks_need_not_be_send() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let tasks = LocalTasks::default();
            let shared = std::rc::Rc::new(std::cell::Cell::new(0));
            let other = shared.clone();
            tasks.spawn("local", async move { other.set(7) });
            tasks.finished().await;
            assert_eq!(shared.get(), 7);
        })
        .await;
}
