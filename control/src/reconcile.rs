//! Keeps what follows from the objects up to date: resources, statuses, manifests, findings.
//!
//! One task, so that there is one order of changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::deploy::files::Folder;
use crate::events::Events;
use crate::finding::Board;
use crate::object::{Handle, Objects};
use crate::serve::{Client, ControlServer};
use crate::status;
use crate::translate::{Delta, Rejection, ResourceEdits, Translator};

/// The section of the board that translation owns.
const SECTION: &str = "translation";

/// How long reports of waypoints are gathered before they are heard.
const GATHER: Duration = Duration::from_millis(100);

/// A resource at a proxy that could not use it: proxy, type, name.
type Refused = (String, String, String);

/// Why, and as of which publication.
#[derive(Debug, Eq, PartialEq)]
struct Refusal {
    reason: String,
    generation: Option<u64>,
    is_current: bool,
}

impl Refusal {
    /// Whether the translation must hear of it. It forgets what was refused when it makes another
    /// version, so it is told again after each publication, once that was answered.
    fn is_news(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| {
            before.reason != self.reason
                || (self.is_current && before.generation != self.generation)
        })
    }
}

/// What follows from the objects, kept up to date.
pub(crate) struct Reconciler {
    pub(crate) handle: Handle,
    pub(crate) translator: Translator,
    pub(crate) server: Arc<ControlServer>,
    pub(crate) folder: Folder,
    pub(crate) board: Arc<Board>,
    pub(crate) events: Events,
    /// Until when waypoints may be about to connect, since control has started.
    pub(crate) patience: Instant,
    /// The revision of the objects that proxies have been told of.
    pub(crate) published: watch::Sender<u64>,
}

impl Reconciler {
    /// Follows the objects until there are none to follow any more.
    pub(crate) async fn run(mut self) {
        if self.handle.synced().await.is_err() {
            return;
        }
        let mut objects = self.handle.subscribe();
        let mut clients = self.server.clients_changed();
        let mut reports = self.server.reports().changed();
        // Reports that come together are heard together.
        let mut due = Some(Instant::now());
        let mut refused = BTreeMap::new();
        let mut patience = Some(self.patience);
        let view = objects.borrow_and_update().clone();
        self.first(&view).await;
        loop {
            tokio::select! {
                changed = objects.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let view = objects.borrow_and_update().clone();
                    let delta = self.translator.update(&view);
                    self.publish(&view, delta).await;
                }
                Ok(()) = clients.changed() => {
                    let now = refusals(&self.server.clients());
                    self.hear(&refused, &now).await;
                    refused = now;
                }
                Ok(()) = reports.changed() => {
                    let soon = Instant::now() + GATHER;
                    due = Some(due.map_or(soon, |due| due.min(soon)));
                }
                () = at(due) => due = self.listen().await,
                () = at(patience) => {
                    patience = None;
                    self.outwait().await;
                }
            }
        }
    }

    /// Takes note of what waypoints say of plugins. Returns when that changes by itself.
    async fn listen(&mut self) -> Option<Instant> {
        let (reported, next) = self.server.reports().read();
        let delta = self.translator.hear(reported);
        if delta != Delta::default() {
            let view = self.handle.objects();
            self.publish(&view, delta).await;
        }
        next
    }

    /// Says of waypoints that nobody has connected for them.
    async fn outwait(&self) {
        let mut statuses = self.translator.statuses();
        statuses.retain(|_, status| status.is_waiting);
        let delta = Delta {
            statuses,
            ..Delta::default()
        };
        self.publish(&self.handle.objects(), delta).await;
    }

    /// The first translation replaces whatever an earlier life has left.
    async fn first(&mut self, view: &Objects) {
        let delta = self.translator.update(view);
        self.server.catalogs().replace(self.translator.resources());
        if let Err(error) = self.folder.restore(&self.translator.manifests()) {
            tracing::error!(error = %runtime::report(&error), "waypoints are not deployed");
        }
        self.publish(
            view,
            Delta {
                resources: ResourceEdits::default(),
                ..delta
            },
        )
        .await;
    }

    async fn publish(&self, view: &Objects, delta: Delta) {
        self.server.catalogs().apply(&delta.resources);
        for (gateway, manifests) in &delta.manifests {
            if let Err(error) = self.folder.put(gateway, manifests) {
                tracing::error!(%gateway, error = %runtime::report(&error), "not deployed");
            }
        }
        let now = Timestamp::now();
        let statuses: Vec<_> = delta
            .statuses
            .into_iter()
            .filter_map(|(key, status)| {
                let object = view.find(&key)?;
                let old = object.status.as_deref();
                // What waypoints said before control started is still so, until they have had the
                // time to connect again.
                let is_early = status.is_waiting && Instant::now() < self.patience;
                if is_early && status::is_told(old, object.life.generation) {
                    return None;
                }
                let new = status.written_over(old, now);
                let stops = delta.stops.get(&key).copied().unwrap_or(0);
                self.events.note(object, old, new.as_ref(), stops, now);
                (new.as_ref() != old).then_some((key, new))
            })
            .collect();
        // Places of objects may move without the objects changing, so findings are said anew.
        self.board.set(SECTION, self.translator.findings(view));
        if !statuses.is_empty() && self.handle.set_statuses(statuses).await.is_err() {
            tracing::debug!("statuses come too late, control is ending");
        }
        self.published.send_replace(view.revision());
    }

    /// Takes note of what proxies refuse, and of what they no longer do.
    async fn hear(
        &mut self,
        before: &BTreeMap<Refused, Refusal>,
        now: &BTreeMap<Refused, Refusal>,
    ) {
        let view = self.handle.objects();
        let new = now
            .iter()
            .filter(|(at, refusal)| refusal.is_news(before.get(*at)));
        let new: Vec<_> = new
            .map(|(at, refusal)| (at, Some(refusal.reason.as_str())))
            .collect();
        let over = before
            .keys()
            .filter(|at| !now.contains_key(*at))
            .map(|at| (at, None));
        for ((proxy, type_url, name), reason) in new.into_iter().chain(over) {
            let rejection = Rejection {
                proxy,
                type_url,
                name,
                reason,
            };
            let delta = self.translator.reject(&rejection);
            if delta != Delta::default() {
                self.publish(&view, delta).await;
            }
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn refusals(clients: &[Client]) -> BTreeMap<Refused, Refusal> {
    let of = |client: &Client| {
        let proxy = client.audience.to_string();
        let types = client.types.clone();
        types.into_iter().flat_map(move |(type_url, state)| {
            let proxy = proxy.clone();
            state.rejected.into_iter().map(move |rejected| {
                let refusal = Refusal {
                    reason: rejected.reason,
                    generation: state.generation,
                    is_current: state.current,
                };
                (
                    (proxy.clone(), type_url.clone(), rejected.resource),
                    refusal,
                )
            })
        })
    };
    clients.iter().flat_map(of).collect()
}
