//! Resources and certificates for proxies, on one port.
//!
//! * [`Catalogs`] are what proxies are told; whoever translates edits them.
//! * [`ControlServer`] is the listener, 15012: TLS with a certificate of our own authority, behind
//!   it delta xDS and the certificate service. Both know a caller by its token, and what it is
//!   told follows from that alone: a node proxy hears of every workload, service and L4 policy, a
//!   waypoint of every workload and service and of what is attached to itself.
//! * What waypoints say of plugins comes in on the same port ([`reports`]).
//! * [`ControlServer::clients`] says who listens and what each has accepted, for readiness, the
//!   status of objects and `/debug`.
//!
//! What a resource means is `translate`'s; which bytes travel when is `xds`'.

mod accept;
mod catalogs;
mod certificate;
mod clients;
mod gate;
pub(crate) mod reports;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proto::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use proto::cairn::waypoint::reports_server::ReportsServer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::ca::{Authority, CaService, CaSettings, PodLookup, TokenReviewer, Unsignable};
pub use catalogs::Catalogs;
use certificate::ServerIdentity;
pub use certificate::default_names;
pub use clients::{Client, Rejected, TypeState};
pub use gate::Audience;
use gate::Gate;
use reports::Hearing;

/// Ping on a quiet connection, and how long its answer may take: a client behind a black hole is
/// gone within half a minute.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls on one connection at once (C-07); a proxy has two streams and eight certificate requests.
const MAX_CALLS: u32 = 100;
/// How long calls may take to end at shutdown.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Connections that are through with TLS and not yet taken up.
const READY_CONNECTIONS: usize = 64;

/// What the server stands on.
#[derive(Clone)]
pub struct Foundations {
    /// Signs certificates, our own included.
    pub authority: Arc<Authority>,
    /// Knows whose a token is.
    pub reviewer: Arc<dyn TokenReviewer>,
    /// Knows where pods run and which of them are waypoints.
    pub pods: Arc<dyn PodLookup>,
    /// The operator's decisions.
    pub settings: CaSettings,
    /// Names the listener answers to; see [`default_names`].
    pub names: Vec<String>,
}

impl fmt::Debug for Foundations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foundations")
            .field("authority", &self.authority)
            .field("settings", &self.settings)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The authority does not certify it.
    #[error("the control plane's own certificate could not be signed")]
    Unsigned(#[from] Unsignable),
    /// The certificate does not fit its key.
    #[error("the control plane's own certificate is unusable")]
    Unusable(#[from] identity::Error),
    /// rustls does not accept what it is given.
    #[error("no TLS configuration can be made")]
    Tls(#[from] rustls::Error),
    /// The listener failed for good.
    #[error("the listener of the control plane failed")]
    Listener(#[from] tonic::transport::Error),
}

/// Serves proxies.
pub struct ControlServer {
    catalogs: Arc<Catalogs>,
    gate: Gate,
    reports: Arc<reports::Board>,
    xds: xds::server::Server<Gate>,
    ca: Arc<CaService>,
    identity: Arc<ServerIdentity>,
}

impl ControlServer {
    /// A server that is not listening yet.
    ///
    /// # Errors
    /// When the authority cannot certify the listener.
    pub fn new(foundations: Foundations) -> Result<Self, ServeError> {
        let Foundations {
            authority,
            reviewer,
            pods,
            settings,
            names,
        } = foundations;
        let identity = Arc::new(ServerIdentity::new(Arc::clone(&authority), names)?);
        let catalogs = Arc::<Catalogs>::default();
        let gate = Gate::new(
            Arc::clone(&reviewer),
            Arc::clone(&pods),
            settings.trusted_node_accounts.clone(),
            Arc::clone(&catalogs),
        );
        Ok(Self {
            gate: gate.clone(),
            reports: Arc::default(),
            xds: xds::server::Server::new(gate, catalogs::ORDER, xds::server::Limits::default()),
            ca: Arc::new(CaService::new(authority, reviewer, pods, settings)),
            catalogs,
            identity,
        })
    }

    /// What proxies are told, for editing.
    pub fn catalogs(&self) -> &Arc<Catalogs> {
        &self.catalogs
    }

    /// Who listens, and what each has accepted.
    pub fn clients(&self) -> Vec<Client> {
        self.xds.clients().iter().map(Client::from).collect()
    }

    /// Wakes when [`clients`](Self::clients) would say something else.
    pub fn clients_changed(&self) -> watch::Receiver<()> {
        self.xds.clients_changed()
    }

    /// What waypoints say of plugins.
    pub(crate) fn reports(&self) -> &Arc<reports::Board> {
        &self.reports
    }

    /// Serves until `shutdown`, then ends streams at once and lets signing finish, for
    /// [`SHUTDOWN_GRACE`].
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let (sender, connections) = mpsc::channel(READY_CONNECTIONS);
        let accepting = accept::run(listener, self.identity.config(), sender, shutdown.clone());
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(MAX_CALLS)
            .add_service(self.xds.service())
            .add_service(ReportsServer::new(Hearing::new(
                self.gate.clone(),
                Arc::clone(&self.reports),
                shutdown.clone(),
            )))
            .add_service(IstioCertificateServiceServer::from_arc(Arc::clone(
                &self.ca,
            )))
            .serve_with_incoming_shutdown(
                ReceiverStream::new(connections),
                shutdown.clone().cancelled_owned(),
            );
        // Boxed: it is large, and callers pass the future around.
        let serving = Box::pin(serving);
        let stopping = async {
            shutdown.cancelled().await;
            self.xds.close();
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        tokio::select! {
            (served, ()) = async { tokio::join!(serving, accepting) } => Ok(served?),
            () = stopping => {
                tracing::warn!("proxies did not let go of their connections in time");
                Ok(())
            }
            never = self.identity.renew() => match never {},
        }
    }
}

impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer")
            .field("clients", &self.clients().len())
            .finish_non_exhaustive()
    }
}
