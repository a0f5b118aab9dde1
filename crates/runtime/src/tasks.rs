//! Who owns the tasks of a process. The only place that spawns one.
//!
//! Every task has a name and an owner. Dropping the owner ends its tasks; a task that panics is
//! logged and counted and takes nobody with it.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

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
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the owner the lint asks for"
        )]
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
}

/// The task until it ends, panics, or its owner is gone.
fn guarded<T: Future<Output = ()>>(
    name: &'static str,
    ended: &CancellationToken,
    task: T,
) -> impl Future<Output = ()> + use<T> {
    let ended = ended.clone();
    async move {
        tokio::select! {
            () = Guarded { name, task: Box::pin(task) } => {}
            () = ended.cancelled() => {}
        }
    }
}

struct Guarded<T> {
    name: &'static str,
    task: Pin<Box<T>>,
}

impl<T: Future<Output = ()>> Future for Guarded<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.task.as_mut();
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| task.poll(cx)));
        polled.unwrap_or_else(|panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            tracing::error!(task = self.name, panic = said(&*panic), "a task panicked");
            Poll::Ready(())
        })
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "(no message)",
    }
}
