//! Who owns the tasks of a process. The only place that spawns one.
//!
//! Every task has a name and an owner. Dropping the owner ends its tasks; a task that panics is
//! logged and counted and takes nobody with it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(test)]
mod tests;

/// Panics of tasks since the process began.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many tasks have panicked since the process began.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Tasks on a multi-purpose runtime. Clones share them; the last clone to go ends them.
#[derive(Clone, Debug)]
pub struct TaskSet {
    runtime: Handle,
    owner: Arc<Owner>,
}

/// Tasks on the worker thread this is used on. Clones share them; the last clone to go ends them.
///
/// Must be used inside the worker's `LocalSet`.
#[derive(Clone, Debug, Default)]
pub struct LocalTasks {
    owner: Arc<Owner>,
}

#[derive(Debug, Default)]
struct Owner {
    tracker: TaskTracker,
    ended: CancellationToken,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl TaskSet {
    /// An empty set whose tasks run on the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn current() -> Self {
        Self {
            runtime: Handle::current(),
            owner: Arc::default(),
        }
    }

    /// Runs a task.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self
            .owner
            .tracker
            .track_future(guarded(name, &self.owner.ended, task));
        drop(self.runtime.spawn(task));
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.owner.tracker.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.owner.tracker.is_empty()
    }

    /// Resolves when all tasks have ended by themselves; new ones may still come until then.
    pub async fn finished(&self) {
        self.owner.tracker.close();
        self.owner.tracker.wait().await;
    }

    /// Ends all tasks and waits until they are gone.
    pub async fn stop(&self) {
        self.owner.ended.cancel();
        self.finished().await;
    }
}

impl LocalTasks {
    /// Runs a task on this thread.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        let task = self
            .owner
            .tracker
            .track_future(guarded(name, &self.owner.ended, task));
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the owner the lint asks for"
        )]
        drop(tokio::task::spawn_local(task));
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.owner.tracker.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.owner.tracker.is_empty()
    }

    /// Resolves when all tasks have ended by themselves; new ones may still come until then.
    pub async fn finished(&self) {
        self.owner.tracker.close();
        self.owner.tracker.wait().await;
    }

    /// Ends all tasks, on whatever thread they are. Does not wait until they are gone.
    pub fn end(&self) {
        self.owner.ended.cancel();
    }
}

/// The task until it ends, panics, or its owner is gone. No allocation of its own: a task is one
/// allocation, and there is one for every stream.
fn guarded<T: Future<Output = ()>>(
    name: &'static str,
    ended: &CancellationToken,
    task: T,
) -> impl Future<Output = ()> + use<T> {
    let ended = ended.clone();
    async move {
        let mut task = pin!(task);
        let contained = poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx)));
            polled.unwrap_or_else(|panic| {
                PANICS.fetch_add(1, Ordering::Relaxed);
                tracing::error!(task = name, panic = said(&*panic), "a task panicked");
                Poll::Ready(())
            })
        });
        tokio::select! {
            () = contained => {}
            () = ended.cancelled() => {}
        }
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "(no message)",
    }
}
