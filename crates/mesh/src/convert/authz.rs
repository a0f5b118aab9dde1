//! L4 policies as a ztunnel receives them.

use std::sync::Arc;

use ipnet::IpNet;
use proto::security as wire;
use proto::security::string_match::MatchType;

use super::{Rejected, ip, port};
use crate::authz::{
    Action, Attachment, Attribute, Clause, Match, Policy, Rule, Scope, ServiceAccount, StringMatch,
    Test,
};
use crate::origin::Origin;

impl TryFrom<wire::Authorization> for Policy {
    type Error = Rejected;

    fn try_from(message: wire::Authorization) -> Result<Self, Rejected> {
        if message.name.is_empty() {
            return Err(Rejected::new("name", "a policy needs a name"));
        }
        if let Some(extension) = message.extensions.first() {
            return Err(unknown_extension("extensions[0]", extension));
        }
        Ok(Self {
            attachment: Attachment::Scope(scope(message.scope)?),
            action: match wire::Action::try_from(message.action) {
                Ok(wire::Action::Allow) => Action::Allow,
                Ok(wire::Action::Deny) => Action::Deny,
                Err(unknown) => return Err(Rejected::new("action", unknown)),
            },
            dry_run: message.dry_run,
            rules: each("rules", &message.rules, rule)?,
            origin: origin(&message),
        })
    }
}

/// The policy to hold while there is no valid one of this name: it denies everything in the
/// scope of the message, as far as that can be read.
pub fn deny_all(message: &wire::Authorization) -> Policy {
    let scope = scope(message.scope).unwrap_or(Scope::Namespace);
    Policy::deny_all(origin(message), Attachment::Scope(scope))
}

fn origin(message: &wire::Authorization) -> Arc<Origin> {
    Arc::new(Origin::named(
        "AuthorizationPolicy",
        message.namespace.as_str(),
        message.name.as_str(),
    ))
}

fn scope(number: i32) -> Result<Scope, Rejected> {
    match wire::Scope::try_from(number) {
        Ok(wire::Scope::Global) => Ok(Scope::Global),
        Ok(wire::Scope::Namespace) => Ok(Scope::Namespace),
        Ok(wire::Scope::WorkloadSelector) => Ok(Scope::WorkloadSelector),
        Err(unknown) => Err(Rejected::new("scope", unknown)),
    }
}

fn rule(message: &wire::Rule) -> Result<Rule, Rejected> {
    each("clauses", &message.clauses, clause).map(Rule::new)
}

fn clause(message: &wire::Clause) -> Result<Clause, Rejected> {
    each("matches", &message.matches, found).map(Clause)
}

fn found(message: &wire::Match) -> Result<Match, Rejected> {
    // Destructured so that a field added to the message cannot be forgotten here.
    let wire::Match {
        namespaces,
        not_namespaces,
        principals,
        not_principals,
        source_ips,
        not_source_ips,
        destination_ips,
        not_destination_ips,
        destination_ports,
        not_destination_ports,
        service_accounts,
        not_service_accounts,
        extensions,
    } = message;
    if let Some(extension) = extensions.first() {
        return Err(unknown_extension("extensions[0]", extension));
    }
    let mut tests = Tests::default();
    tests.add(
        Attribute::Namespace,
        namespaces,
        "namespaces",
        not_namespaces,
        string,
    )?;
    tests.add(
        Attribute::Principal,
        principals,
        "principals",
        not_principals,
        string,
    )?;
    tests.add(
        Attribute::SourceIp,
        source_ips,
        "source_ips",
        not_source_ips,
        block,
    )?;
    tests.add(
        Attribute::DestinationIp,
        destination_ips,
        "destination_ips",
        not_destination_ips,
        block,
    )?;
    let number = |number: &u32| port("", *number);
    tests.add(
        Attribute::DestinationPort,
        destination_ports,
        "destination_ports",
        not_destination_ports,
        number,
    )?;
    tests.add(
        Attribute::ServiceAccount,
        service_accounts,
        "service_accounts",
        not_service_accounts,
        account,
    )?;
    Ok(Match(tests.0))
}

/// The tests of one match, as they are read.
#[derive(Default)]
pub(super) struct Tests(pub(super) Vec<Test>);

impl Tests {
    /// Reads a field and its `not_` twin; an empty field is no test.
    pub(super) fn add<M, V>(
        &mut self,
        attribute: impl Fn(Vec<V>) -> Attribute,
        values: &[M],
        field: &str,
        not_values: &[M],
        read: impl Fn(&M) -> Result<V, Rejected>,
    ) -> Result<(), Rejected> {
        let twins = [
            (false, values, field.to_owned()),
            (true, not_values, format!("not_{field}")),
        ];
        for (negated, values, field) in twins {
            if !values.is_empty() {
                let attribute = attribute(each(&field, values, &read)?);
                self.0.push(Test { attribute, negated });
            }
        }
        Ok(())
    }
}

fn string(message: &wire::StringMatch) -> Result<StringMatch, Rejected> {
    match &message.match_type {
        None => Err(Rejected::new(
            "match_type",
            "it is missing or not one we know",
        )),
        Some(MatchType::Exact(text)) => Ok(StringMatch::Exact(text.as_str().into())),
        Some(MatchType::Prefix(text)) => Ok(StringMatch::Prefix(text.as_str().into())),
        Some(MatchType::Suffix(text)) => Ok(StringMatch::Suffix(text.as_str().into())),
        Some(MatchType::Presence(())) => Ok(StringMatch::Presence),
    }
}

fn block(message: &wire::Address) -> Result<IpNet, Rejected> {
    let address = ip("address", &message.address)?;
    let length = u8::try_from(message.length).ok();
    length
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| {
            Rejected::new(
                "length",
                format!("{} is no prefix length of {address}", message.length),
            )
        })
}

fn account(message: &wire::ServiceAccountMatch) -> Result<ServiceAccount, Rejected> {
    if message.namespace.is_empty() || message.service_account.is_empty() {
        return Err(Rejected::new(
            "",
            "a service account needs a namespace and a name",
        ));
    }
    Ok(ServiceAccount {
        namespace: message.namespace.as_str().into(),
        name: message.service_account.as_str().into(),
    })
}

fn unknown_extension(field: &str, extension: &wire::Extension) -> Rejected {
    // It may narrow what is admitted, so leaving it out could admit more.
    Rejected::new(
        field,
        format!("extension `{}` is not known here", extension.name),
    )
}

/// Converts each element of a list, naming the one that fails.
pub(super) fn each<M, V>(
    field: &str,
    list: &[M],
    read: impl Fn(&M) -> Result<V, Rejected>,
) -> Result<Vec<V>, Rejected> {
    list.iter()
        .enumerate()
        .map(|(index, message)| {
            read(message).map_err(|rejected| rejected.within(format!("{field}[{index}]")))
        })
        .collect()
}
