//! Who listens, as readiness, statuses and `/debug` need it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use xds::server::{Connected, Holding};

use super::gate::{Audience, Peer};

/// A connected proxy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The number of its stream; a proxy that reconnects gets another.
    pub stream: u64,
    /// What it is.
    #[serde(serialize_with = "as_text")]
    pub audience: Audience,
    /// Its service account, `namespace/name`.
    pub account: String,
    /// Its pod, `namespace/name`.
    pub pod: String,
    /// Who it says it is: its node id.
    pub node_id: String,
    /// Whether it has answered all that is published for it, of every type it wants.
    pub current: bool,
    /// What it has accepted, by type URL.
    pub types: BTreeMap<String, TypeState>,
}

/// What a proxy has accepted of one type.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeState {
    /// The publication it has answered last; `None` before the first.
    pub generation: Option<u64>,
    /// Whether that is the newest.
    pub current: bool,
    /// What it could not use of that.
    pub rejected: Vec<Rejected>,
}

/// A resource a proxy could not use; the last good version stays in force there.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// The resource.
    pub resource: String,
    /// The version that was refused.
    pub version: String,
    /// Why, in the proxy's words.
    pub reason: String,
}

impl From<&Connected<Peer>> for Client {
    fn from(connected: &Connected<Peer>) -> Self {
        let Connected {
            stream,
            peer,
            node,
            holdings,
        } = connected;
        Self {
            stream: *stream,
            audience: peer.audience.clone(),
            account: peer.account.to_string(),
            pod: format!("{}/{}", peer.account.namespace, peer.pod.name),
            node_id: node.clone(),
            current: connected.is_current(),
            types: holdings
                .iter()
                .map(|(url, held)| (url.to_string(), held.into()))
                .collect(),
        }
    }
}

impl From<&Holding> for TypeState {
    fn from(holding: &Holding) -> Self {
        let rejected = holding.rejected().map(|rejection| Rejected {
            resource: rejection.name.to_string(),
            version: rejection.version.to_string(),
            reason: rejection.reason.clone(),
        });
        Self {
            generation: holding.generation(),
            current: holding.is_current(),
            rejected: rejected.collect(),
        }
    }
}

fn as_text<S: Serializer>(audience: &Audience, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(audience)
}
