//! Which captured pods could not prove yet who they are?
//!
//! A pod is captured as soon as its node's ztunnel has its sockets; the certificate comes a moment
//! later, and until then the pod's connections are refused. So a mesh is ready only when every
//! ztunnel says on its `/config_dump` that it holds the certificates of its pods.

use std::net::Ipv4Addr;

use nlink::netlink::namespace::Netns;
use serde::Deserialize;

use super::{
    Runner,
    pod::{PodIdentity, Role},
    probe,
};

/// Where a proxy's own pages are.
const ADMIN_PORT: u16 = 15000;
/// The state of a certificate that can be used.
const AVAILABLE: &str = "Available";

/// The part of `/config_dump` that is of interest here.
#[derive(Deserialize)]
struct Dump {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
struct Certificate {
    identity: String,
    state: String,
}

impl Runner {
    /// What pods still lack to prove who they are, in words.
    pub async fn uncertified(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let ztunnels = self
            .pods
            .values()
            .filter(|pod| pod.identity.role == Role::Ztunnel && pod.leaving.is_none());
        for ztunnel in ztunnels {
            match ask(&ztunnel.netns).await {
                Ok(dump) => missing.extend(lacking(&ztunnel.identity, &dump)),
                Err(why) => missing.push(format!("pod {}: {why}", ztunnel.identity.key())),
            }
        }
        missing
    }
}

async fn ask(netns: &str) -> Result<Dump, String> {
    let netns = Netns::open(netns).map_err(|e| e.to_string())?;
    let to = (Ipv4Addr::LOCALHOST, ADMIN_PORT).into();
    let page = probe::page(&netns, to, "/config_dump").await?;
    serde_json::from_slice(&page).map_err(|e| format!("config_dump cannot be read: {e}"))
}

fn lacking(ztunnel: &PodIdentity, dump: &Dump) -> Vec<String> {
    let lacking = dump
        .certificates
        .iter()
        .filter(|certificate| certificate.state != AVAILABLE);
    let said = lacking.map(|Certificate { identity, state }| {
        format!(
            "pod {}: the certificate of {identity} is {state}",
            ztunnel.key()
        )
    });
    said.collect()
}
