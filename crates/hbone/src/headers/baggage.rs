//! `baggage`: comma-separated `key=value`, no percent-encoding, absent keys left out.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue};

use super::{BAGGAGE, bounded};

/// Longest value kept; Kubernetes names and regions are shorter.
const MAX_VALUE: usize = 253;

/// What the sender of a message says about its own workload. Telemetry only.
///
/// Source: istio/ztunnel `src/baggage.rs`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Baggage {
    /// `k8s.cluster.name`.
    pub cluster: Option<Box<str>>,
    /// `k8s.namespace.name`.
    pub namespace: Option<Box<str>>,
    /// `k8s.<kind>.name`: the workload's name under the kind that made it.
    pub workload: Option<(Kind, Box<str>)>,
    /// `service.name`: the canonical service.
    pub service: Option<Box<str>>,
    /// `service.version`: the canonical revision.
    pub revision: Option<Box<str>>,
    /// `cloud.region`.
    pub region: Option<Box<str>>,
    /// `cloud.availability_zone`.
    pub zone: Option<Box<str>>,
}

/// Kind in the key of [`Baggage::workload`].
///
/// It is the workload type of WDS: the pod of a Deployment has type `Pod`, with the Deployment's
/// name as its workload name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `k8s.cronjob.name`.
    CronJob,
    /// `k8s.deployment.name`.
    Deployment,
    /// `k8s.job.name`.
    Job,
    /// `k8s.pod.name`.
    Pod,
}

impl Kind {
    const ALL: [Self; 4] = [Self::CronJob, Self::Deployment, Self::Job, Self::Pod];

    /// Returns the whole key, for example `k8s.pod.name`.
    pub fn key(self) -> &'static str {
        match self {
            Self::CronJob => "k8s.cronjob.name",
            Self::Deployment => "k8s.deployment.name",
            Self::Job => "k8s.job.name",
            Self::Pod => "k8s.pod.name",
        }
    }
}

impl Baggage {
    /// Reads every `baggage` line. Unknown keys, empty values and malformed members are skipped;
    /// of a repeated key the last one stands.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(BAGGAGE).iter().filter_map(bounded);
        let mut baggage = Self::default();
        for member in lines.flat_map(|line| line.split(',')) {
            // A member may carry properties after `;` (W3C Baggage §3.3.1); ours never do.
            let member = member.split(';').next().unwrap_or(member);
            if let Some((key, value)) = member.split_once('=') {
                baggage.set(key.trim(), clean(value.trim()));
            }
        }
        baggage
    }

    /// Renders the header, or `None` when there is nothing to say.
    ///
    /// A workload's baggage never changes: build it once, not per tunnel.
    pub fn to_header(&self) -> Option<HeaderValue> {
        let workload = self.workload.as_ref();
        let members = [
            ("k8s.cluster.name", self.cluster.as_deref()),
            ("k8s.namespace.name", self.namespace.as_deref()),
            workload.map_or(("", None), |(kind, name)| (kind.key(), Some(name.as_ref()))),
            ("service.name", self.service.as_deref()),
            ("service.version", self.revision.as_deref()),
            ("cloud.region", self.region.as_deref()),
            ("cloud.availability_zone", self.zone.as_deref()),
        ];
        let mut text = String::new();
        for (key, value) in members {
            if let Some(value) = value.and_then(clean) {
                let comma = if text.is_empty() { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(text, "{comma}{key}={value}");
            }
        }
        if text.is_empty() {
            return None;
        }
        HeaderValue::try_from(text).ok()
    }

    fn set(&mut self, key: &str, value: Option<Box<str>>) {
        let Some(value) = value else { return };
        match key {
            "k8s.cluster.name" => self.cluster = Some(value),
            "k8s.namespace.name" => self.namespace = Some(value),
            "service.name" => self.service = Some(value),
            "service.version" => self.revision = Some(value),
            "cloud.region" => self.region = Some(value),
            "cloud.availability_zone" => self.zone = Some(value),
            _ => {
                if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.key() == key) {
                    self.workload = Some((kind, value));
                }
            }
        }
    }
}

/// Returns the value with everything but the characters of names replaced by `_`, so that it can
/// be a metric label or a log field as it stands; `None` when it is empty.
fn clean(value: &str) -> Option<Box<str>> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:/@+~".contains(c);
    let kept = value.chars().take(MAX_VALUE);
    let value: String = kept.map(|c| if legal(c) { c } else { '_' }).collect();
    (!value.is_empty()).then(|| value.into_boxed_str())
}
