//! Whether every proxy there should be has what it was told: what `cairn up` waits for.

use std::collections::BTreeSet;

use gateway_api::experimental::gateways::Gateway;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use crate::object::Objects;
use crate::pods;
use crate::serve::Client;

#[cfg(test)]
mod tests;

/// Whether the mesh is as its objects ask, and what is missing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Nothing is missing.
    pub ready: bool,
    /// What is missing, in words.
    pub waiting: Vec<String>,
}

/// Compares the proxies there should be with those that listen and what they have accepted.
pub fn report(objects: &Objects, clients: &[Client], root_namespace: &str) -> Report {
    let mut waiting = vec![];
    let mut served = BTreeSet::new();
    for (object, pod) in objects
        .list::<Pod>()
        .filter(|(object, _)| pods::is_live(object))
    {
        let key = format!("{}/{}", object.key.namespace, object.key.name);
        let is_ztunnel =
            &*object.key.namespace == root_namespace && object.label("app") == Some("ztunnel");
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref());
        let waypoint = pods::waypoint(objects, object, account.unwrap_or("default"));
        let what = match &waypoint {
            Some(waypoint) => {
                served.insert((waypoint.namespace.clone(), waypoint.name.clone()));
                format!("waypoint {waypoint} (pod {key})")
            }
            None if is_ztunnel => object.key.name.to_string(),
            None => continue,
        };
        let mut streams = clients.iter().filter(|client| client.pod == key).peekable();
        if streams.peek().is_none() {
            waiting.push(format!("{what} has not connected to control"));
        } else if !streams.any(|client| client.current) {
            waiting.push(format!("{what} has not accepted the newest configuration"));
        }
    }
    for (gateway, spec) in objects.list::<Gateway>() {
        let name = (gateway.key.namespace.clone(), gateway.key.name.clone());
        let managed = pods::is_waypoint_class(objects, &spec.spec.gateway_class_name)
            && spec.spec.addresses.is_none();
        if managed && !served.contains(&name) {
            waiting.push(format!("waypoint {}/{} has no pod", name.0, name.1));
        }
    }
    Report {
        ready: waiting.is_empty(),
        waiting,
    }
}
