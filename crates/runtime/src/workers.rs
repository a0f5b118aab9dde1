//! The threads that serve traffic: each a runtime of its own, nothing shared between them.
//!
//! A request lives on one worker from accept to log line (DESIGN: worker model). What runs here
//! may be `!Send`; what must cross threads is handed over as a closure that makes it there.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread::JoinHandle;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::tasks::LocalTasks;

#[cfg(test)]
mod tests;

/// A future that stays on the thread it was made on.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(LocalTasks) -> LocalFuture + Send>;

/// A set of worker threads.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts `count` threads, named after what they do.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(count: usize, name: &str) -> io::Result<Self> {
        let threads = (0..count.max(1))
            .map(|index| {
                let (jobs, inbox) = mpsc::unbounded_channel();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                let thread = std::thread::Builder::new()
                    .name(format!("{name}-{index}"))
                    .spawn(move || LocalSet::new().block_on(&runtime, work(inbox)))?;
                Ok(Worker { jobs, thread })
            })
            .collect::<io::Result<_>>()?;
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

    /// Ends all tasks and waits for the threads.
    pub fn stop(self) {
        for Worker { jobs, thread } in self.threads {
            drop(jobs);
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

async fn work(mut jobs: mpsc::UnboundedReceiver<Job>) {
    let tasks = LocalTasks::default();
    while let Some(job) = jobs.recv().await {
        let future = job(tasks.clone());
        tasks.spawn("worker job", future);
    }
}
