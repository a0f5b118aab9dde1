//! What applies to one port of a service, compiled from routes, policies and plugins.

use std::fmt;
use std::sync::Arc;

use mesh::Str;
use mesh::address::NamespacedHostname;
use mesh::authz::{Attachment, Policy};
use mesh::origin::Target;
use mesh::plugin::{self, FailStrategy, Kind, Plugin};
use mesh::route::{Route, Table};
use mesh::service::Service;
use tokio::time::Instant;

/// What applies to the requests for one port.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Policies that decide, in no particular order.
    pub(crate) policies: Arc<[Arc<Policy>]>,
    /// Plugins, in the order they run; those for connections first.
    pub(crate) plugins: Box<[Arc<Loaded>]>,
    /// Routes.
    pub(crate) routes: Table,
}

impl Rules {
    /// The plugins that look at connections, in the order they run.
    pub(crate) fn watching(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.plugins
            .iter()
            .filter(|loaded| loaded.plugin.kind == Kind::Network)
    }
}

/// What applies to a service, by port.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRules {
    ports: Arc<[(u16, Arc<Rules>)]>,
    /// Whether this waypoint stands before the service.
    ours: bool,
    /// Since when it does so no more.
    left: Option<Instant>,
}

impl ServiceRules {
    /// The same rules, for what still comes this way although the service has left.
    pub(super) fn leaving(&self, now: Instant) -> Option<Self> {
        let left = self.left.or(self.ours.then_some(now))?;
        Some(Self {
            ports: self.ports.clone(),
            ours: false,
            left: Some(left),
        })
    }

    /// Since when this waypoint stands before the service no more. What comes all the same is served
    /// as before; its connections are asked to end, so that the next go another way.
    pub(crate) fn left(&self) -> Option<Instant> {
        self.left
    }

    /// What applies to one of its ports.
    pub(crate) fn port(&self, port: u16) -> Option<&Arc<Rules>> {
        self.ports
            .iter()
            .find(|(known, _)| *known == port)
            .map(|(_, rules)| rules)
    }
}

/// A plugin and what became of its module.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Name of the resource.
    pub(crate) name: Str,
    /// What the user configured.
    pub(crate) plugin: Arc<Plugin>,
    /// The module, ready to run, or why it cannot.
    pub(crate) module: Result<wasm_host::Plugin, Str>,
}

impl Loaded {
    /// Whether requests pass when the plugin cannot run.
    pub(crate) fn fails_open(&self) -> bool {
        self.plugin.fail_strategy == FailStrategy::Open
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.origin.fmt(f)
    }
}

/// Everything that can be attached, as far as it is known.
pub(super) struct Attachable<'a> {
    pub(super) routes: &'a imbl::OrdMap<Str, Arc<Route>>,
    pub(super) policies: &'a imbl::OrdMap<Str, Arc<Policy>>,
    pub(super) plugins: &'a imbl::OrdMap<Str, Arc<Loaded>>,
}

impl Attachable<'_> {
    /// Compiles what applies to a service.
    pub(super) fn compile(&self, service: &Service, ours: bool) -> ServiceRules {
        let policies = self.policies_of(Some(&service.key));
        let ports = service.ports.iter().map(|port| {
            let number = port.service_port;
            let rules = Rules {
                policies: policies.clone(),
                plugins: self.plugins_of(Some(&service.key), number),
                routes: Table::compile(&service.key, number, self.routes.values()),
            };
            (number, Arc::new(rules))
        });
        ServiceRules {
            ports: ports.collect(),
            ours,
            left: None,
        }
    }

    /// Compiles what applies to workloads that are addressed themselves.
    pub(super) fn compile_direct(&self) -> Rules {
        Rules {
            policies: self.policies_of(None),
            plugins: self.plugins_of(None, 0),
            routes: Table::default(),
        }
    }

    fn policies_of(&self, service: Option<&NamespacedHostname>) -> Arc<[Arc<Policy>]> {
        let applies = |policy: &&Arc<Policy>| match &policy.attachment {
            Attachment::Targets(targets) => Target::covers(targets, service),
            Attachment::Scope(_) => false,
        };
        self.policies.values().filter(applies).cloned().collect()
    }

    fn plugins_of(&self, service: Option<&NamespacedHostname>, port: u16) -> Box<[Arc<Loaded>]> {
        let all = || self.plugins.values();
        let of = |kind| plugin::chain(all().map(|loaded| &loaded.plugin), kind, service, port);
        let order = of(Kind::Network).into_iter().chain(of(Kind::Http));
        order
            .filter_map(|plugin| all().find(|loaded| Arc::ptr_eq(&loaded.plugin, &plugin)))
            .cloned()
            .collect()
    }
}
