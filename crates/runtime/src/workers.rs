//! The threads that serve traffic: each a runtime of its own, nothing shared between them.
//!
//! A request lives on one worker from accept to log line, so nothing on its path takes a lock or
//! crosses a thread. What runs here may be `!Send`; what must cross threads is handed over as a
//! closure that makes it there.

mod count;
mod metrics;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread::JoinHandle;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout_at};

use crate::tasks::LocalTasks;

pub use count::{InvalidCount, count};

/// A future that stays on the thread it was made on.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

type Job = Box<dyn FnOnce(LocalTasks) -> LocalFuture + Send>;

/// A set of worker threads. Dropping it ends their tasks, and then them.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    /// Unbounded: jobs are made when the process starts and when configuration changes, one or
    /// few per change, and a job that was lost would be a pod that is not served.
    jobs: mpsc::UnboundedSender<Job>,
    tasks: LocalTasks,
    runtime: Handle,
    /// Resolves when the thread has nothing more to do.
    idle: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts `count` threads, at least one, named after what they do.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(count: usize, name: &str) -> io::Result<Self> {
        let threads = (0..count.max(1)).map(|index| Worker::start(format!("{name}-{index}")));
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Runs something on one worker; `make` is called there, with the worker's tasks. An index
    /// beyond the last worker wraps around.
    pub fn run_on<F, T>(&self, index: usize, make: F)
    where
        F: FnOnce(LocalTasks) -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        let Some(worker) = self.threads.get(index % self.threads.len().max(1)) else {
            return;
        };
        // A worker that is gone has ended with the process.
        let _ = worker.jobs.send(Box::new(|tasks| Box::pin(make(tasks))));
    }

    /// Runs something on every worker; `make` is called once on each, with its index.
    pub fn broadcast<F, T>(&self, make: F)
    where
        F: FnOnce(usize, LocalTasks) -> T + Clone + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        for index in 0..self.threads.len() {
            let make = make.clone();
            self.run_on(index, move |tasks| make(index, tasks));
        }
    }

    /// Runs something on one worker, as [`Self::run_on`], and returns what becomes of it; `None`
    /// when it panicked or the worker ended first. It goes on when the caller stops waiting.
    pub async fn call<F, T, R>(&self, index: usize, make: F) -> Option<R>
    where
        F: FnOnce(LocalTasks) -> T + Send + 'static,
        T: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.run_on(index, move |tasks| {
            let result = make(tasks);
            // Nobody may be waiting any more.
            async move { drop(answer.send(result.await)) }
        });
        answered.await.ok()
    }

    /// Returns the worker with the fewest tasks: where the next connection goes.
    pub fn least_loaded(&self) -> usize {
        let loads = self
            .threads
            .iter()
            .map(|worker| worker.tasks.len())
            .enumerate();
        loads
            .min_by_key(|(_, tasks)| *tasks)
            .map_or(0, |(index, _)| index)
    }

    /// Takes no more jobs, lets what runs go on until `deadline`, then ends it. Returns how many
    /// tasks had to be ended.
    pub async fn finish(self, deadline: Instant) -> usize {
        let mut leaving = Vec::with_capacity(self.threads.len());
        for worker in self.threads {
            drop(worker.jobs);
            leaving.push((worker.idle, worker.tasks, worker.thread));
        }
        let mut ended = 0;
        let mut threads = Vec::with_capacity(leaving.len());
        for (idle, tasks, thread) in leaving {
            if timeout_at(deadline, idle).await.is_err() {
                ended += tasks.len();
                tasks.end();
            }
            threads.push(thread);
        }
        let joined = tokio::task::spawn_blocking(|| join(threads)).await;
        if let Err(error) = joined {
            tracing::error!(%error, "cannot wait for worker threads");
        }
        ended
    }

    /// Ends all tasks and waits for the threads. Blocks; for use outside of a runtime.
    pub fn stop(self) {
        let end = |Worker {
                       jobs,
                       tasks,
                       thread,
                       ..
                   }: Worker| {
            drop(jobs);
            tasks.end();
            thread
        };
        join(self.threads.into_iter().map(end).collect());
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
}

impl Worker {
    fn start(name: String) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let (leaving, idle) = oneshot::channel();
        let tasks = LocalTasks::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let local = tasks.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            work(&runtime, inbox, local);
            // Whoever waits may have stopped doing so.
            let _ = leaving.send(());
        })?;
        Ok(Self {
            jobs,
            tasks,
            runtime: handle,
            idle,
            thread,
        })
    }
}

/// The life of a worker: runs jobs while there may be more, then what is left of them.
fn work(runtime: &Runtime, mut jobs: mpsc::UnboundedReceiver<Job>, tasks: LocalTasks) {
    LocalSet::new().block_on(runtime, async move {
        while let Some(job) = jobs.recv().await {
            let set = tasks.clone();
            // The closure runs inside the task, where a panic is contained.
            tasks.spawn("worker job", async move { job(set).await });
        }
        tasks.finished().await;
    });
}

#[cfg(test)]
mod tests;
