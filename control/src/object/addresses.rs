//! Which cluster IPs have been allocated to which Service.
//!
//! An `IPAddress` (`networking.k8s.io/v1`) is called like the address and names the Service that
//! has it. A Service that does not ask for an address of its own gets those.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Key, Kind, Object};

const IP_ADDRESS: Kind = Kind::of("networking.k8s.io", "IPAddress");
const SERVICE: Kind = Kind::of("", "Service");

/// Allocated addresses by the Service that has them.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// IPv4 before IPv6, then by number.
    of_service: BTreeMap<Key, BTreeSet<IpAddr>>,
    /// What each `IPAddress` last said.
    allocations: HashMap<Key, (Key, IpAddr)>,
}

impl Addresses {
    /// Notes what became of an object; returns the Services whose addresses changed.
    pub(super) fn note(&mut self, key: &Key, object: Option<&Object>) -> Vec<Key> {
        if key.kind != IP_ADDRESS {
            return Vec::new();
        }
        let now = object.and_then(allocation);
        if self.allocations.get(key) == now.as_ref() {
            return Vec::new();
        }
        let mut changed = Vec::new();
        if let Some((service, address)) = self.allocations.remove(key) {
            if let Some(addresses) = self.of_service.get_mut(&service) {
                addresses.remove(&address);
                if addresses.is_empty() {
                    self.of_service.remove(&service);
                }
            }
            changed.push(service);
        }
        if let Some((service, address)) = now {
            self.of_service
                .entry(service.clone())
                .or_default()
                .insert(address);
            self.allocations
                .insert(key.clone(), (service.clone(), address));
            changed.push(service);
        }
        changed
    }

    /// Gives a Service that has no address of its own the allocated ones.
    pub(super) fn fill(&self, key: &Key, value: &mut Value) {
        let Some(addresses) = self.of_service.get(key) else {
            return;
        };
        let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else {
            return;
        };
        let is_alias = spec.get("type").and_then(Value::as_str) == Some("ExternalName");
        let has_own = |spec: &Map<String, Value>| {
            spec.get("clusterIP")
                .and_then(Value::as_str)
                .is_some_and(|ip| !ip.is_empty())
        };
        if is_alias || has_own(spec) {
            return;
        }
        let first_of = |is_v4: bool| addresses.iter().find(|address| address.is_ipv4() == is_v4);
        let texts: Vec<String> = [first_of(true), first_of(false)]
            .into_iter()
            .flatten()
            .map(IpAddr::to_string)
            .collect();
        spec.insert("clusterIP".to_owned(), json!(texts.first()));
        spec.insert("clusterIPs".to_owned(), json!(texts));
    }
}

/// The Service that an `IPAddress` belongs to, with the address.
fn allocation(object: &Object) -> Option<(Key, IpAddr)> {
    let parent = object.value.pointer("/spec/parentRef")?;
    let text = |field: &str| parent.get(field).and_then(Value::as_str);
    if text("resource") != Some("services") || !text("group").unwrap_or_default().is_empty() {
        return None;
    }
    let service = Key::new(SERVICE, text("namespace")?, text("name")?);
    Some((service, object.key.name.parse().ok()?))
}
