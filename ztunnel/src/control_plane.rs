//! The two conversations with the control plane: discovery, and certificates for the node's pods.

use std::sync::Arc;

use identity::ca::RequestShape;
use identity::channel::{self, ControlPlane};
use identity::keyring::Renewal;
use identity::{CaClient, Credentials, Keyring};
use proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE};
use telemetry::xds::XdsMetrics;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::Channel;
use xds::client::{
    BoxError, Client, Observer, Rejected, Subscriptions, Termination, Transport, Watch,
    system_jitter,
};
use xds::{Node, Role};

use crate::config::Config;
use crate::state::StoreWriter;

/// Where certificates come from, and the task that renews them.
///
/// # Errors
/// When the address or the cluster id cannot be used.
pub(crate) fn keyring(config: &Config) -> Result<(Keyring, Renewal<CaClient>), BoxError> {
    let to = reached(config, &config.ca_address);
    let channel = channel::open_authenticated(&to, credentials(config)?)?;
    let shape = RequestShape {
        impersonate: true,
        validity: config.secret_ttl,
        ..RequestShape::default()
    };
    Ok(Keyring::new(CaClient::new(channel, shape)))
}

/// The client that keeps the store up to date.
///
/// # Errors
/// When the address or the cluster id cannot be used.
pub(crate) fn discovery(
    config: &Config,
    writer: StoreWriter,
    metrics: XdsMetrics,
) -> Result<Client<Authenticated, StoreWriter>, BoxError> {
    let transport = Authenticated {
        to: reached(config, &config.xds_address),
        credentials: credentials(config)?,
    };
    let place = &config.place;
    let node = Node {
        role: Role::Ztunnel,
        ip: Some(place.instance_ip),
        pod: place.pod.clone(),
        namespace: place.namespace.clone(),
        node: place.node.clone(),
        metadata: std::collections::BTreeMap::new(),
    };
    let node = node
        .with("CLUSTER_ID", &place.cluster_id)
        .with("SERVICE_ACCOUNT", &place.service_account);
    let watches = [
        Watch::everything(ADDRESS_TYPE),
        Watch::everything(AUTHORIZATION_TYPE),
    ];
    let subscriptions = Subscriptions::new(node.to_proto(), watches);
    let client = Client::new(transport, subscriptions, writer, system_jitter());
    Ok(client.observed_by(Arc::new(Counted(metrics))))
}

fn reached(config: &Config, address: &str) -> ControlPlane {
    ControlPlane {
        address: address.to_owned(),
        roots: config.roots.clone(),
        alternative_name: config.alternative_name.clone(),
    }
}

fn credentials(config: &Config) -> Result<Credentials, BoxError> {
    Ok(Credentials::new(
        config.token.clone(),
        config.place.cluster_id.parse()?,
    ))
}

/// Connects to discovery as this process.
pub(crate) struct Authenticated {
    to: ControlPlane,
    credentials: Credentials,
}

impl Transport for Authenticated {
    type Channel = Channel;
    type Body = Body;

    async fn connect(&mut self) -> Result<Channel, BoxError> {
        Ok(channel::open(&self.to)?)
    }

    async fn metadata(&mut self) -> Result<MetadataMap, BoxError> {
        let request = self.credentials.call(tonic::Request::new(()))?;
        Ok(request.metadata().clone())
    }
}

struct Counted(XdsMetrics);

impl Observer for Counted {
    fn received(&self, type_url: &str, bytes: usize) {
        self.0.message(type_url, bytes);
    }

    fn rejected(&self, type_url: &str, rejected: &Rejected) {
        let Rejected { name, reason } = rejected;
        tracing::warn!(type_url, name, reason, "a resource was rejected");
    }

    fn terminated(&self, why: Termination) {
        self.0.terminated(match why {
            Termination::Complete => "Complete",
            Termination::ConnectionError => "ConnectionError",
            Termination::Error => "Error",
            Termination::Reconnect => "Reconnect",
        });
    }
}
