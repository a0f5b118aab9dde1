//! The client's half of the protocol: what to ask, what is held, what to answer.
//!
//! No IO, no clock, no randomness: requests come out, responses go in.
//! Source: istio/ztunnel `src/xds/client.rs`; Envoy xDS protocol, "Incremental xDS".

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    mem,
};

use proto::{envoy::config::core::v3::Node, google::rpc::Status};
use tracing::debug;

use super::{Handler, Rejected, Resource, Update};
use crate::{Request, Response};

#[cfg(test)]
mod tests;

/// Subscribes to, or unsubscribes from, everything of a type.
const WILDCARD: &str = "*";

/// gRPC code of a NACK. ztunnel sends 0; servers read only whether the field is there.
const INVALID_ARGUMENT: i32 = 3;

/// One type a client wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watch {
    /// Type URL of its resources.
    pub type_url: String,
    /// How much of it.
    pub interest: Interest,
}

impl Watch {
    /// Wants every resource of the type.
    pub fn everything(type_url: impl Into<String>) -> Self {
        Self {
            type_url: type_url.into(),
            interest: Interest::Everything,
        }
    }

    /// Wants only resources that will be asked for by name.
    pub fn on_demand(type_url: impl Into<String>) -> Self {
        Self {
            type_url: type_url.into(),
            interest: Interest::OnDemand,
        }
    }
}

/// How much of a type a client wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Every resource the server is willing to show.
    Everything,
    /// What [`Subscriptions::subscribe`] names, and what the server adds to it.
    OnDemand,
}

/// What one client asks for and what it holds, across streams.
#[derive(Debug)]
pub struct Subscriptions {
    node: Node,
    types: Vec<Subscription>,
}

#[derive(Debug)]
struct Subscription {
    watch: Watch,
    /// Names asked for one by one.
    keys: BTreeSet<String>,
    /// Those of `keys` that the server has not answered yet.
    pending: BTreeSet<String>,
    /// Version by name of everything applied. An empty version makes a server send the resource
    /// again, and yet tell us if it is gone.
    held: BTreeMap<String, String>,
    /// A response was applied, on this stream or an earlier one.
    applied: bool,
    /// Reasons by name: resources that were applied, and refused later.
    late: BTreeMap<String, String>,
    /// Nonce of the response that was answered last on this stream.
    answered: Option<String>,
    /// This stream's server has not heard yet what `late` is now.
    untold: bool,
}

/// What became of one response.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The ACK or NACK to send.
    pub reply: Request,
    /// Number of updates that were applied.
    pub applied: usize,
    /// Resources that were not, as the reply names them.
    pub rejected: Vec<Rejected>,
}

impl Subscriptions {
    /// Holds nothing yet; `watches` keep their order on the wire.
    pub fn new(node: Node, watches: impl IntoIterator<Item = Watch>) -> Self {
        let types = watches.into_iter().map(Subscription::new).collect();
        Self { node, types }
    }

    /// The first requests of a new stream, one for each type, in order.
    pub fn open(&mut self) -> Vec<Request> {
        let node = &self.node;
        self.types
            .iter_mut()
            .map(|subscription| subscription.open(node))
            .collect()
    }

    /// Applies a response and says what to answer.
    ///
    /// Good resources are applied even if others are rejected. `None` for a type nobody asked for:
    /// an answer would be taken for a subscription.
    pub fn receive<H>(&mut self, response: Response, handler: &mut H) -> Option<Received>
    where
        H: Handler + ?Sized,
    {
        let Some(subscription) = self.find(&response.type_url) else {
            debug!(type_url = %response.type_url, "response of a type without subscription ignored");
            return None;
        };
        Some(subscription.receive(response, handler))
    }

    /// Asks for one more name of an on-demand type; `None` if that changes nothing on the wire.
    ///
    /// Without a stream the request may be dropped: [`Self::open`] repeats it.
    pub fn subscribe(&mut self, type_url: &str, key: &str) -> Option<Request> {
        let subscription = self.find(type_url).filter(|found| found.is_on_demand())?;
        if !subscription.keys.insert(key.to_owned()) {
            return None;
        }
        subscription.pending.insert(key.to_owned());
        Some(Request {
            type_url: type_url.to_owned(),
            resource_names_subscribe: vec![key.to_owned()],
            ..Request::default()
        })
    }

    /// Takes [`Self::subscribe`] back and forgets the resource; `None` if it was not asked for.
    pub fn unsubscribe(&mut self, type_url: &str, key: &str) -> Option<Request> {
        let subscription = self.find(type_url)?;
        if !subscription.keys.remove(key) {
            return None;
        }
        subscription.pending.remove(key);
        subscription.held.remove(key);
        subscription.late.remove(key);
        Some(Request {
            type_url: type_url.to_owned(),
            resource_names_unsubscribe: vec![key.to_owned()],
            ..Request::default()
        })
    }

    /// Refuses a resource that was applied; returns whether that is news to
    /// [`Self::afterthoughts`]. One that is not held (any more) is not spoken of.
    ///
    /// It stays refused, on later streams too, until it is accepted, replaced or removed. It is
    /// still held: what the server would send again is what is refused already.
    pub fn refuse(&mut self, type_url: &str, rejected: &Rejected) -> bool {
        let Rejected { name, reason } = rejected;
        let held = |found: &&mut Subscription| found.held.contains_key(name);
        let Some(subscription) = self.find(type_url).filter(held) else {
            return false;
        };
        let known = subscription.late.insert(name.clone(), reason.clone());
        let is_news = known.as_ref() != Some(reason);
        subscription.untold |= is_news;
        is_news
    }

    /// Takes [`Self::refuse`] back; returns whether that is news.
    pub fn accept(&mut self, type_url: &str, name: &str) -> bool {
        let Some(subscription) = self.find(type_url) else {
            return false;
        };
        let is_news = subscription.late.remove(name).is_some();
        subscription.untold |= is_news;
        is_news
    }

    /// What the server must hear of resources that were refused, or accepted again, after the
    /// response that brought them was answered: for each type, one more answer to the response
    /// that was answered last. It names every resource that is refused like that; a type without
    /// any is acknowledged once more.
    ///
    /// Servers that know nothing of this tolerate it: istiod logs any `error_detail`, whatever its
    /// nonce, and otherwise ignores a request that changes no subscription (istio/istio
    /// `pilot/pkg/xds/delta.go`, `shouldRespondDelta`).
    pub fn afterthoughts(&mut self) -> Vec<Request> {
        let types = self.types.iter_mut();
        types.filter_map(Subscription::afterthought).collect()
    }

    /// Whether the server still owes an answer for this name.
    pub fn is_pending(&self, type_url: &str, key: &str) -> bool {
        self.types
            .iter()
            .any(|s| s.watch.type_url == type_url && s.pending.contains(key))
    }

    /// Whether the first response of every type was applied.
    pub fn is_ready(&self) -> bool {
        self.types.iter().all(|subscription| subscription.applied)
    }

    /// Name and version of every resource held of a type.
    pub fn held(&self, type_url: &str) -> impl Iterator<Item = (&str, &str)> {
        self.types
            .iter()
            .filter(move |subscription| subscription.watch.type_url == type_url)
            .flat_map(|subscription| &subscription.held)
            .map(|(name, version)| (name.as_str(), version.as_str()))
    }

    fn find(&mut self, type_url: &str) -> Option<&mut Subscription> {
        self.types
            .iter_mut()
            .find(|subscription| subscription.watch.type_url == type_url)
    }
}

impl Subscription {
    fn new(watch: Watch) -> Self {
        Self {
            watch,
            keys: BTreeSet::new(),
            pending: BTreeSet::new(),
            held: BTreeMap::new(),
            applied: false,
            late: BTreeMap::new(),
            answered: None,
            untold: false,
        }
    }

    fn is_on_demand(&self) -> bool {
        self.watch.interest == Interest::OnDemand
    }

    /// An empty subscription means everything; subscribing to and unsubscribing from `*` at once
    /// means nothing but the names beside it.
    fn open(&mut self, node: &Node) -> Request {
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        if self.is_on_demand() {
            subscribe.push(WILDCARD.to_owned());
            subscribe.extend(self.keys.iter().cloned());
            unsubscribe.push(WILDCARD.to_owned());
            self.pending.clone_from(&self.keys);
        }
        // There is nothing to answer yet, and this server has heard nothing.
        self.answered = None;
        self.untold = !self.late.is_empty();
        Request {
            type_url: self.watch.type_url.clone(),
            node: Some(node.clone()),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: self.held.clone(),
            ..Request::default()
        }
    }

    fn receive<H>(&mut self, response: Response, handler: &mut H) -> Received
    where
        H: Handler + ?Sized,
    {
        let Response {
            resources,
            removed_resources,
            nonce,
            ..
        } = response;
        self.answered(&resources, &removed_resources);
        let (puts, mut rejected) = screen(&self.watch.type_url, resources);
        let versions: Vec<_> = puts
            .iter()
            .map(|put| (put.name.clone(), put.version.clone()))
            .collect();

        for name in &removed_resources {
            self.held.remove(name);
            self.late.remove(name);
        }
        let updates: Vec<_> = removed_resources
            .into_iter()
            .map(Update::Remove)
            .chain(puts.into_iter().map(Update::Put))
            .collect();
        let offered = updates.len();
        let refused = handler.apply(&self.watch.type_url, updates);
        let applied = offered.saturating_sub(refused.len());

        rejected.extend(refused);
        // Another version has not been refused later yet.
        let sent = versions.iter().map(|(name, _)| name);
        for name in sent.chain(rejected.iter().map(|r| &r.name)) {
            self.late.remove(name);
        }
        self.hold(versions, &rejected);
        self.applied = true;
        self.answered = Some(nonce.clone());
        Received {
            reply: self.reply(nonce, rejected.iter().map(|r| (&r.name, &r.reason))),
            applied,
            rejected,
        }
    }

    fn answered(&mut self, resources: &[proto::discovery::Resource], removed: &[String]) {
        if self.pending.is_empty() {
            return;
        }
        let names = resources
            .iter()
            .flat_map(|put| put.aliases.iter().chain([&put.name]));
        for name in names.chain(removed) {
            self.pending.remove(name);
        }
    }

    /// Remembers what was applied. Of a rejected resource only that some older value may be left:
    /// without a version the server sends it again after a reconnect.
    fn hold(&mut self, versions: Vec<(String, String)>, rejected: &[Rejected]) {
        let rejected: HashSet<&str> = rejected.iter().map(|r| r.name.as_str()).collect();
        for name in &rejected {
            if let Some(version) = self.held.get_mut(*name) {
                version.clear();
            }
        }
        let applied = versions
            .into_iter()
            .filter(|(name, _)| !rejected.contains(name.as_str()));
        self.held.extend(applied);
    }

    fn afterthought(&mut self) -> Option<Request> {
        if !self.untold {
            return None;
        }
        let nonce = self.answered.clone()?;
        self.untold = false;
        Some(self.reply(nonce, &self.late))
    }

    fn reply<'r>(
        &self,
        response_nonce: String,
        rejected: impl IntoIterator<Item = (&'r String, &'r String)>,
    ) -> Request {
        let reasons: Vec<_> = rejected
            .into_iter()
            .map(|(name, reason)| format!("{name}: {reason}"))
            .collect();
        Request {
            type_url: self.watch.type_url.clone(),
            response_nonce,
            error_detail: (!reasons.is_empty()).then(|| Status {
                code: INVALID_ARGUMENT,
                message: reasons.join("; "),
                details: Vec::new(),
            }),
            ..Request::default()
        }
    }
}

/// Keeps what a handler can make something of: named content of the right type, once per name.
fn screen(
    type_url: &str,
    resources: Vec<proto::discovery::Resource>,
) -> (Vec<Resource>, Vec<Rejected>) {
    let mut puts = Vec::with_capacity(resources.len());
    let mut rejected = Vec::new();
    let mut seen = HashSet::with_capacity(resources.len());
    // From the end, because the last of several with one name counts.
    for mut sent in resources.into_iter().rev() {
        let name = mem::take(&mut sent.name);
        if !seen.insert(name.clone()) {
            debug!(
                type_url,
                name, "resource twice in one response, only the last one counts"
            );
            continue;
        }
        match content(type_url, &name, sent.resource) {
            Ok(bytes) => puts.push(Resource {
                name,
                aliases: sent.aliases,
                version: sent.version,
                bytes: bytes.into(),
            }),
            Err(reason) => rejected.push(Rejected { name, reason }),
        }
    }
    puts.reverse();
    rejected.reverse();
    (puts, rejected)
}

fn content(type_url: &str, name: &str, any: Option<prost_types::Any>) -> Result<Vec<u8>, String> {
    match any {
        _ if name.is_empty() => Err("resource without a name".to_owned()),
        None => Err("resource without content".to_owned()),
        Some(any) if any.type_url != type_url => Err(format!(
            "content is a {} in a response of {type_url}",
            any.type_url
        )),
        Some(any) => Ok(any.value),
    }
}
