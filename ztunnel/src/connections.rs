//! Which pods are served and what connections they have open: `workloadState` of `/config_dump`,
//! which `istioctl ztunnel-config connections` reads.
//!
//! Each worker notes what it opens of a pod in a list of its own, so the only one to ever wait
//! for a worker's lock is whoever looks at the dump.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use mesh::service::Service;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use telemetry::access::Direction;

use crate::pod::PodInfo;

#[cfg(test)]
mod tests;

/// The pods of the node. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodStates(Arc<Mutex<States>>);

#[derive(Debug, Default)]
struct States {
    served: BTreeMap<String, Arc<PodState>>,
    pending: Vec<PodInfo>,
}

/// A pod that is served, and what each worker has open of it.
#[derive(Debug)]
struct PodState {
    info: PodInfo,
    workers: Vec<OpenConnections>,
}

/// What one worker has open of one pod. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenConnections(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, Connection>,
}

/// One connection as the dump shows it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) direction: Direction,
    /// The client.
    pub(crate) source: SocketAddr,
    /// What the client asked for: outbound what the pod dialled, inbound the pod's own port.
    pub(crate) target: SocketAddr,
    /// What was connected to, or accepted on.
    pub(crate) hop: SocketAddr,
    /// The service dialled, as far as is known.
    pub(crate) service: Option<Arc<Service>>,
    /// Over HBONE.
    pub(crate) tunnelled: bool,
}

/// A connection in the list; dropped, it is out of it.
#[derive(Debug)]
pub(crate) struct Entry {
    list: OpenConnections,
    key: u64,
}

/// A pod in the list; dropped, it is out of it.
#[derive(Debug)]
pub(crate) struct ServedEntry {
    states: PodStates,
    state: Arc<PodState>,
}

impl PodStates {
    /// Notes that a pod is served, by these workers.
    pub(crate) fn serve(&self, info: PodInfo, workers: Vec<OpenConnections>) -> ServedEntry {
        let state = Arc::new(PodState { info, workers });
        let mut states = self.0.lock();
        states.served.insert(state.info.uid.clone(), state.clone());
        ServedEntry {
            states: self.clone(),
            state,
        }
    }

    /// Notes which pods wait to be served.
    pub(crate) fn wait(&self, pending: Vec<PodInfo>) {
        self.0.lock().pending = pending;
    }

    /// The value of `workloadState`.
    pub(crate) fn dump(&self) -> Value {
        let states = self.0.lock();
        let served = states.served.iter();
        let served = served.map(|(uid, state)| (uid.clone(), state.dump()));
        let pending = states.pending.iter();
        let pending = pending.map(|info| {
            let value = json!({"state": "Pending", "info": shown(info)});
            (info.uid.clone(), value)
        });
        Value::Object(pending.chain(served).collect::<Map<_, _>>())
    }
}

impl PodState {
    fn dump(&self) -> Value {
        let (mut inbound, mut outbound) = (vec![], vec![]);
        for worker in &self.workers {
            for connection in worker.0.lock().open.values() {
                match connection.direction {
                    Direction::Inbound => inbound.push(connection.dump()),
                    Direction::Outbound => outbound.push(connection.dump()),
                }
            }
        }
        json!({
            "state": "Up",
            "connections": {"inbound": inbound, "outbound": outbound},
            "info": shown(&self.info),
        })
    }
}

fn shown(info: &PodInfo) -> Value {
    json!({
        "name": info.name,
        "namespace": info.namespace,
        "serviceAccount": info.service_account,
    })
}

impl Connection {
    /// Keys and values are those of istio/ztunnel `src/proxy/connection_manager.rs`.
    fn dump(&self) -> Value {
        let (original, actual) = match self.direction {
            Direction::Outbound => (json!(self.target), self.hop),
            Direction::Inbound => {
                let service = self.service.as_ref();
                let host = service.map(|service| &*service.key.hostname);
                (json!(host), self.target)
            }
        };
        json!({
            "src": self.source,
            "originalDst": original,
            "actualDst": actual,
            "protocol": if self.tunnelled { "HBONE" } else { "TCP" },
        })
    }
}

impl OpenConnections {
    /// Notes a connection for as long as the returned value lives.
    pub(crate) fn add(&self, connection: Connection) -> Entry {
        let mut entries = self.0.lock();
        let key = entries.next;
        entries.next += 1;
        entries.open.insert(key, connection);
        Entry {
            list: self.clone(),
            key,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.list.0.lock().open.remove(&self.key);
    }
}

impl Drop for ServedEntry {
    fn drop(&mut self) {
        let mut states = self.states.0.lock();
        let uid = &self.state.info.uid;
        // A pod that came back in another namespace has the entry already.
        let ours = states.served.get(uid);
        if ours.is_some_and(|state| Arc::ptr_eq(state, &self.state)) {
            states.served.remove(uid);
        }
    }
}
