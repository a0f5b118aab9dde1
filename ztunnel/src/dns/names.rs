//! What a DNS name means to a client of the mesh. No socket, no message: names in, addresses out.
//!
//! Source: istio/ztunnel `src/dns/server.rs`, restated in the order below.

use std::net::IpAddr;

use mesh::store::{ServiceEntry, Store};
use mesh::workload::Workload;

#[cfg(test)]
mod tests;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// A name that is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Resolved {
    /// The name the addresses belong to, when it is not the one that was asked for.
    pub(crate) alias: Option<String>,
    /// Its addresses; none when it has none of the family.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Resolves a fully qualified, lower-case name, or says that it is not ours.
pub(crate) fn resolve(
    store: &Store,
    client: &Workload,
    domain: &str,
    name: &str,
    family: Family,
) -> Option<Resolved> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if let Some((entry, _)) = find(store, client, domain, name) {
        return Some(Resolved {
            alias: None,
            addresses: addresses(entry, client, family),
        });
    }
    for search in search_domains(client, domain) {
        let Some(stripped) = name
            .strip_suffix(&search)
            .and_then(|rest| rest.strip_suffix('.'))
        else {
            continue;
        };
        if let Some((entry, wildcard)) = find(store, client, domain, stripped) {
            // A wildcard has no name of its own to point at.
            let alias = (!wildcard).then(|| format!("{stripped}."));
            return Some(Resolved {
                alias,
                addresses: addresses(entry, client, family),
            });
        }
    }
    None
}

/// The service a name means, and whether only a wildcard of it does.
fn find<'s>(
    store: &'s Store,
    client: &Workload,
    domain: &str,
    name: &str,
) -> Option<(&'s ServiceEntry, bool)> {
    expansions(name, &client.namespace, domain)
        .into_iter()
        .find_map(|candidate| {
            let exact = lookup(store, client, domain, &candidate).map(|entry| (entry, false));
            exact.or_else(|| {
                wildcards(&candidate)
                    .find_map(|wildcard| lookup(store, client, domain, &wildcard))
                    .map(|entry| (entry, true))
            })
        })
}

fn lookup<'s>(
    store: &'s Store,
    client: &Workload,
    domain: &str,
    hostname: &str,
) -> Option<&'s ServiceEntry> {
    let entry = store.service_named(hostname, &client.namespace)?;
    let of_cluster = hostname
        .strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with(".svc."));
    (of_cluster || !entry.service.vips.is_empty()).then_some(entry)
}

/// The full names a name may stand for, most literal first.
fn expansions(name: &str, namespace: &str, domain: &str) -> Vec<String> {
    let labels: Vec<&str> = name.split('.').collect();
    let mut names = vec![name.to_owned()];
    match labels.as_slice() {
        [_] => names.push(format!("{name}.{namespace}.svc.{domain}")),
        [_, _] => {
            names.push(format!("{name}.svc.{domain}"));
            names.push(format!("{name}.{namespace}.svc.{domain}"));
        }
        [_, _, last] => {
            if *last == "svc" {
                names.push(format!("{name}.{domain}"));
            }
            names.push(format!("{name}.svc.{domain}"));
        }
        [_, _, _, "svc"] => names.push(format!("{name}.{domain}")),
        _ => {}
    }
    names
}

/// `*.rest`, from the most specific to the least.
fn wildcards(name: &str) -> impl Iterator<Item = String> + '_ {
    name.match_indices('.')
        .map(|(dot, _)| format!("*{}", name.get(dot..).unwrap_or_default()))
}

/// What a client's resolver appends to names.
fn search_domains(client: &Workload, domain: &str) -> [String; 3] {
    [
        format!("{}.svc.{domain}", client.namespace),
        format!("svc.{domain}"),
        domain.to_owned(),
    ]
}

fn addresses(entry: &ServiceEntry, client: &Workload, family: Family) -> Vec<IpAddr> {
    let wanted = |ip: &IpAddr| match family {
        Family::V4 => ip.is_ipv4(),
        Family::V6 => ip.is_ipv6(),
    };
    if entry.service.vips.is_empty() {
        let ready = entry
            .endpoints
            .values()
            .filter(|endpoint| endpoint.healthy());
        return ready
            .flat_map(|endpoint| endpoint.workload.addresses.iter().copied())
            .filter(wanted)
            .collect();
    }
    let vips = entry.service.vips.iter();
    vips.filter(|vip| vip.network == client.network)
        .map(|vip| vip.ip)
        .filter(wanted)
        .collect()
}
