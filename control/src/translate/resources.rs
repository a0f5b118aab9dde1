//! What control tells proxies, by audience, type and name, and how that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use proto::cairn::waypoint::{Plugin, Policy, Route};
use proto::security::Authorization;
use proto::workload::Address;

/// A waypoint, by namespace and name of its Gateway.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WaypointName {
    /// Namespace of the Gateway.
    pub namespace: Arc<str>,
    /// Name of the Gateway.
    pub name: Arc<str>,
}

impl WaypointName {
    /// The waypoint `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// What people know the proxy by: `waypoint shop/waypoint`.
    pub(crate) fn known_as(&self) -> String {
        format!("waypoint {self}")
    }
}

impl fmt::Display for WaypointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Resources of one type by name.
pub type Named<T> = BTreeMap<String, Arc<T>>;

/// Everything proxies are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Workloads by uid and services by `namespace/hostname`, for every proxy.
    pub addresses: Named<Address>,
    /// L4 policies by `namespace/name`, for ztunnels.
    pub authorizations: Named<Authorization>,
    /// What each waypoint is told beyond that.
    pub waypoints: BTreeMap<WaypointName, WaypointResources>,
}

/// What one waypoint is told beyond workload discovery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WaypointResources {
    /// Routes of its services. `namespace/name` for all clients; a consumer route has
    /// `/consumer` behind it.
    pub routes: Named<Route>,
    /// Policies of authorization, `namespace/name`.
    pub policies: Named<Policy>,
    /// Plugins, `namespace/name`.
    pub plugins: Named<Plugin>,
}

/// Changes of resources of one type: the new value, or `None` for one that is gone.
pub type Edits<T> = BTreeMap<String, Option<Arc<T>>>;

/// How [`Resources`] changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceEdits {
    /// Workloads and services.
    pub addresses: Edits<Address>,
    /// L4 policies.
    pub authorizations: Edits<Authorization>,
    /// By waypoint; one whose resources did not change is not here.
    pub waypoints: BTreeMap<WaypointName, WaypointEdits>,
}

/// How [`WaypointResources`] changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WaypointEdits {
    /// Routes.
    pub routes: Edits<Route>,
    /// Policies.
    pub policies: Edits<Policy>,
    /// Plugins.
    pub plugins: Edits<Plugin>,
}

impl Resources {
    /// Returns what one waypoint is told.
    pub fn waypoint(&self, name: &WaypointName) -> Option<&WaypointResources> {
        self.waypoints.get(name)
    }

    /// Puts `new` in the place of `old`, two versions of one part of these, and notes the
    /// difference in `edits`.
    pub(crate) fn replace(&mut self, old: &Self, new: &Self, edits: &mut ResourceEdits) {
        replace(
            &mut self.addresses,
            &old.addresses,
            &new.addresses,
            &mut edits.addresses,
        );
        replace(
            &mut self.authorizations,
            &old.authorizations,
            &new.authorizations,
            &mut edits.authorizations,
        );
        let none = WaypointResources::default();
        let names: BTreeSet<&WaypointName> =
            old.waypoints.keys().chain(new.waypoints.keys()).collect();
        for name in names {
            let (before, after) = (
                old.waypoints.get(name).unwrap_or(&none),
                new.waypoints.get(name).unwrap_or(&none),
            );
            if before == after {
                continue;
            }
            let edits = edits.waypoints.entry(name.clone()).or_default();
            let all = self.waypoints.entry(name.clone()).or_default();
            replace(
                &mut all.routes,
                &before.routes,
                &after.routes,
                &mut edits.routes,
            );
            replace(
                &mut all.policies,
                &before.policies,
                &after.policies,
                &mut edits.policies,
            );
            replace(
                &mut all.plugins,
                &before.plugins,
                &after.plugins,
                &mut edits.plugins,
            );
            if *all == none {
                self.waypoints.remove(name);
            }
        }
    }
}

impl ResourceEdits {
    /// Adds later edits to these.
    pub(crate) fn extend(&mut self, later: Self) {
        self.addresses.extend(later.addresses);
        self.authorizations.extend(later.authorizations);
        for (name, later) in later.waypoints {
            let edits = self.waypoints.entry(name).or_default();
            edits.routes.extend(later.routes);
            edits.policies.extend(later.policies);
            edits.plugins.extend(later.plugins);
        }
    }

    /// Whether a proxy, by the name people know it by, is told something else under a resource's
    /// name.
    pub(crate) fn touch(&self, proxy: &str, type_url: &str, name: &str) -> bool {
        let of_waypoint = |told: fn(&WaypointEdits, &str) -> bool| {
            let mut waypoints = self.waypoints.iter();
            waypoints.any(|(waypoint, edits)| proxy == waypoint.known_as() && told(edits, name))
        };
        match type_url {
            proto::ADDRESS_TYPE => self.addresses.contains_key(name),
            proto::AUTHORIZATION_TYPE => self.authorizations.contains_key(name),
            proto::ROUTE_TYPE => of_waypoint(|edits, name| edits.routes.contains_key(name)),
            proto::POLICY_TYPE => of_waypoint(|edits, name| edits.policies.contains_key(name)),
            proto::PLUGIN_TYPE => of_waypoint(|edits, name| edits.plugins.contains_key(name)),
            _ => false,
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.authorizations.is_empty() && self.waypoints.is_empty()
    }
}

fn replace<T: PartialEq>(all: &mut Named<T>, old: &Named<T>, new: &Named<T>, edits: &mut Edits<T>) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        all.remove(name);
        edits.insert(name.clone(), None);
    }
    for (name, value) in new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(value))
    {
        all.insert(name.clone(), value.clone());
        edits.insert(name.clone(), Some(value.clone()));
    }
}
