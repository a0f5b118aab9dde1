//! Policies as `/config_dump` shows them; the shape is ztunnel's, which istioctl reads.

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::{Action, Attachment, Attribute, Clause, Match, Policy, Rule, Scope, StringMatch};

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Policy", 6)?;
        out.serialize_field("name", &self.origin.name)?;
        out.serialize_field("namespace", &self.origin.namespace)?;
        match &self.attachment {
            Attachment::Scope(scope) => out.serialize_field("scope", scope)?,
            Attachment::Targets(targets) => out.serialize_field("targets", targets)?,
        }
        out.serialize_field("action", &self.action)?;
        out.serialize_field("rules", &self.rules)?;
        out.serialize_field("dryRun", &self.dry_run)?;
        out.end()
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Global => "Global",
            Self::Namespace => "Namespace",
            Self::WorkloadSelector => "WorkloadSelector",
        })
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Allow => serializer.serialize_str("Allow"),
            Self::Deny => serializer.serialize_str("Deny"),
            Self::Audit => serializer.serialize_str("Audit"),
            Self::Custom { provider } => {
                serializer.collect_str(&format_args!("Custom({provider})"))
            }
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.clauses())
    }
}

impl Serialize for Clause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl Serialize for Match {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(self.0.len()))?;
        for test in &self.0 {
            let (name, values) = shown(&test.attribute);
            let name = if test.negated {
                let (first, rest) = name.split_at(1);
                format!("not{}{rest}", first.to_ascii_uppercase())
            } else {
                name
            };
            out.serialize_entry(&name, &values)?;
        }
        out.end()
    }
}

/// One value: `{"Exact": "…"}` or `{"Presence": []}`.
#[derive(Serialize)]
enum Shown {
    Wild(String),
    Exact(String),
    Prefix(String),
    Suffix(String),
    Template(String),
    Presence(),
    #[serde(untagged)]
    Plain(String),
    #[serde(untagged)]
    Port(u16),
}

fn string(value: &StringMatch) -> Shown {
    match value {
        StringMatch::Exact(text) => Shown::Exact(text.to_string()),
        StringMatch::Prefix(text) => Shown::Prefix(text.to_string()),
        StringMatch::Suffix(text) => Shown::Suffix(text.to_string()),
        StringMatch::Presence => Shown::Presence(),
        StringMatch::Parts(parts) => Shown::Wild(parts.join("*")),
    }
}

fn shown(attribute: &Attribute) -> (String, Vec<Shown>) {
    let strings = |values: &[StringMatch]| values.iter().map(string).collect();
    let blocks = |blocks: &[ipnet::IpNet]| {
        blocks
            .iter()
            .map(|block| Shown::Plain(block.to_string()))
            .collect()
    };
    let (name, values): (&str, Vec<Shown>) = match attribute {
        Attribute::Principal(values) => ("principals", strings(values)),
        Attribute::Namespace(values) => ("namespaces", strings(values)),
        Attribute::TrustDomain(values) => ("trustDomains", strings(values)),
        Attribute::ServiceAccount(values) => (
            "serviceAccounts",
            values
                .iter()
                .map(|account| Shown::Plain(format!("{}/{}", account.namespace, account.name)))
                .collect(),
        ),
        Attribute::SourceIp(values) => ("sourceIps", blocks(values)),
        Attribute::RemoteIp(values) => ("remoteIps", blocks(values)),
        Attribute::DestinationIp(values) => ("destinationIps", blocks(values)),
        Attribute::DestinationPort(ports) => (
            "destinationPorts",
            ports.iter().map(|port| Shown::Port(*port)).collect(),
        ),
        Attribute::Sni(values) => ("connection.sni", strings(values)),
        Attribute::Host(values) => (
            "hosts",
            values.iter().map(|host| string(host.pattern())).collect(),
        ),
        Attribute::Method(values) => ("methods", strings(values)),
        Attribute::Path(values) => ("paths", values.iter().map(path).collect()),
        Attribute::Header(name, values) => {
            return (format!("request.headers[{name}]"), strings(values));
        }
        Attribute::Token(key, values) => return (key.to_string(), strings(values)),
    };
    (name.to_owned(), values)
}

fn path(value: &super::PathMatch) -> Shown {
    match value {
        super::PathMatch::String(value) => string(value),
        super::PathMatch::Template(template) => Shown::Template(template.as_str().to_owned()),
    }
}
