//! What bounds fetching: which hosts, how much, how long.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Bounds and places; begin with [`Settings::default`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of modules that were fetched; without one they are kept in memory.
    pub cache: Option<PathBuf>,
    /// How long a module that nobody used is kept.
    pub expiry: Duration,
    /// Addresses that are never called, beside link-local ones and those of metadata services.
    pub blocked: Vec<IpNet>,
    /// Hosts that may be called without TLS that can be trusted.
    pub insecure: Insecure,
    /// Further hosts that a registry may send us to for a token, by the registry's host.
    pub auth_hosts: BTreeMap<String, Vec<String>>,
    /// Which files may be read.
    pub files: Files,
    /// Who vouches for servers.
    pub roots: Roots,
    /// Where the credentials come from that registries are shown.
    pub login_from: LoginFrom,
    /// Largest module, in bytes.
    pub max_module: u64,
    /// Most that is read from a network for one module, in bytes.
    pub max_download: u64,
    /// How long one request may take, its answer included.
    pub request_timeout: Duration,
    /// How long one fetch may take, all tries together.
    pub timeout: Duration,
    /// Tries of one fetch.
    pub tries: u32,
    /// Wait before the second try; it doubles with every further one.
    pub first_wait: Duration,
}

/// Hosts that may be called without TLS that can be trusted: with a certificate that nobody vouches
/// for, or in plain HTTP.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Insecure {
    all: bool,
    hosts: Vec<String>,
}

/// Which files may be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Files {
    /// Any.
    Any,
    /// Those in a folder, and no link that leads out of it.
    Under(PathBuf),
}

/// Who vouches for servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Roots {
    /// Whom the machine trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// Where credentials come from, for advice to who has to correct them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginFrom {
    /// The object that asks names a Secret.
    PullSecret,
    /// Who types the command says them, or has said them to `docker login`.
    CommandLine,
}

impl LoginFrom {
    /// What to do when a server lets nobody in.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::PullSecret => {
                "; who asks may not read it: check the imagePullSecret, and the name"
            }
            Self::CommandLine => {
                "; who asks may not do that: log in with docker login, or give --username and \
                 --password-stdin, and check the name"
            }
        }
    }
}

/// Text of a setting that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadSetting(String);

impl BadSetting {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let map = |registry: &str, host: &str| (registry.to_owned(), vec![host.to_owned()]);
        Self {
            cache: None,
            expiry: Duration::from_hours(24),
            blocked: vec![],
            insecure: Insecure::default(),
            auth_hosts: BTreeMap::from([
                map("registry-1.docker.io", "auth.docker.io"),
                map("registry.gitlab.com", "gitlab.com"),
            ]),
            files: Files::Any,
            roots: Roots::System,
            login_from: LoginFrom::PullSecret,
            max_module: 16 << 20,
            max_download: 64 << 20,
            request_timeout: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
            tries: 5,
            first_wait: Duration::from_millis(500),
        }
    }
}

impl Settings {
    /// Reads a list of CIDRs, separated by commas.
    ///
    /// # Errors
    /// Names the first entry that is none.
    pub fn parse_blocked(text: &str) -> Result<Vec<IpNet>, BadSetting> {
        entries(text)
            .map(|entry| {
                let address = || entry.parse::<IpAddr>().map(IpNet::from);
                let net = entry.parse::<IpNet>().or_else(|_| address());
                net.map_err(|_| {
                    BadSetting(format!(
                        "`{entry}` is no range of addresses like 10.0.0.0/8"
                    ))
                })
            })
            .collect()
    }

    /// Reads pairs `REGISTRY=HOST`, separated by commas, and allows them.
    ///
    /// # Errors
    /// Names the first entry that is none.
    pub fn allow_auth_hosts(&mut self, text: &str) -> Result<(), BadSetting> {
        for entry in entries(text) {
            let Some((registry, host)) = entry.split_once('=') else {
                return Err(BadSetting(format!("`{entry}` is not REGISTRY=HOST")));
            };
            let hosts = self.auth_hosts.entry(registry.to_owned()).or_default();
            hosts.push(host.to_owned());
        }
        Ok(())
    }
}

impl Insecure {
    /// Reads a list of hosts, with or without a port, separated by commas; `*` is every host.
    pub fn parse(text: &str) -> Self {
        let hosts: Vec<_> = entries(text).map(str::to_ascii_lowercase).collect();
        Self {
            all: hosts.iter().any(|host| host == "*"),
            hosts,
        }
    }

    /// Whether a host is one of them; an entry without a port is every port.
    pub(crate) fn covers(&self, host: &str, port: u16) -> bool {
        let is = |entry: &String| match entry.strip_prefix(host) {
            Some("") => true,
            Some(rest) => *rest == *format!(":{port}"),
            None => false,
        };
        self.all || self.hosts.iter().any(is)
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    let entries = text.split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty())
}
