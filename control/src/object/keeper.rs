//! The one task that owns the [`Store`], and the handle by which everyone else reaches it.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Key, Objects, Saved, Store};
use crate::finding::Board;
use crate::source::{Event, Root};

/// Orders waiting to be taken. A source that is faster than the keeper waits.
const WAITING: usize = 256;

/// Orders that are taken together before anyone is told.
const TOGETHER: usize = 1024;

/// How long changes are gathered before they are saved.
const SAVE_DELAY: Duration = Duration::from_millis(500);

/// The section of the [`Board`] that the keeper owns.
const SECTION: &str = "objects";

/// What the keeper is asked to do.
#[derive(Debug)]
enum Order {
    Take(Event),
    SetStatuses(Vec<(Key, Option<Value>)>),
}

/// The keeper has ended, and nothing can be kept any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the object store has ended")]
pub struct Closed;

/// The task around a [`Store`].
#[derive(Debug)]
pub struct Keeper {
    store: Store,
    orders: mpsc::Receiver<Order>,
    view: watch::Sender<Objects>,
    synced: watch::Sender<bool>,
    board: Arc<Board>,
    file: Option<PathBuf>,
    saving: Option<JoinHandle<io::Result<()>>>,
    save_at: Option<Instant>,
}

/// Reaches the objects: reads them, follows them, gives events and statuses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    view: watch::Receiver<Objects>,
    synced: watch::Receiver<bool>,
    board: Arc<Board>,
}

impl Keeper {
    /// A keeper whose store outlives restarts in `file` (without one it does not), for objects of
    /// `roots`. Nothing happens until [`Keeper::run`] is polled.
    pub fn open(file: Option<PathBuf>, roots: &[Root], board: Arc<Board>) -> (Self, Handle) {
        let saved = file.as_deref().map_or_else(Saved::default, |file| {
            Saved::load(file).unwrap_or_else(|error| {
                let file = file.display();
                tracing::warn!(%file, %error, "saved objects are unreadable, starting without");
                Saved::default()
            })
        });
        let store = Store::restore(saved, roots, Timestamp::now());
        let (sender, orders) = mpsc::channel(WAITING);
        let view = watch::Sender::new(store.objects().clone());
        let synced = watch::Sender::new(false);
        let handle = Handle {
            orders: sender,
            view: view.subscribe(),
            synced: synced.subscribe(),
            board: board.clone(),
        };
        let keeper = Self {
            store,
            orders,
            view,
            synced,
            board,
            file,
            saving: None,
            save_at: None,
        };
        (keeper, handle)
    }

    /// Takes orders until `stop` is done or no handle is left, then saves what is not saved yet.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                () = &mut stop => break,
                taken = self.orders.recv_many(&mut batch, TOGETHER) => {
                    if taken == 0 {
                        break;
                    }
                    self.take(batch);
                }
                () = sleep_until(self.save_at) => self.begin_save(),
                result = finished(&mut self.saving) => self.end_save(result),
            }
        }
        while self.save_at.is_some() || self.saving.is_some() {
            if self.saving.is_none() {
                self.begin_save();
            }
            let result = finished(&mut self.saving).await;
            self.end_save(result);
        }
    }

    fn take(&mut self, batch: Vec<Order>) {
        let before = self.store.objects().revision();
        let mut touched = BTreeSet::new();
        for order in batch {
            match order {
                Order::Take(event) => touched.extend(self.store.apply(event, Timestamp::now())),
                Order::SetStatuses(statuses) => {
                    for (key, status) in statuses {
                        if self.store.set_status(&key, status) {
                            touched.insert(key);
                        }
                    }
                }
            }
        }
        if !touched.is_empty() {
            self.view.send_replace(self.store.objects().clone());
        }
        if self.store.objects().revision() != before && self.file.is_some() {
            self.save_at
                .get_or_insert_with(|| Instant::now() + SAVE_DELAY);
        }
        self.board.set(SECTION, self.store.findings());
        if self.store.is_synced() {
            self.synced
                .send_if_modified(|synced| !std::mem::replace(synced, true));
        }
    }

    fn begin_save(&mut self) {
        let Some(file) = self.file.clone() else {
            return;
        };
        if self.saving.is_some() {
            // The file is being written; what changed since then is saved next time.
            self.save_at = Some(Instant::now() + SAVE_DELAY);
            return;
        }
        self.save_at = None;
        let saved = self.store.save();
        self.saving = Some(tokio::task::spawn_blocking(move || saved.write(&file)));
    }

    fn end_save(&mut self, result: io::Result<()>) {
        self.saving = None;
        if let Err(error) = result {
            tracing::warn!(%error, "objects are not saved and will be new after a restart");
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for the write that is under way, for ever if there is none.
async fn finished(saving: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match saving {
        Some(saving) => saving
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic))),
        None => std::future::pending().await,
    }
}

impl Handle {
    /// Gives an event to the store. Waits while the store is busy.
    ///
    /// # Errors
    /// The keeper has ended.
    pub async fn take(&self, event: Event) -> Result<(), Closed> {
        self.orders
            .send(Order::Take(event))
            .await
            .map_err(|_| Closed)
    }

    /// As [`Handle::take`], for threads outside the runtime.
    ///
    /// # Errors
    /// The keeper has ended.
    pub fn take_blocking(&self, event: Event) -> Result<(), Closed> {
        self.orders
            .blocking_send(Order::Take(event))
            .map_err(|_| Closed)
    }

    /// Sets the statuses of objects; an object that is gone by then is passed over.
    ///
    /// # Errors
    /// The keeper has ended.
    pub async fn set_statuses(&self, statuses: Vec<(Key, Option<Value>)>) -> Result<(), Closed> {
        self.orders
            .send(Order::SetStatuses(statuses))
            .await
            .map_err(|_| Closed)
    }

    /// All objects as they are now.
    pub fn objects(&self) -> Objects {
        self.view.borrow().clone()
    }

    /// Follows the objects. With the view that was seen last, [`Objects::changes_since`] tells
    /// what happened.
    pub fn subscribe(&self) -> watch::Receiver<Objects> {
        self.view.clone()
    }

    /// Waits until the store has heard everything that was there when the sources started.
    ///
    /// # Errors
    /// The keeper has ended before.
    pub async fn synced(&self) -> Result<(), Closed> {
        self.synced
            .clone()
            .wait_for(|synced| *synced)
            .await
            .map(drop)
            .map_err(|_| Closed)
    }

    /// The list of all findings.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }
}

#[cfg(test)]
mod tests;
