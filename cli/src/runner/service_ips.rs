//! Which Service has which address: the allocator of a cluster's API server.
//!
//! An address follows from the Service's name, so that it is the same after everything was taken
//! down and put up again; only when two names want the same address does the order decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use k8s_openapi::{
    api::{
        core::v1::Service,
        networking::v1::{IPAddress, IPAddressSpec, ParentReference},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    desired::{Named, ObjectKey},
    names::fnv,
};
use crate::world::addresses::{DNS_VIP, SERVICE_NETWORK};

/// Addresses below are only for Services that ask for one by number.
const DYNAMIC_FROM: u32 = 256;
const SIZE: u32 = 1 << 16;

/// What a Service's own manifest says about its address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// None: its name leads to its pods, or to another name.
    None,
    /// Any.
    Any,
    /// This one.
    Fixed(Ipv4Addr),
}

/// What the manifest of `service` says about its address.
pub(super) fn wanted(service: &Service) -> Wanted {
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return Wanted::None;
    }
    match spec.and_then(|spec| spec.cluster_ip.as_deref()) {
        Some("None") => Wanted::None,
        Some(ip) => ip.parse().map_or(Wanted::Any, Wanted::Fixed),
        None => Wanted::Any,
    }
}

/// The addresses in use.
#[derive(Debug, Default)]
pub(super) struct ServiceIps {
    given: BTreeMap<ObjectKey, Ipv4Addr>,
}

/// An address that was asked for and cannot be given.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Refused {
    /// The Service.
    pub(super) service: ObjectKey,
    /// What it asked for.
    pub(super) ip: Ipv4Addr,
}

impl ServiceIps {
    /// Gives every Service of `services` its address and takes back those of Services that are
    /// gone. Returns the wishes that could not be met; those Services have no address.
    pub(super) fn update<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a Named<Service>>,
    ) -> Vec<Refused> {
        let wishes: BTreeMap<&ObjectKey, Wanted> = services
            .into_iter()
            .map(|service| (&service.key, wanted(&service.object)))
            .collect();
        let still_wanted = |key: &ObjectKey, ip: &Ipv4Addr| match wishes.get(key) {
            Some(Wanted::Any) => true,
            Some(Wanted::Fixed(fixed)) => fixed == ip,
            Some(Wanted::None) | None => false,
        };
        self.given.retain(|key, ip| still_wanted(key, ip));

        let mut refused = Vec::new();
        let mut taken: BTreeSet<Ipv4Addr> = self.given.values().copied().collect();
        for (key, wish) in &wishes {
            if let Wanted::Fixed(ip) = wish
                && !self.given.contains_key(*key)
            {
                if offset(*ip).is_some() && taken.insert(*ip) {
                    self.given.insert((*key).clone(), *ip);
                } else {
                    refused.push(Refused {
                        service: (*key).clone(),
                        ip: *ip,
                    });
                }
            }
        }
        for (key, wish) in &wishes {
            if *wish == Wanted::Any
                && !self.given.contains_key(*key)
                && let Some(ip) = candidates(key).find(|ip| taken.insert(*ip))
            {
                self.given.insert((*key).clone(), ip);
            }
        }
        refused
    }

    /// The address of a Service that has one.
    pub(super) fn get(&self, service: &ObjectKey) -> Option<Ipv4Addr> {
        self.given.get(service).copied()
    }

    /// The addresses as objects.
    pub(super) fn objects(&self) -> impl Iterator<Item = IPAddress> {
        self.given.iter().map(|(key, ip)| IPAddress {
            metadata: ObjectMeta {
                name: Some(ip.to_string()),
                labels: Some(BTreeMap::from([
                    (
                        "ipaddress.kubernetes.io/ip-family".to_owned(),
                        "IPv4".to_owned(),
                    ),
                    (
                        "ipaddress.kubernetes.io/managed-by".to_owned(),
                        "ipallocator.k8s.io".to_owned(),
                    ),
                ])),
                ..ObjectMeta::default()
            },
            spec: IPAddressSpec {
                parent_ref: ParentReference {
                    group: Some(String::new()),
                    resource: "services".to_owned(),
                    namespace: Some(key.namespace.clone()),
                    name: key.name.clone(),
                },
            },
        })
    }
}

/// The addresses to try for a Service, its own first, then the ones after it.
fn candidates(service: &ObjectKey) -> impl Iterator<Item = Ipv4Addr> {
    // The last address is the network's broadcast address, by custom nobody's.
    let room = SIZE - 1 - DYNAMIC_FROM;
    let first = fnv(format!("{}/{}", service.namespace, service.name).as_bytes()) % room;
    (0..room).map(move |step| {
        Ipv4Addr::from(u32::from(SERVICE_NETWORK) + DYNAMIC_FROM + (first + step) % room)
    })
}

/// The place of an address a Service may have.
fn offset(ip: Ipv4Addr) -> Option<u32> {
    let offset = u32::from(ip).checked_sub(u32::from(SERVICE_NETWORK))?;
    (1..SIZE - 1).contains(&offset).then_some(offset)
}

/// Whether `ip` is the resolver's, which every node answers for itself.
pub(super) fn is_resolver(ip: Ipv4Addr) -> bool {
    ip == DNS_VIP
}

#[cfg(test)]
mod tests;
