//! The server's half of the protocol, for one stream.
//!
//! Requests go in, responses come out; no IO, no clock. Two rules shape it:
//!
//! * A *round* compares, for every type, the newest snapshot with the one last told, and a new
//!   round waits until the last one was answered. A slow client therefore skips what was replaced
//!   meanwhile, and the server keeps no more for it than one unanswered round.
//! * Within a round, additions go out in the order of types and removals in the reverse order:
//!   a policy is there before the workload it protects, and stays until that is gone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use prost_types::Any;
use proto::{discovery, envoy::config::core::v3::Node};
use tracing::debug;

use super::{
    ack::{Answer, Batch, Completion, Holding},
    catalog::{Catalog, Entry, Snapshot},
    subscription::{Change, Subscription},
};
use crate::{Request, Response};

#[cfg(test)]
mod tests;

/// Types one stream may subscribe to. ztunnel has two, a waypoint of ours five.
const MAX_TYPES: usize = 64;

/// Names one stream may ask for one by one, for each type.
const MAX_KEYS: usize = 1 << 17;

/// A client asks for more than one stream may keep in memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Excess {
    /// Too many types.
    #[error("more than {MAX_TYPES} types on one stream")]
    Types,
    /// Too many names.
    #[error("more than {MAX_KEYS} names of one type on one stream")]
    Names,
}

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    /// Distinguishes this stream's nonces from those of others.
    id: u64,
    order: Arc<[String]>,
    node: Node,
    subscriptions: Vec<Subscription>,
    queue: VecDeque<Batch>,
    unanswered: BTreeMap<u64, Batch>,
    n_sent: u64,
}

impl Session {
    /// A new stream. `order` lists type URLs as additions are to be sent; types it does not list
    /// follow as they were subscribed.
    pub fn new(id: u64, order: Arc<[String]>) -> Self {
        Self {
            id,
            order,
            node: Node::default(),
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            unanswered: BTreeMap::new(),
            n_sent: 0,
        }
    }

    /// Takes a request; returns the answer to a response, if it holds one.
    ///
    /// * `view` — the catalog this client may see a type of; asked once for each type. Without
    ///   one, the client gets an empty response and no more.
    pub fn request(
        &mut self,
        mut request: Request,
        view: impl FnOnce(&str, &Node) -> Option<Arc<Catalog>>,
    ) -> Result<Option<Answer>, Excess> {
        if let Some(node) = request.node.take() {
            self.node = node;
        }
        if request.type_url.is_empty() {
            debug!("request without a type ignored");
            return Ok(None);
        }
        let Some(at) = self.find(&request.type_url) else {
            self.open(&mut request, view)?;
            return Ok(None);
        };
        let answer = self.settle(&request);
        if !request.resource_names_subscribe.is_empty() {
            // The answer must not be older than what is told later, nor newer than what was.
            self.round();
        }
        self.change(at, &mut request)?;
        Ok(answer)
    }

    /// Whether a client waits for its first response of a type; the next round brings it.
    pub fn is_owed(&self) -> bool {
        self.subscriptions.iter().any(Subscription::is_owed)
    }

    /// Whether everything sent was answered, so that the next round may begin.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.unanswered.is_empty()
    }

    /// Compares the newest snapshots with what was told, and queues the difference.
    pub fn round(&mut self) {
        let snapshots = self.snapshots();
        let (mut additions, mut removals) = (Vec::new(), Vec::new());
        for (subscription, snapshot) in self.subscriptions.iter_mut().zip(snapshots) {
            let resources = snapshot.resources(&subscription.type_url);
            let Change {
                puts,
                removals: gone,
                owed,
            } = subscription.advance(&resources);
            let on_demand = subscription.is_on_demand();
            let completion = Completion {
                generation: snapshot.generation(),
                entries: (!on_demand).then(|| resources.entries().clone()),
            };
            let batch = |puts, removals| Batch {
                type_url: Arc::clone(&subscription.type_url),
                puts,
                removals,
                completion: None,
                on_demand,
            };
            let adds = owed || !puts.is_empty();
            let removes = !gone.is_empty();
            if adds {
                additions.push(batch(puts.into_iter().collect(), Vec::new()));
            }
            if removes {
                removals.push(batch(Vec::new(), gone.into_iter().collect()));
            }
            let last = match (adds, removes) {
                (_, true) => removals.last_mut(),
                (true, false) => additions.last_mut(),
                (false, false) => None,
            };
            match last.or_else(|| {
                last_of(
                    &subscription.type_url,
                    &mut self.queue,
                    &mut self.unanswered,
                )
            }) {
                Some(last) => last.completion = Some(completion),
                None => subscription.holding.complete(completion),
            }
        }
        self.queue.extend(joined(additions, removals));
    }

    /// The next response to send; it counts as unanswered from now on.
    pub fn next_response(&mut self) -> Option<Response> {
        let batch = self.queue.pop_front()?;
        self.n_sent += 1;
        let response = encode(&batch, self.nonce(self.n_sent));
        self.unanswered.insert(self.n_sent, batch);
        Some(response)
    }

    /// The catalogs this stream watches, each once.
    pub fn catalogs(&self) -> Vec<Arc<Catalog>> {
        let mut catalogs: Vec<Arc<Catalog>> = Vec::new();
        for catalog in self.subscriptions.iter().filter_map(|s| s.catalog.as_ref()) {
            if !catalogs.iter().any(|known| Arc::ptr_eq(known, catalog)) {
                catalogs.push(Arc::clone(catalog));
            }
        }
        catalogs
    }

    /// Who the client says it is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What the client has acknowledged, by type.
    pub fn holdings(&self) -> impl Iterator<Item = (&Arc<str>, &Holding)> {
        self.subscriptions.iter().map(|s| (&s.type_url, &s.holding))
    }

    fn find(&self, type_url: &str) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|s| &*s.type_url == type_url)
    }

    fn open(
        &mut self,
        request: &mut Request,
        view: impl FnOnce(&str, &Node) -> Option<Arc<Catalog>>,
    ) -> Result<(), Excess> {
        if self.subscriptions.len() >= MAX_TYPES {
            return Err(Excess::Types);
        }
        let type_url: Arc<str> = request.type_url.as_str().into();
        let catalog = view(&type_url, &self.node);
        let rank = self.order.iter().position(|url| **url == *type_url);
        let rank = rank.unwrap_or(self.order.len());
        let at = self.subscriptions.partition_point(|s| s.rank <= rank);
        let subscription = Subscription::open(type_url, rank, catalog, request);
        self.subscriptions.insert(at, subscription);
        self.check_keys(at)
    }

    fn check_keys(&self, at: usize) -> Result<(), Excess> {
        match self.subscriptions.get(at) {
            Some(subscription) if subscription.n_keys() > MAX_KEYS => Err(Excess::Names),
            _ => Ok(()),
        }
    }

    /// Takes over new and dropped names; answers new ones at once.
    fn change(&mut self, at: usize, request: &mut Request) -> Result<(), Excess> {
        let Some(subscription) = self.subscriptions.get_mut(at) else {
            return Ok(());
        };
        let asked = subscription.change(request);
        if !asked.is_empty() {
            let change = subscription.answer(&asked);
            self.queue.push_back(Batch {
                type_url: Arc::clone(&subscription.type_url),
                puts: change.puts.into_iter().collect(),
                removals: change.removals.into_iter().collect(),
                completion: None,
                on_demand: subscription.is_on_demand(),
            });
        }
        self.check_keys(at)
    }

    /// Notes an ACK or NACK. A nonce that is not waited for (stale, unknown, of another stream or
    /// type) is no answer, but that of the response answered last: it says what the client thinks
    /// by now of all that it has acknowledged.
    fn settle(&mut self, request: &Request) -> Option<Answer> {
        if request.response_nonce.is_empty() {
            return None;
        }
        let known = self.unanswered.iter().find(|(number, batch)| {
            self.nonce(**number) == request.response_nonce && *batch.type_url == *request.type_url
        });
        let nack = request
            .error_detail
            .as_ref()
            .map(|error| error.message.as_str());
        let Some(number) = known.map(|(number, _)| *number) else {
            return self.reconsider(&request.type_url, &request.response_nonce, nack);
        };
        let batch = self.unanswered.remove(&number)?;
        let at = self.find(&batch.type_url)?;
        let subscription = self.subscriptions.get_mut(at)?;
        subscription.answered = Some(number);
        Some(batch.settle(nack, &mut subscription.holding))
    }

    /// Notes what a client says once more of the response it answered last.
    fn reconsider(&mut self, type_url: &str, nonce: &str, nack: Option<&str>) -> Option<Answer> {
        let at = self.find(type_url)?;
        let last = self.subscriptions.get(at)?.answered;
        if last.is_none_or(|number| self.nonce(number) != nonce) {
            debug!(type_url, nonce, "stale nonce ignored");
            return None;
        }
        self.subscriptions.get_mut(at)?.reconsider(nack)
    }

    /// How many responses wait for an answer.
    pub(super) fn n_unanswered(&self) -> usize {
        self.unanswered.len()
    }

    fn nonce(&self, number: u64) -> String {
        format!("{:x}-{number:x}", self.id)
    }

    /// The newest snapshot for each subscription; one and the same for all of one catalog.
    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        let newest: Vec<_> = self
            .catalogs()
            .into_iter()
            .map(|catalog| (catalog.snapshot(), catalog))
            .collect();
        let of = |catalog: &Arc<Catalog>| {
            let found = newest.iter().find(|(_, known)| Arc::ptr_eq(known, catalog));
            found.map(|(snapshot, _)| Arc::clone(snapshot))
        };
        self.subscriptions
            .iter()
            .map(|s| s.catalog.as_ref().and_then(of).unwrap_or_default())
            .collect()
    }
}

/// The last response of a type that was not answered yet.
fn last_of<'a>(
    type_url: &str,
    queue: &'a mut VecDeque<Batch>,
    unanswered: &'a mut BTreeMap<u64, Batch>,
) -> Option<&'a mut Batch> {
    let queued = queue.iter_mut().rev();
    queued
        .chain(unanswered.values_mut().rev())
        .find(|batch| *batch.type_url == *type_url)
}

/// Additions in order, then removals in reverse, in as few responses as that allows.
fn joined(mut additions: Vec<Batch>, removals: Vec<Batch>) -> Vec<Batch> {
    for removal in removals.into_iter().rev() {
        match additions.last_mut() {
            Some(last) if last.type_url == removal.type_url => {
                last.removals = removal.removals;
                last.completion = removal.completion;
            }
            _ => additions.push(removal),
        }
    }
    additions
}

fn encode(batch: &Batch, nonce: String) -> Response {
    let resources = batch
        .puts
        .iter()
        .map(|(name, entry)| resource(batch, name, entry))
        .collect();
    Response {
        type_url: batch.type_url.to_string(),
        nonce,
        resources,
        removed_resources: batch.removals.iter().map(ToString::to_string).collect(),
        ..Response::default()
    }
}

fn resource(batch: &Batch, name: &Arc<str>, entry: &Arc<Entry>) -> discovery::Resource {
    let aliases = if batch.on_demand {
        entry.aliases()
    } else {
        &[]
    };
    discovery::Resource {
        name: name.to_string(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        version: entry.version().to_string(),
        resource: Some(Any {
            type_url: batch.type_url.to_string(),
            value: entry.bytes().to_vec(),
        }),
    }
}
