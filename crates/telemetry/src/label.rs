//! Label values and the part of a label set that describes one workload.

use std::fmt;

use mesh::Str;
use mesh::spiffe::SpiffeId;
use mesh::workload::Workload;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// A label value; what is not known is the word `unknown`, never an empty string.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Label(Option<Str>);

impl Label {
    /// The value of something not known.
    pub const UNKNOWN: Self = Self(None);

    /// A value; empty counts as not known.
    pub fn new(text: &Str) -> Self {
        Self((!text.is_empty()).then(|| text.clone()))
    }

    /// A value that must be copied.
    pub fn copied(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }

    /// A value that may be missing.
    pub fn optional(text: Option<&Str>) -> Self {
        text.map_or(Self::UNKNOWN, Self::new)
    }

    /// An identity, with its scheme.
    pub fn principal(identity: Option<&SpiffeId>) -> Self {
        identity.map_or(Self::UNKNOWN, |identity| Self::copied(identity.as_str()))
    }

    /// The text as it is shown.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("unknown")
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// What the labels say about the workload at one end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PeerLabels {
    /// Name of its owner.
    pub workload: Label,
    /// Telemetry name.
    pub canonical_service: Label,
    /// Telemetry revision.
    pub canonical_revision: Label,
    /// Namespace.
    pub namespace: Label,
    /// Authenticated identity.
    pub principal: Label,
    /// Cluster.
    pub cluster: Label,
    /// Region.
    pub region: Label,
    /// Zone.
    pub zone: Label,
}

impl PeerLabels {
    /// An end nobody knows.
    pub const UNKNOWN: Self = Self {
        workload: Label::UNKNOWN,
        canonical_service: Label::UNKNOWN,
        canonical_revision: Label::UNKNOWN,
        namespace: Label::UNKNOWN,
        principal: Label::UNKNOWN,
        cluster: Label::UNKNOWN,
        region: Label::UNKNOWN,
        zone: Label::UNKNOWN,
    };

    /// A known workload, under the identity that was proved, if one was.
    pub fn of(workload: &Workload, principal: Option<&SpiffeId>) -> Self {
        Self {
            workload: Label::new(&workload.workload_name),
            canonical_service: Label::new(&workload.canonical_name),
            canonical_revision: Label::new(&workload.canonical_revision),
            namespace: Label::new(&workload.namespace),
            principal: Label::principal(principal),
            cluster: Label::new(&workload.cluster_id),
            region: Label::optional(workload.locality.region.as_ref()),
            zone: Label::optional(workload.locality.zone.as_ref()),
        }
    }

    /// Nothing but an identity.
    pub fn identity(principal: &SpiffeId) -> Self {
        Self {
            principal: Label::principal(Some(principal)),
            ..Self::UNKNOWN
        }
    }
}
