//! The stream of configuration from the control plane.

use std::sync::Arc;

use anyhow::{Context, Result};
use identity::channel::{self, ControlPlane};
use identity::{Credentials, Token};
use runtime::TaskSet;
use telemetry::xds::XdsMetrics;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::Channel;
use xds::client::{
    BoxError, Client, Refusals, Rejected, Reporter, Reports, Subscriptions, Termination, Watch,
};

use crate::config::{Config, Place};
use crate::state::{SharedWriter, TYPES};

/// What we show the control plane.
///
/// # Errors
/// When a setting cannot be sent.
pub(crate) fn credentials(config: &Config) -> Result<Credentials> {
    let cluster = config
        .place
        .cluster_id
        .parse()
        .context("CLUSTER_ID is not ASCII")?;
    Ok(Credentials::new(Token::clone(&config.token), cluster))
}

/// A subscription to configuration.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// Becomes true when the first of all is applied.
    pub(crate) synced: watch::Receiver<bool>,
    /// Tells the control plane what turns out to be unusable after it was applied.
    pub(crate) refusals: Refusals,
    /// Tells the control plane what becomes of plugins, by the names of their resources.
    pub(crate) reports: Reports,
}

/// Subscribes to configuration.
///
/// # Errors
/// When a setting cannot be used.
pub(crate) fn start(
    config: &Config,
    writer: SharedWriter,
    metrics: XdsMetrics,
    tasks: &TaskSet,
) -> Result<Discovery> {
    let transport = || {
        Ok::<_, anyhow::Error>(Transport {
            to: config.xds.clone(),
            credentials: credentials(config)?,
        })
    };
    let (transport, of_reports) = (transport()?, transport()?);
    // An address that cannot be used is told now and not at every attempt.
    channel::open(&transport.to)?;
    let node = node(&config.place).to_proto();
    let subscriptions = Subscriptions::new(node, TYPES.map(Watch::everything));
    let jitter = xds::client::system_jitter();
    let mut client = Client::new(transport, subscriptions, writer, jitter)
        .observed_by(Arc::new(Observed(metrics)));
    let (synced, refusals) = (client.ready(), client.refusals());
    tasks.spawn("xds", async move { client.run().await });
    let reports = Reports::default();
    let jitter = xds::client::system_jitter();
    let mut reporter = Reporter::new(of_reports, reports.clone(), jitter);
    tasks.spawn("reports", async move { match reporter.run().await {} });
    Ok(Discovery {
        synced,
        refusals,
        reports,
    })
}

fn node(place: &Place) -> xds::Node {
    let node = xds::Node {
        role: xds::Role::Waypoint,
        ip: Some(place.instance_ip),
        pod: place.pod.to_string(),
        namespace: place.namespace.to_string(),
        node: place.node.to_string(),
        metadata: [].into(),
    };
    node.with("GATEWAY_NAME", &*place.gateway)
        .with("SERVICE_ACCOUNT", &*place.service_account)
        .with("CLUSTER_ID", &*place.cluster_id)
        .with("NETWORK", &*place.network)
}

/// Connections for discovery.
struct Transport {
    to: ControlPlane,
    credentials: Credentials,
}

impl xds::client::Transport for Transport {
    type Channel = Channel;
    type Body = tonic::body::Body;

    async fn connect(&mut self) -> Result<Channel, BoxError> {
        Ok(channel::open(&self.to)?)
    }

    async fn metadata(&mut self) -> Result<MetadataMap, BoxError> {
        let request = self.credentials.call(tonic::Request::new(()))?;
        Ok(request.metadata().clone())
    }
}

/// Counts what happens on the stream.
struct Observed(XdsMetrics);

impl xds::client::Observer for Observed {
    fn received(&self, type_url: &str, bytes: usize) {
        self.0.message(type_url, bytes);
    }

    // The client logs what was rejected and tells the server.
    fn rejected(&self, _type_url: &str, _rejected: &Rejected) {}

    fn terminated(&self, why: Termination) {
        self.0.terminated(match why {
            Termination::Complete => "complete",
            Termination::ConnectionError => "connection_error",
            Termination::Error => "error",
            Termination::Reconnect => "reconnect",
        });
    }
}
