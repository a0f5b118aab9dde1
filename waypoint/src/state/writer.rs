//! Applies what the control plane sends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use mesh::Str;
use mesh::address::NamespacedHostname;
use mesh::authz::{Attachment, Policy};
use mesh::convert::{self, Rejected};
use mesh::origin::Target;
use mesh::plugin::{FailStrategy, Kind, Plugin};
use mesh::route::Route;
use mesh::service::Service;
use mesh::workload::Workload;
use parking_lot::Mutex;
use prost::Message;
use proto::cairn::waypoint as wire;
use proto::workload::{Address, address};
use tokio::sync::{mpsc, watch};
use xds::client::{Handler, Rejected as Refused, Resource, Update};

use super::rules::Loaded;
use super::{Snapshot, State};
use crate::plugins::Standings;

/// The one writer of a [`State`].
///
/// A new or changed plugin takes effect once its module is loaded: the writer asks for that on
/// `loads`, and [`loaded`](Self::loaded) is the answer. Until then the plugin's last good version
/// goes on, or, if there is none, the plugin is not there yet. A version that cannot be loaded
/// never takes the place of one that runs.
pub struct Writer {
    state: Arc<State>,
    loads: mpsc::UnboundedSender<Load>,
    /// The newest load asked for, by resource name.
    asked: BTreeMap<Str, Asked>,
    tickets: u64,
    idle: watch::Sender<bool>,
    /// Who tells the control plane how plugins stand.
    standings: Option<Standings>,
}

/// A load, as the writer remembers it.
#[derive(Debug)]
struct Asked {
    ticket: u64,
    /// Where its module is.
    url: Str,
    /// Nothing final was heard of it yet.
    is_open: bool,
    /// Why it failed, as far as is known.
    failure: Option<Str>,
}

/// A plugin whose module is to be loaded.
#[derive(Debug)]
pub struct Load {
    /// Resource name.
    pub name: Str,
    /// Tells this load from earlier ones of the name.
    pub ticket: u64,
    /// What is to be loaded.
    pub plugin: Arc<Plugin>,
}

/// A writer that both the xDS client and the loader hold; used on the control thread alone.
#[derive(Clone, Debug)]
pub(crate) struct SharedWriter(Arc<Mutex<Writer>>);

impl SharedWriter {
    pub(crate) fn new(writer: Writer) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    /// Calls the writer; nothing inside waits for anything.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Writer) -> T) -> T {
        act(&mut self.0.lock())
    }
}

impl Handler for SharedWriter {
    fn apply(&mut self, type_url: &str, updates: Vec<Update>) -> Vec<Refused> {
        self.with(|writer| writer.apply(type_url, updates))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// What an update touched.
#[derive(Default)]
struct Touched {
    services: BTreeSet<NamespacedHostname>,
    all: bool,
}

impl Touched {
    fn targets(&mut self, targets: &[Target]) {
        for target in targets {
            match target {
                Target::Waypoint => self.all = true,
                Target::Service(key) => {
                    self.services.insert(key.clone());
                }
            }
        }
    }

    fn policy(&mut self, policy: &Policy) {
        match &policy.attachment {
            Attachment::Targets(targets) => self.targets(targets),
            Attachment::Scope(_) => {}
        }
    }

    fn route(&mut self, route: &Route) {
        let parents = route.parents.iter().map(|parent| parent.service.clone());
        self.services.extend(parents);
    }
}

impl Writer {
    /// A writer of `state`, and the loads it asks for.
    pub fn new(state: Arc<State>) -> (Self, mpsc::UnboundedReceiver<Load>) {
        // Unbounded because the writer cannot wait; bounded by the number of plugins, of which
        // the loader takes the newest load each.
        let (loads, asked) = mpsc::unbounded_channel();
        let idle = watch::Sender::new(true);
        (
            Self {
                state,
                loads,
                asked: BTreeMap::new(),
                tickets: 0,
                idle,
                standings: None,
            },
            asked,
        )
    }

    /// Where the modules are of all plugins there are, and of those that are being loaded.
    pub(crate) fn urls(&self) -> BTreeSet<Str> {
        let snapshot = self.state.current();
        let known = snapshot.plugins().map(|loaded| &loaded.plugin.url);
        let asked = self.asked.values().map(|asked| &asked.url);
        known.chain(asked).cloned().collect()
    }

    /// Wakes after each change of what is known.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.state.changes()
    }

    /// Has `standings` hear of plugins that go.
    pub(crate) fn told_by(&mut self, standings: Standings) {
        self.standings = Some(standings);
    }

    /// Whether no plugin is being loaded.
    pub fn idle(&self) -> watch::Receiver<bool> {
        self.idle.subscribe()
    }

    /// Whether the answer to a load is of use: no other version was asked for since, and the plugin
    /// is still there.
    pub(crate) fn is_wanted(&self, load: &Load) -> bool {
        let asked = self.asked.get(&load.name);
        asked.is_some_and(|asked| asked.ticket == load.ticket)
    }

    /// Why the newest version of a plugin could not be loaded; `None` when it was, or may still be.
    pub(crate) fn failure(&self, name: &str) -> Option<Str> {
        self.asked.get(name)?.failure.clone()
    }

    /// Takes what became of a load. An answer to a load that was overtaken is dropped. Returns what
    /// a failure does to traffic.
    ///
    /// * `last` — the module is ready, or has failed; nothing needs to wait for it any more.
    pub(crate) fn loaded(
        &mut self,
        load: &Load,
        module: Result<wasm_host::Plugin, Str>,
        last: bool,
    ) -> Option<Effect> {
        if !self.is_wanted(load) {
            return None;
        }
        if let Some(asked) = self.asked.get_mut(&load.name) {
            asked.is_open &= !last;
            asked.failure = module.as_ref().err().cloned();
        }
        self.tell_idle();
        let mut snapshot = Snapshot::clone(&self.state.current());
        if module.is_err() && is_running(&snapshot, &load.name) {
            return Some(UNCHANGED);
        }
        let effect = module.is_err().then(|| effect_of_failure(&load.plugin));
        let mut touched = Touched::default();
        let loaded = Arc::new(Loaded {
            name: load.name.clone(),
            plugin: load.plugin.clone(),
            module,
        });
        touched.targets(&loaded.plugin.targets);
        if let Some(old) = snapshot.plugins.insert(load.name.clone(), loaded) {
            touched.targets(&old.plugin.targets);
        }
        self.publish(snapshot, &touched);
        effect
    }

    fn tell_idle(&self) {
        let is_idle = self.asked.values().all(|asked| !asked.is_open);
        self.idle.send_replace(is_idle);
    }

    fn publish(&self, mut snapshot: Snapshot, touched: &Touched) {
        if touched.all {
            snapshot.compile_all();
        }
        // Also after `compile_all`, which knows only the services that were there before.
        snapshot.compile(&touched.services);
        self.state.publish(snapshot);
    }

    fn put(
        &mut self,
        snapshot: &mut Snapshot,
        type_url: &str,
        resource: &Resource,
        touched: &mut Touched,
    ) -> Result<(), Rejected> {
        match type_url {
            proto::ADDRESS_TYPE => put_address(snapshot, resource, touched),
            proto::ROUTE_TYPE => put_route(snapshot, resource, touched),
            proto::POLICY_TYPE => put_policy(snapshot, resource, touched),
            proto::PLUGIN_TYPE => self.put_plugin(snapshot, resource, touched),
            _ => Err(Rejected::new("type_url", "a type nobody asked for")),
        }
    }

    fn put_plugin(
        &mut self,
        snapshot: &mut Snapshot,
        resource: &Resource,
        touched: &mut Touched,
    ) -> Result<(), Rejected> {
        let name = Str::from(resource.name.as_str());
        let message = decode::<wire::Plugin>(resource);
        let plugin = message.clone().and_then(Plugin::try_from);
        match plugin {
            Ok(plugin) => {
                self.tickets += 1;
                let asked = Asked {
                    ticket: self.tickets,
                    url: plugin.url.clone(),
                    is_open: true,
                    failure: None,
                };
                self.asked.insert(name.clone(), asked);
                self.tell_idle();
                let load = Load {
                    name,
                    ticket: self.tickets,
                    plugin: Arc::new(plugin),
                };
                // The loader lives as long as the process.
                let _ = self.loads.send(load);
                Ok(())
            }
            Err(why) => {
                if !snapshot.plugins.contains_key(&name) {
                    let message = message.unwrap_or_default();
                    let plugin = Arc::new(convert::plugin::broken(&name, &message));
                    touched.targets(&plugin.targets);
                    let module = Err(why.to_string().into());
                    let loaded = Loaded {
                        name: name.clone(),
                        plugin,
                        module,
                    };
                    snapshot.plugins.insert(name, Arc::new(loaded));
                }
                Err(why)
            }
        }
    }

    fn remove(
        &mut self,
        snapshot: &mut Snapshot,
        type_url: &str,
        name: &str,
        touched: &mut Touched,
    ) {
        match type_url {
            proto::ADDRESS_TYPE => {
                snapshot.store.remove(name);
                touched.services.extend(NamespacedHostname::parse(name));
            }
            proto::ROUTE_TYPE => {
                if let Some(old) = snapshot.routes.remove(name) {
                    touched.route(&old);
                }
            }
            proto::POLICY_TYPE => {
                if let Some(old) = snapshot.policies.remove(name) {
                    touched.policy(&old);
                }
            }
            proto::PLUGIN_TYPE => {
                self.asked.remove(name);
                if let Some(standings) = &self.standings {
                    standings.forget(&name.into());
                }
                self.tell_idle();
                if let Some(old) = snapshot.plugins.remove(name) {
                    touched.targets(&old.plugin.targets);
                }
            }
            _ => {}
        }
    }
}

impl Handler for Writer {
    fn apply(&mut self, type_url: &str, updates: Vec<Update>) -> Vec<Refused> {
        let mut snapshot = Snapshot::clone(&self.state.current());
        let mut touched = Touched::default();
        let mut refused = vec![];
        for update in updates {
            match update {
                Update::Remove(name) => self.remove(&mut snapshot, type_url, &name, &mut touched),
                Update::Put(resource) => {
                    let effect = effect_of_refusal(&snapshot, type_url, &resource.name);
                    let put = self.put(&mut snapshot, type_url, &resource, &mut touched);
                    if let Err(why) = put {
                        let reason = format!("{why}, {effect}");
                        refused.push(Refused {
                            name: resource.name,
                            reason,
                        });
                    }
                }
            }
        }
        if type_url == proto::ADDRESS_TYPE {
            snapshot.find_own();
        }
        self.publish(snapshot, &touched);
        refused
    }
}

/// What it means for traffic that something cannot be used.
pub(crate) type Effect = &'static str;

const UNCHANGED: Effect = "what was in effect before it stays in effect";

/// What it means for traffic that a resource is refused.
fn effect_of_refusal(snapshot: &Snapshot, type_url: &str, name: &str) -> Effect {
    let is_held = match type_url {
        proto::ROUTE_TYPE => snapshot.routes.contains_key(name),
        proto::POLICY_TYPE => snapshot.policies.contains_key(name),
        proto::PLUGIN_TYPE => is_running(snapshot, name),
        _ => false,
    };
    match type_url {
        _ if is_held => UNCHANGED,
        proto::ROUTE_TYPE => "requests to its parents are answered 500",
        proto::POLICY_TYPE => "everything is denied that it is attached to",
        proto::PLUGIN_TYPE => "requests it is meant for are treated as its failStrategy says",
        _ => "it is not known here",
    }
}

/// What it means for traffic that a plugin cannot run.
fn effect_of_failure(plugin: &Plugin) -> Effect {
    let is_open = plugin.fail_strategy == FailStrategy::Open;
    match (plugin.kind, is_open) {
        (Kind::Http, false) => "requests it is meant for are answered 503",
        (Kind::Http, true) => "requests pass it by",
        (Kind::Network, false) => {
            "connections it is meant for are closed and requests on them answered 503"
        }
        (Kind::Network, true) => "connections pass it by",
    }
}

fn is_running(snapshot: &Snapshot, plugin: &str) -> bool {
    let loaded = snapshot.plugins.get(plugin);
    loaded.is_some_and(|loaded| loaded.module.is_ok())
}

fn put_address(
    snapshot: &mut Snapshot,
    resource: &Resource,
    touched: &mut Touched,
) -> Result<(), Rejected> {
    let message = decode::<Address>(resource)?;
    match message
        .r#type
        .ok_or_else(|| Rejected::new("type", "it is missing"))?
    {
        address::Type::Workload(workload) => {
            let workload = Workload::try_from(workload).map_err(|why| why.within("workload"))?;
            snapshot.store.upsert_workload(workload);
        }
        address::Type::Service(service) => {
            let service = Service::try_from(service).map_err(|why| why.within("service"))?;
            touched.services.insert(service.key.clone());
            snapshot.store.upsert_service(service);
        }
    }
    Ok(())
}

fn put_route(
    snapshot: &mut Snapshot,
    resource: &Resource,
    touched: &mut Touched,
) -> Result<(), Rejected> {
    let name = Str::from(resource.name.as_str());
    let message = decode::<wire::Route>(resource)?;
    let route = Route::try_from(message.clone());
    let (route, outcome) = match route {
        Ok(route) => (Some(route), Ok(())),
        Err(why) if snapshot.routes.contains_key(&name) => (None, Err(why)),
        Err(why) => (convert::route::broken(&message, &why), Err(why)),
    };
    if let Some(route) = route {
        touched.route(&route);
        if let Some(old) = snapshot.routes.insert(name, Arc::new(route)) {
            touched.route(&old);
        }
    }
    outcome
}

fn put_policy(
    snapshot: &mut Snapshot,
    resource: &Resource,
    touched: &mut Touched,
) -> Result<(), Rejected> {
    let name = Str::from(resource.name.as_str());
    let message = decode::<wire::Policy>(resource);
    let policy = message.clone().and_then(Policy::try_from);
    let (policy, outcome) = match policy {
        Ok(policy) => (Some(policy), Ok(())),
        Err(why) if snapshot.policies.contains_key(&name) => (None, Err(why)),
        Err(why) => (
            Some(convert::policy::deny_all(
                &name,
                &message.unwrap_or_default(),
            )),
            Err(why),
        ),
    };
    if let Some(policy) = policy {
        touched.policy(&policy);
        if let Some(old) = snapshot.policies.insert(name, Arc::new(policy)) {
            touched.policy(&old);
        }
    }
    outcome
}

fn decode<M: Message + Default>(resource: &Resource) -> Result<M, Rejected> {
    M::decode(resource.bytes.clone()).map_err(|error| Rejected::new("resource", error))
}
