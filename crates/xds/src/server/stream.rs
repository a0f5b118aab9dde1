//! One stream in time: what wakes it, and what it gives up on.
//!
//! The stream is polled by its connection, and only while the connection can take a response, so
//! a client that does not read costs no more than what it was last sent.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, Stream, future::select_all, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use super::{
    Embedder, Shared,
    admission::Place,
    catalog::{Catalog, Snapshot},
    registry::Ticket,
    session::Session,
};
use crate::{Request, Response};

/// A round begins once nothing changed for this long …
const QUIET: Duration = Duration::from_millis(10);

/// … or this long after the first change, whichever is sooner. istiod waits 100 ms and 10 s.
const LONGEST: Duration = Duration::from_millis(100);

/// A client that leaves a response unanswered this long is disconnected: it makes no progress,
/// and perhaps it does with another stream.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a stream needs for its life.
pub(super) struct Conversation<E: Embedder> {
    shared: Arc<Shared<E>>,
    peer: E::Peer,
    requests: Streaming<Request>,
    session: Session,
    /// Each catalog the session watches, with its changes.
    feeds: Vec<(Arc<Catalog>, watch::Receiver<Arc<Snapshot>>)>,
    gather: Option<Gather>,
    recheck: Option<Instant>,
    patience: Option<Instant>,
    ticket: Ticket<E::Peer>,
    _place: Place,
}

/// Changes waiting to be sent together.
#[derive(Clone, Copy, Debug)]
struct Gather {
    due: Instant,
    latest: Instant,
}

/// What happened while a stream had nothing to send.
enum Event {
    Changed,
    Due,
    Ended,
    Impatient,
    Recheck,
    Request(Box<Request>),
}

impl<E: Embedder> Conversation<E> {
    pub(super) fn new(
        shared: Arc<Shared<E>>,
        grant: super::Grant<E::Peer>,
        requests: Streaming<Request>,
        place: Place,
    ) -> Self {
        let id = shared.next_stream();
        let session = Session::new(id, Arc::clone(&shared.order));
        let ticket = shared.registry.enter(id, grant.peer.clone());
        info!(peer = ?grant.peer, stream = id, "client connected");
        Self {
            shared,
            peer: grant.peer,
            requests,
            session,
            feeds: Vec::new(),
            gather: None,
            recheck: grant.recheck_at,
            patience: None,
            ticket,
            _place: place,
        }
    }

    /// The responses, as they become due. An error ends the stream.
    pub(super) fn responses(self) -> impl Stream<Item = Result<Response, Status>> + Send + 'static {
        stream::unfold(Some(self), |conversation| async {
            let mut conversation = conversation?;
            match conversation.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(conversation))),
                Ok(None) => None,
                Err(status) => {
                    let peer = &conversation.peer;
                    warn!(?peer, code = ?status.code(), message = status.message(), "stream ended by us");
                    Some((Err(status), None))
                }
            }
        })
    }

    /// The next response; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Response>, Status> {
        loop {
            if let Some(response) = self.session.next_response() {
                debug!(
                    peer = ?self.peer,
                    type_url = %response.type_url,
                    resources = response.resources.len(),
                    removed = response.removed_resources.len(),
                    "response"
                );
                self.patience = Some(Instant::now() + PATIENCE);
                return Ok(Some(response));
            }
            match self.event().await? {
                Event::Changed => self.gather(),
                Event::Due => {
                    self.gather = None;
                    self.session.round();
                    self.ticket.show(&self.session);
                }
                Event::Ended => return Ok(None),
                Event::Impatient => {
                    return Err(Status::deadline_exceeded("no answer to a response"));
                }
                Event::Recheck => self.recheck = self.shared.embedder.recheck(&self.peer).await?,
                Event::Request(request) => self.request(*request)?,
            }
        }
    }

    async fn event(&mut self) -> Result<Event, Status> {
        let due = self
            .gather
            .map(|gather| gather.due)
            .filter(|_| self.session.is_settled());
        tokio::select! {
            () = self.shared.closed() => Ok(Event::Ended),
            request = self.requests.message() => {
                Ok(request?.map_or(Event::Ended, |request| Event::Request(Box::new(request))))
            }
            () = changed(&mut self.feeds) => Ok(Event::Changed),
            () = at(due) => Ok(Event::Due),
            () = at(self.recheck) => Ok(Event::Recheck),
            () = at(self.patience) => Ok(Event::Impatient),
        }
    }

    fn request(&mut self, request: Request) -> Result<(), Status> {
        let (embedder, peer) = (&self.shared.embedder, &self.peer);
        let waiting = self.session.n_unanswered();
        let answer = self
            .session
            .request(request, |type_url, node| {
                embedder.view(peer, type_url, node)
            })
            .map_err(|excess| Status::resource_exhausted(excess.to_string()))?;
        self.follow_catalogs();
        if self.session.is_owed() {
            // First requests come together: answered together, they are in the order of types.
            self.gather();
        }
        if let Some(answer) = answer {
            for rejection in &answer.rejected {
                let (name, reason) = (&*rejection.name, rejection.reason.as_str());
                warn!(peer = ?self.peer, type_url = %answer.type_url, name, reason, "resource rejected");
            }
            if self.session.is_settled() {
                self.patience = None;
            } else if self.session.n_unanswered() < waiting {
                self.patience = Some(Instant::now() + PATIENCE);
            }
            self.ticket.show(&self.session);
            self.shared.embedder.answered(&self.peer, &answer);
        }
        Ok(())
    }

    fn gather(&mut self) {
        let now = Instant::now();
        let latest = self.gather.map_or(now + LONGEST, |gather| gather.latest);
        self.gather = Some(Gather {
            due: (now + QUIET).min(latest),
            latest,
        });
    }

    fn follow_catalogs(&mut self) {
        for catalog in self.session.catalogs() {
            if !self
                .feeds
                .iter()
                .any(|(known, _)| Arc::ptr_eq(known, &catalog))
            {
                let feed = catalog.subscribe();
                self.feeds.push((catalog, feed));
            }
        }
    }
}

impl<E: Embedder> Drop for Conversation<E> {
    fn drop(&mut self) {
        info!(peer = ?self.peer, "client gone");
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits for a new snapshot in any catalog.
async fn changed(feeds: &mut [(Arc<Catalog>, watch::Receiver<Arc<Snapshot>>)]) {
    if feeds.is_empty() {
        return std::future::pending().await;
    }
    let waiting = feeds.iter_mut().map(|(_, feed)| feed.changed().boxed());
    // The sender is alive, since the catalog is held beside it.
    let (Ok(()) | Err(_), _, _) = select_all(waiting).await;
}
