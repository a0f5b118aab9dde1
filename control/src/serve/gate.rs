//! Who may listen, and to what (C-02, C-03).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto::envoy::config::core::v3::Node;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};
use xds::server::{Answer, Catalog, Embedder, Grant};

use super::catalogs::{Catalogs, WAYPOINT_TYPES, ZTUNNEL_TYPES};
use crate::ca::{
    AUDIENCE, Authenticated, BearerToken, PodLookup, PodRef, ServiceAccount, TokenReviewer,
};
use crate::translate::WaypointName;

#[cfg(test)]
mod tests;

/// A token may be withdrawn before it ends, with its pod: it is looked at again this often (C-08).
const RECHECK: Duration = Duration::from_mins(10);

/// What a proxy is, and therefore what it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Audience {
    /// A node proxy: every workload, service and L4 policy.
    Ztunnel {
        /// The node its pod is on.
        node: Option<Arc<str>>,
    },
    /// A waypoint: every workload and service, and what is attached to itself.
    Waypoint(WaypointName),
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ztunnel { node } => write!(f, "ztunnel {}", node.as_deref().unwrap_or("-")),
            Self::Waypoint(name) => f.write_str(&name.known_as()),
        }
    }
}

/// A proxy that listens.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(super) audience: Audience,
    pub(super) account: ServiceAccount,
    pub(super) pod: PodRef,
    /// Looked at again while the stream lasts; shows itself to nobody.
    token: BearerToken,
}

/// Lets proxies in. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    reviewer: Arc<dyn TokenReviewer>,
    pods: Arc<dyn PodLookup>,
    node_accounts: BTreeSet<ServiceAccount>,
    catalogs: Arc<Catalogs>,
}

impl Gate {
    pub(super) fn new(
        reviewer: Arc<dyn TokenReviewer>,
        pods: Arc<dyn PodLookup>,
        node_accounts: BTreeSet<ServiceAccount>,
        catalogs: Arc<Catalogs>,
    ) -> Self {
        Self {
            reviewer,
            pods,
            node_accounts,
            catalogs,
        }
    }

    /// Admits the bearer of a token, or says no more than that it does not.
    async fn admit(&self, token: BearerToken) -> Result<Grant<Peer>, Status> {
        let caller = self
            .reviewer
            .review(&token, AUDIENCE)
            .await
            .map_err(|refused| {
                tracing::warn!(
                    error = &refused as &dyn std::error::Error,
                    "proxy not authenticated"
                );
                Status::unauthenticated("authentication failure")
            })?;
        let Some(audience) = self.audience(&caller) else {
            let (account, pod) = (&caller.account, &caller.pod.name);
            tracing::warn!(%account, pod, "neither a node proxy nor a waypoint");
            return Err(Status::permission_denied(
                "configuration is for node proxies and waypoints only",
            ));
        };
        let left = caller
            .expires
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        Ok(Grant {
            peer: Peer {
                audience,
                account: caller.account,
                pod: caller.pod,
                token,
            },
            recheck_at: Some(Instant::now() + left.min(RECHECK)),
        })
    }

    /// What a caller is, judged by what it proved and by the objects of the mesh.
    fn audience(&self, caller: &Authenticated) -> Option<Audience> {
        if self.node_accounts.contains(&caller.account) {
            return Some(Audience::Ztunnel {
                node: caller.node.clone(),
            });
        }
        let pod = self.pods.pod(&caller.account.namespace, &caller.pod.name)?;
        if *pod.uid != *caller.pod.uid || pod.service_account != caller.account.name {
            return None;
        }
        pod.waypoint.map(Audience::Waypoint)
    }
}

impl Embedder for Gate {
    type Peer = Peer;

    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        _connection: &Extensions,
    ) -> Result<Grant<Peer>, Status> {
        let token = BearerToken::from_metadata(metadata)
            .map_err(|_| Status::unauthenticated("authentication failure"))?;
        self.admit(token).await
    }

    async fn recheck(&self, peer: &Peer) -> Result<Option<Instant>, Status> {
        let grant = self.admit(peer.token.clone()).await?;
        if grant.peer.audience != peer.audience {
            return Err(Status::permission_denied("this proxy is another one now"));
        }
        Ok(grant.recheck_at)
    }

    fn view(&self, peer: &Peer, type_url: &str, _node: &Node) -> Option<Arc<Catalog>> {
        match &peer.audience {
            Audience::Ztunnel { .. } if ZTUNNEL_TYPES.contains(&type_url) => {
                Some(self.catalogs.ztunnels())
            }
            Audience::Waypoint(name) if WAYPOINT_TYPES.contains(&type_url) => {
                Some(self.catalogs.waypoint(name))
            }
            Audience::Ztunnel { .. } | Audience::Waypoint(_) => None,
        }
    }

    fn answered(&self, peer: &Peer, answer: &Answer) {
        for rejection in &answer.rejected {
            tracing::warn!(
                proxy = %peer.audience,
                pod = peer.pod.name,
                type_url = &*answer.type_url,
                resource = &*rejection.name,
                reason = rejection.reason,
                "resource rejected by a proxy",
            );
        }
    }
}
