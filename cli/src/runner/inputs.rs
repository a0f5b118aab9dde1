//! The objects the runner acts on: read, defaulted and judged by control's own code.
//!
//! It is the same library that control itself uses, on the same files, so the two never disagree
//! about which object counts, and the runner goes on when control is away.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use control::{
    object::{Objects, Saved, Store},
    source::{Document, Event, Origin, Root, Scope, files::Files},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

/// The name of what the runner itself has written, among the sources of objects.
const OWN_SCOPE: &str = "cluster";

/// Manifests, followed while they change.
#[derive(Debug)]
pub(super) struct Inputs {
    store: Store,
    events: mpsc::UnboundedReceiver<Event>,
    /// Reads until it is dropped.
    _files: Files,
}

impl Inputs {
    /// Follows `manifests`, files or folders, the first that holds an object winning; `own` are
    /// objects that exist without a file, and `changed` is told when there is something to take.
    pub(super) fn start(
        manifests: &[PathBuf],
        own: Vec<Value>,
        changed: Arc<Notify>,
    ) -> io::Result<Self> {
        let written = |(order, path): (u32, &PathBuf)| Root::Written {
            order,
            path: path.as_path().into(),
        };
        let roots: Vec<Root> = (0..).zip(manifests).map(written).collect();
        // Never full for long: the runner takes all there is each round.
        let (sink, events) = mpsc::unbounded_channel();
        let mut store = Store::restore(Saved::default(), &roots, Timestamp::now());
        let documents = own
            .into_iter()
            .map(|value| Document {
                value,
                origin: Origin::default(),
            })
            .collect();
        let root = Root::Recorded {
            order: 0,
            path: Path::new("").into(),
        };
        let scope = Scope::new(root, OWN_SCOPE);
        store.apply(
            Event::Snapshot {
                scope,
                documents,
                unreadable: Vec::new(),
            },
            Timestamp::now(),
        );
        let files = Files::start(roots, move |event| {
            let sent = sink.send(event);
            changed.notify_one();
            sent
        })?;
        Ok(Self {
            store,
            events,
            _files: files,
        })
    }

    /// Takes what the sources have reported; whether anything differs from before.
    pub(super) fn take(&mut self) -> bool {
        let before = (self.store.objects().revision(), self.store.is_synced());
        while let Ok(event) = self.events.try_recv() {
            self.store.apply(event, Timestamp::now());
        }
        before != (self.store.objects().revision(), self.store.is_synced())
    }

    /// Whether everything that was there at the start has been read.
    pub(super) fn is_synced(&self) -> bool {
        self.store.is_synced()
    }

    /// All objects as they are now.
    pub(super) fn objects(&self) -> &Objects {
        self.store.objects()
    }
}
