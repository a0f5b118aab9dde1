//! What proxies are told: one catalog for all node proxies, one for each waypoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message;
use proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, PLUGIN_TYPE, POLICY_TYPE, ROUTE_TYPE};
use xds::server::{Catalog, Entry, Resources as Published, Snapshot};

use crate::translate::{
    Edits, Named, ResourceEdits, Resources, WaypointEdits, WaypointName, WaypointResources,
};

#[cfg(test)]
mod tests;

/// In which order new resources travel: whatever guards or shapes traffic before the addresses
/// that bring it about.
pub(super) const ORDER: [&str; 5] = [
    AUTHORIZATION_TYPE,
    POLICY_TYPE,
    PLUGIN_TYPE,
    ROUTE_TYPE,
    ADDRESS_TYPE,
];

/// Types a node proxy may see.
pub(super) const ZTUNNEL_TYPES: [&str; 2] = [AUTHORIZATION_TYPE, ADDRESS_TYPE];
/// Types a waypoint may see.
pub(super) const WAYPOINT_TYPES: [&str; 4] = [POLICY_TYPE, PLUGIN_TYPE, ROUTE_TYPE, ADDRESS_TYPE];

/// Everything that is published.
///
/// Each proxy sees a publication whole or not at all. Resources are encoded once, and the
/// addresses, which are the bulk, are shared by all catalogs.
#[derive(Debug, Default)]
pub struct Catalogs {
    ztunnels: Arc<Catalog>,
    waypoints: Mutex<BTreeMap<WaypointName, Arc<Catalog>>>,
}

impl Catalogs {
    /// Publishes changes. One translation at a time: edits are relative to what was published.
    pub fn apply(&self, edits: &ResourceEdits) {
        if edits.is_empty() {
            return;
        }
        self.ztunnels.edit(|snapshot| {
            edit(
                snapshot.resources_mut(AUTHORIZATION_TYPE),
                &edits.authorizations,
            );
            edit(snapshot.resources_mut(ADDRESS_TYPE), &edits.addresses);
        });
        self.publish_waypoints(edits.waypoints.keys(), |name, snapshot| {
            if let Some(edits) = edits.waypoints.get(name) {
                edit_waypoint(snapshot, edits);
            }
        });
    }

    /// Publishes exactly this, as at the start; what is equal already costs no proxy anything.
    pub fn replace(&self, all: &Resources) {
        self.ztunnels.edit(|snapshot| {
            replace(
                snapshot.resources_mut(AUTHORIZATION_TYPE),
                &all.authorizations,
            );
            replace(snapshot.resources_mut(ADDRESS_TYPE), &all.addresses);
        });
        let none = WaypointResources::default();
        self.publish_waypoints(all.waypoints.keys(), |name, snapshot| {
            let own = all.waypoints.get(name).unwrap_or(&none);
            replace(snapshot.resources_mut(ROUTE_TYPE), &own.routes);
            replace(snapshot.resources_mut(POLICY_TYPE), &own.policies);
            replace(snapshot.resources_mut(PLUGIN_TYPE), &own.plugins);
        });
    }

    /// The catalog of node proxies.
    pub(super) fn ztunnels(&self) -> Arc<Catalog> {
        Arc::clone(&self.ztunnels)
    }

    /// The catalog of a waypoint. One nobody has attached anything to yet sees addresses alone.
    pub(super) fn waypoint(&self, name: &WaypointName) -> Arc<Catalog> {
        let mut waypoints = self.waypoints.lock();
        if let Some(catalog) = waypoints.get(name) {
            return Arc::clone(catalog);
        }
        let catalog = Catalog::new();
        catalog.edit(|snapshot| *snapshot.resources_mut(ADDRESS_TYPE) = self.addresses());
        waypoints.insert(name.clone(), Arc::clone(&catalog));
        catalog
    }

    /// Publishes the present addresses to every waypoint, and with them what `own` changes.
    fn publish_waypoints<'n>(
        &self,
        named: impl Iterator<Item = &'n WaypointName>,
        own: impl Fn(&WaypointName, &mut Snapshot),
    ) {
        let mut waypoints = self.waypoints.lock();
        for name in named {
            waypoints.entry(name.clone()).or_default();
        }
        let addresses = self.addresses();
        for (name, catalog) in waypoints.iter() {
            catalog.edit(|snapshot| {
                *snapshot.resources_mut(ADDRESS_TYPE) = addresses.clone();
                own(name, snapshot);
            });
        }
        // A waypoint that is gone for good has neither streams nor resources of its own.
        waypoints
            .retain(|_, catalog| Arc::strong_count(catalog) > 1 || has_own(&catalog.snapshot()));
    }

    fn addresses(&self) -> Published {
        self.ztunnels.snapshot().resources(ADDRESS_TYPE)
    }
}

fn has_own(snapshot: &Snapshot) -> bool {
    let mut own = WAYPOINT_TYPES
        .into_iter()
        .filter(|url| *url != ADDRESS_TYPE);
    own.any(|url| !snapshot.resources(url).is_empty())
}

fn edit_waypoint(snapshot: &mut Snapshot, edits: &WaypointEdits) {
    edit(snapshot.resources_mut(ROUTE_TYPE), &edits.routes);
    edit(snapshot.resources_mut(POLICY_TYPE), &edits.policies);
    edit(snapshot.resources_mut(PLUGIN_TYPE), &edits.plugins);
}

fn edit<T: Message>(published: &mut Published, edits: &Edits<T>) {
    for (name, value) in edits {
        match value {
            Some(value) => published.put(name.as_str(), Entry::encode(&**value)),
            None => published.remove(name),
        };
    }
}

fn replace<T: Message>(published: &mut Published, all: &Named<T>) {
    let entries = all
        .iter()
        .map(|(name, value)| (name.as_str().into(), Entry::encode(&**value)));
    published.replace(entries);
}
