//! Which endpoint of a service gets a request or connection.
//!
//! Least request by two choices: two endpoints are drawn as `mesh::balance` ranks and weighs
//! them, and the one with fewer requests in flight on this worker is taken. Endpoints that were
//! tried already are avoided as long as others are drawn.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mesh::balance;
use mesh::service::Service;
use mesh::spiffe::SpiffeId;
use mesh::store::{HBONE_PORT, ServiceEntry};
use mesh::workload::{SharedWorkload, TunnelProtocol, Workload};

use crate::draw::Draw;
use crate::state::Snapshot;

#[cfg(test)]
mod tests;

/// How often is drawn to find two endpoints that were not tried yet. Istio looks again as often.
const DRAWS: usize = 6;
/// How often is drawn at most to find one that was not tried yet: with two endpoints, of which one
/// is dead, the dead one is never asked twice.
const DRAWS_FOR_ANOTHER: usize = 48;

/// An endpoint that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The workload.
    pub(crate) workload: SharedWorkload,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How it is reached.
    pub(crate) transport: Transport,
}

/// How an endpoint is reached.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Transport {
    /// Plain TCP: it is outside the mesh.
    Plain,
    /// Through a tunnel to its node's proxy.
    Tunnel {
        /// Where the tunnel connection goes.
        to: SocketAddr,
        /// Who is expected at its end.
        identity: SpiffeId,
        /// Who may be there instead, as the service says; nearly always nobody.
        alternatives: Vec<SpiffeId>,
    },
}

impl Endpoint {
    /// A workload's port, or `None` when the workload cannot be reached from here.
    pub(crate) fn new(
        workload: &SharedWorkload,
        port: u16,
        service: Option<&Service>,
        own: &Workload,
    ) -> Option<Self> {
        if workload.network != own.network {
            return None;
        }
        let near = own.addresses.first().copied()?;
        let ip = balance::address_of(workload, service, near)?;
        let transport = match workload.tunnel_protocol {
            TunnelProtocol::Tcp => Transport::Plain,
            TunnelProtocol::Hbone => Transport::Tunnel {
                to: SocketAddr::new(ip, HBONE_PORT),
                identity: workload.identity.clone(),
                alternatives: service.map_or(vec![], |service| service.subject_alt_names.clone()),
            },
        };
        Some(Self {
            workload: Arc::clone(workload),
            address: SocketAddr::new(ip, port),
            transport,
        })
    }
}

/// Requests in flight by endpoint, on one worker.
#[derive(Debug, Default)]
pub(crate) struct Loads(RefCell<HashMap<SocketAddr, Weak<Cell<u32>>>>);

/// One request in flight; ends with its drop.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Cell<u32>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Loads {
    /// Counts a request to an endpoint until the guard is dropped.
    pub(crate) fn begin(&self, endpoint: SocketAddr) -> InFlight {
        let mut loads = self.0.borrow_mut();
        let known = loads.get(&endpoint).and_then(Weak::upgrade);
        let count = known.unwrap_or_else(|| {
            // The place of an endpoint that is gone is found when the map is about to grow.
            if loads.len() == loads.capacity() {
                loads.retain(|_, count| count.strong_count() > 0);
            }
            let count = Rc::default();
            loads.insert(endpoint, Rc::downgrade(&count));
            count
        });
        count.set(count.get() + 1);
        InFlight(count)
    }

    fn of(&self, endpoint: SocketAddr) -> u32 {
        let count = self.0.borrow().get(&endpoint).and_then(Weak::upgrade);
        count.map_or(0, |count| count.get())
    }

    /// Picks an endpoint of a service for `port`, or `None` when none can be used.
    ///
    /// * `tried` — endpoints that failed this request before.
    pub(crate) fn pick(
        &self,
        snapshot: &Snapshot,
        entry: &ServiceEntry,
        port: u16,
        tried: &[SocketAddr],
        draw: &Draw,
    ) -> Option<Endpoint> {
        let own = snapshot.own();
        let mut best: Option<(bool, u32, Endpoint)> = None;
        let mut fresh = 0;
        for draws in 0..DRAWS_FOR_ANOTHER {
            if draws >= DRAWS && (fresh > 0 || tried.is_empty()) {
                break;
            }
            let (endpoint, target) = balance::pick(entry, own, port, draw.unit())?;
            let endpoint = Endpoint::new(&endpoint.workload, target, Some(&entry.service), own);
            let Some(endpoint) = endpoint else { continue };
            let same = |(_, _, known): &(bool, u32, Endpoint)| known.address == endpoint.address;
            if best.as_ref().is_some_and(same) {
                continue;
            }
            let rank = (tried.contains(&endpoint.address), self.of(endpoint.address));
            fresh += usize::from(!rank.0);
            if best
                .as_ref()
                .is_none_or(|(was_tried, load, _)| rank < (*was_tried, *load))
            {
                best = Some((rank.0, rank.1, endpoint));
            }
            if fresh == 2 {
                break;
            }
        }
        best.map(|(_, _, endpoint)| endpoint)
    }
}
