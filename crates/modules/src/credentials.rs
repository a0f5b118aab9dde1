//! Credentials of registries, from a docker configuration.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::{Digest, Image};

#[cfg(test)]
mod tests;

/// Largest configuration, in bytes: what a Kubernetes Secret holds.
const LARGEST: usize = 1 << 20;

/// Credentials by registry. Each is used for its own registry alone.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Credentials {
    entries: Vec<Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Clone, Eq, PartialEq)]
struct Entry {
    /// Host with its port if it has one; `*` stands for one label.
    host: String,
    /// What repositories must begin with.
    path: String,
    login: Login,
}

/// What one registry is shown.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Login {
    /// User and password.
    Basic(String, String),
    /// A token that is exchanged for others.
    Identity(String),
    /// A token that is shown as it is.
    Bearer(String),
}

/// A docker configuration that cannot be read. Nothing of what is in it is told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the pull secret cannot be used: {0}")]
pub struct BadSecret(String);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.entries.iter().map(|entry| &entry.host);
        f.debug_set().entries(hosts).finish()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic(..) => "Basic",
            Self::Identity(_) => "Identity",
            Self::Bearer(_) => "Bearer",
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    auths: Option<BTreeMap<String, Written>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(alias = "identityToken")]
    identitytoken: Option<String>,
    #[serde(alias = "registryToken")]
    registrytoken: Option<String>,
}

impl Credentials {
    /// No credentials.
    pub fn none() -> Self {
        Self::default()
    }

    /// User and password of one registry, with its port if it has one.
    pub fn basic(registry: &str, user: &str, password: &str) -> Self {
        let (host, path) = place(registry);
        let login = Login::Basic(user.to_owned(), password.to_owned());
        let entries = vec![Entry { host, path, login }];
        Self {
            entries,
            ..Self::default()
        }
    }

    /// Reads `config.json` of Docker, which is `.dockerconfigjson` of a pull secret, or the older
    /// `.dockercfg`.
    ///
    /// # Errors
    /// When it is neither; the text names the entry.
    pub fn from_docker_config(bytes: &[u8]) -> Result<Self, BadSecret> {
        let bad = |why: String| BadSecret(why);
        if bytes.len() > LARGEST {
            return Err(bad(format!("it has more than {LARGEST} bytes")));
        }
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|error| bad(format!("it is no JSON at line {}", error.line())))?;
        let is_current = ["auths", "credHelpers", "credsStore"]
            .iter()
            .any(|key| value.get(key).is_some());
        // Errors of serde would tell what is in it.
        let shape = || bad("it is no docker configuration: `auths` must name registries".into());
        let read = if is_current || value.as_object().is_some_and(serde_json::Map::is_empty) {
            serde_json::from_value(value).map_err(|_| shape())?
        } else {
            Configuration {
                auths: Some(serde_json::from_value(value).map_err(|_| shape())?),
                cred_helpers: None,
                creds_store: None,
            }
        };
        let mut entries = vec![];
        for (key, written) in read.auths.unwrap_or_default() {
            let (host, path) = place(&key);
            if let Some(login) = login(&key, written).map_err(bad)? {
                entries.push(Entry { host, path, login });
            }
        }
        Ok(Self {
            entries,
            helpers: read.cred_helpers.unwrap_or_default(),
            store: read.creds_store,
        })
    }

    /// The program that keeps the credentials of a registry, if they are not in the configuration.
    pub fn helper(&self, image: &Image) -> Option<&str> {
        if self.login(&image.registry, &image.repository).is_some() {
            return None;
        }
        let helper = self.helpers.get(&image.registry);
        helper.or(self.store.as_ref()).map(String::as_str)
    }

    /// What a registry is shown for a repository; the longest path that fits wins.
    pub(crate) fn login(&self, registry: &str, repository: &str) -> Option<&Login> {
        let fits = |entry: &&Entry| {
            let path = entry.path.as_str();
            let rest = repository.strip_prefix(path);
            is_host(&entry.host, registry)
                && (path.is_empty()
                    || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        let fitting = self.entries.iter().filter(fits);
        // A name without `*` before one with it.
        let entry = fitting.max_by_key(|entry| (entry.path.len(), !entry.host.contains('*')))?;
        Some(&entry.login)
    }

    /// Tells what one secret may see from what another may; not to be told to anybody.
    pub(crate) fn identity(&self, registry: &str, repository: &str) -> String {
        let text = match self.login(registry, repository) {
            None => return String::new(),
            Some(Login::Basic(user, password)) => format!("basic\0{user}\0{password}"),
            Some(Login::Identity(token)) => format!("identity\0{token}"),
            Some(Login::Bearer(token)) => format!("bearer\0{token}"),
        };
        Digest::of(text.as_bytes()).hex()
    }
}

impl Login {
    /// As an `Authorization` header of type Basic.
    pub(crate) fn basic(&self) -> Option<String> {
        let Self::Basic(user, password) = self else {
            return None;
        };
        Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        ))
    }
}

fn login(key: &str, written: Written) -> Result<Option<Login>, String> {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = some(written.registrytoken) {
        return Ok(Some(Login::Bearer(token)));
    }
    if let Some(token) = some(written.identitytoken) {
        return Ok(Some(Login::Identity(token)));
    }
    if let (Some(user), Some(password)) = (some(written.username), written.password) {
        return Ok(Some(Login::Basic(user, password)));
    }
    let Some(auth) = some(written.auth) else {
        return Ok(None);
    };
    let key: String = key.escape_debug().take(100).collect();
    let decoded = STANDARD.decode(auth.trim());
    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(text) = text else {
        return Err(format!("`auth` of {key} is no base64 of user:password"));
    };
    match text.trim_end_matches('\0').split_once(':') {
        Some((user, password)) => Ok(Some(Login::Basic(user.to_owned(), password.to_owned()))),
        None => Err(format!("`auth` of {key} is no base64 of user:password")),
    }
}

/// Host and path of a key, in any of the forms that have been in use.
fn place(key: &str) -> (String, String) {
    let key = key.trim();
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_end_matches('/');
    // The version of the interface, not a repository.
    let path = if matches!(path, "v1" | "v2") {
        ""
    } else {
        path
    };
    let host = host.to_ascii_lowercase();
    let is_hub = matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io");
    let host = if is_hub { "docker.io".to_owned() } else { host };
    (host, path.to_owned())
}

/// Whether a host is the one of an entry. A `*` never stands for a dot nor for a port.
fn is_host(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == host;
    }
    let parts = |text: &str| {
        let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
        (
            name.split('.').map(str::to_owned).collect::<Vec<_>>(),
            port.to_owned(),
        )
    };
    let ((patterns, wanted), (labels, port)) = (parts(pattern), parts(host));
    let is_label = |(pattern, label): (&String, &String)| match pattern.split_once('*') {
        None => pattern == label,
        Some((before, after)) => {
            let rest = label.strip_prefix(before);
            rest.is_some_and(|rest| rest.ends_with(after))
        }
    };
    wanted == port && patterns.len() == labels.len() && patterns.iter().zip(&labels).all(is_label)
}
