//! Plugins.

use std::time::Duration;

use proto::cairn::waypoint as wire;

use super::authz::each;
use super::origin::{origin, readable_targets, targets};
use super::{Rejected, port};
use crate::origin::Origin;
use crate::plugin::{FailStrategy, Kind, Limits, Phase, Plugin, PullPolicy, PullSecret, Upstream};

/// Longest configuration a guest is handed, in bytes.
const CONFIGURATION_LIMIT: usize = 1 << 20;

impl TryFrom<wire::Plugin> for Plugin {
    type Error = Rejected;

    fn try_from(message: wire::Plugin) -> Result<Self, Rejected> {
        if message.url.is_empty() {
            return Err(Rejected::new("url", "it is empty"));
        }
        if message.configuration.len() > CONFIGURATION_LIMIT {
            return Err(Rejected::new("configuration", "it is longer than 1 MiB"));
        }
        let is_for_routes_alone = message.by_routes && message.targets.is_empty();
        Ok(Self {
            origin: origin(message.origin.as_ref())?,
            targets: if is_for_routes_alone {
                vec![]
            } else {
                targets(&message.targets)?
            },
            pull_policy: match wire::plugin::PullPolicy::try_from(message.pull_policy) {
                Ok(wire::plugin::PullPolicy::IfNotPresent) => PullPolicy::IfNotPresent,
                Ok(wire::plugin::PullPolicy::Always) => PullPolicy::Always,
                Err(unknown) => return Err(Rejected::new("pull_policy", unknown)),
            },
            pull_secret: message
                .pull_secret
                .as_ref()
                .map(|secret| PullSecret::new(&secret.docker_config)),
            allowed_upstreams: message
                .allowed_upstreams
                .as_ref()
                .map(upstreams)
                .transpose()?,
            limits: message
                .limits
                .as_ref()
                .map(limits)
                .transpose()?
                .unwrap_or_default(),
            sha256: digest(&message.sha256)?,
            phase: phase(message.phase)?,
            priority: message.priority,
            fail_strategy: fail_strategy(message.fail_strategy)?,
            kind: match wire::plugin::Type::try_from(message.r#type) {
                Ok(wire::plugin::Type::Http) => Kind::Http,
                Ok(wire::plugin::Type::Network) => Kind::Network,
                Err(unknown) => return Err(Rejected::new("type", unknown)),
            },
            ports: each("ports", &message.ports, |number| port("", *number))?,
            url: message.url.into(),
            configuration: message.configuration.to_vec(),
            root_id: message.root_id.into(),
            env: message
                .env
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            host_env: message.host_env.into_iter().map(Into::into).collect(),
            revision: message.revision.into(),
            unfetchable: Some(message.unfetchable)
                .filter(|why| !why.is_empty())
                .map(Into::into),
            body_while_headers_wait: message.allow_on_headers_stop_iteration,
        })
    }
}

/// The plugin to hold while there is no valid one of this name: one that cannot run, so that
/// requests fail unless the message says they may pass.
pub fn broken(name: &str, message: &wire::Plugin) -> Plugin {
    let origin = origin(message.origin.as_ref())
        .unwrap_or_else(|_| Origin::named("WasmPlugin", "", name).into());
    let is_for_routes_alone = message.by_routes && message.targets.is_empty();
    Plugin {
        origin,
        targets: if is_for_routes_alone {
            vec![]
        } else {
            readable_targets(&message.targets)
        },
        url: message.url.as_str().into(),
        sha256: None,
        phase: phase(message.phase).unwrap_or(Phase::Authn),
        priority: message.priority,
        configuration: vec![],
        root_id: message.root_id.as_str().into(),
        fail_strategy: fail_strategy(message.fail_strategy).unwrap_or(FailStrategy::Close),
        env: [].into(),
        kind: Kind::Http,
        ports: vec![],
        pull_policy: PullPolicy::IfNotPresent,
        revision: message.revision.as_str().into(),
        pull_secret: None,
        unfetchable: None,
        host_env: vec![],
        // Whatever cannot be read widens nothing.
        allowed_upstreams: Some(vec![]),
        limits: Limits::default(),
        body_while_headers_wait: false,
    }
}

fn upstreams(message: &wire::Upstreams) -> Result<Vec<Upstream>, Rejected> {
    each("allowed_upstreams", &message.list, |upstream| {
        if upstream.host.is_empty() {
            return Err(Rejected::new("host", "it is empty"));
        }
        Ok(Upstream {
            host: upstream.host.as_str().into(),
            port: Some(port("port", upstream.port)?).filter(|port| *port != 0),
        })
    })
}

fn limits(message: &wire::PluginLimits) -> Result<Limits, Rejected> {
    let callback = message
        .callback
        .as_ref()
        .map(|span| Duration::try_from(*span).map_err(|why| Rejected::new("limits.callback", why)));
    Ok(Limits {
        memory: Some(message.memory_bytes).filter(|bytes| *bytes != 0),
        callback: callback.transpose()?.filter(|span| !span.is_zero()),
        buffer: Some(message.buffer_bytes).filter(|bytes| *bytes != 0),
    })
}

fn phase(number: i32) -> Result<Phase, Rejected> {
    match wire::plugin::Phase::try_from(number) {
        Ok(wire::plugin::Phase::Unspecified) => Ok(Phase::Unspecified),
        Ok(wire::plugin::Phase::Authn) => Ok(Phase::Authn),
        Ok(wire::plugin::Phase::Authz) => Ok(Phase::Authz),
        Ok(wire::plugin::Phase::Stats) => Ok(Phase::Stats),
        Err(unknown) => Err(Rejected::new("phase", unknown)),
    }
}

fn fail_strategy(number: i32) -> Result<FailStrategy, Rejected> {
    match wire::plugin::FailStrategy::try_from(number) {
        Ok(wire::plugin::FailStrategy::FailClose) => Ok(FailStrategy::Close),
        Ok(wire::plugin::FailStrategy::FailOpen) => Ok(FailStrategy::Open),
        Ok(wire::plugin::FailStrategy::FailReload) => Ok(FailStrategy::Reload),
        Err(unknown) => Err(Rejected::new("fail_strategy", unknown)),
    }
}

fn digest(text: &str) -> Result<Option<crate::Str>, Rejected> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Rejected::new("sha256", "it is not 64 hex digits"));
    }
    Ok(Some(text.to_ascii_lowercase().into()))
}
