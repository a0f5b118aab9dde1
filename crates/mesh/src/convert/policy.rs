//! L7 policies as a waypoint receives them.

use ipnet::IpNet;
use proto::cairn::waypoint as wire;

use super::authz::{Tests, each};
use super::origin::{origin, readable_targets, targets};
use super::{Rejected, port};
use crate::Str;
use crate::authz::{
    Action, Attachment, Attribute, Clause, HostMatch, Match, PathMatch, Policy, Rule,
    ServiceAccount, StringMatch, Test,
};
use crate::origin::Origin;

impl TryFrom<wire::Policy> for Policy {
    type Error = Rejected;

    fn try_from(message: wire::Policy) -> Result<Self, Rejected> {
        use wire::policy::Action as Wire;
        let action = match Wire::try_from(message.action) {
            Ok(Wire::Allow) => Action::Allow,
            Ok(Wire::Deny) => Action::Deny,
            Ok(Wire::Audit) => Action::Audit,
            Ok(Wire::Custom) => Action::Custom {
                provider: message.provider.as_str().into(),
            },
            Err(unknown) => return Err(Rejected::new("action", unknown)),
        };
        Ok(Self {
            origin: origin(message.origin.as_ref())?,
            attachment: Attachment::Targets(targets(&message.targets)?),
            action,
            dry_run: message.dry_run,
            rules: each("rules", &message.rules, rule)?,
        })
    }
}

/// The policy to hold while there is no valid one of this name: it denies everything the message
/// is attached to, and all of the waypoint when that cannot be read.
pub fn deny_all(name: &str, message: &wire::Policy) -> Policy {
    let origin = origin(message.origin.as_ref())
        .unwrap_or_else(|_| Origin::named("AuthorizationPolicy", "", name).into());
    Policy::deny_all(
        origin,
        Attachment::Targets(readable_targets(&message.targets)),
    )
}

fn rule(message: &wire::PolicyRule) -> Result<Rule, Rejected> {
    let mut clauses = vec![];
    if !message.from.is_empty() {
        clauses.push(Clause(each("from", &message.from, source)?));
    }
    if !message.to.is_empty() {
        clauses.push(Clause(each("to", &message.to, operation)?));
    }
    for (index, condition) in message.when.iter().enumerate() {
        let tests =
            when(condition).map_err(|rejected| rejected.within(format!("when[{index}]")))?;
        clauses.push(Clause(vec![Match(tests)]));
    }
    Ok(Rule::new(clauses))
}

fn source(message: &wire::Source) -> Result<Match, Rejected> {
    // Destructured so that a field added to the message cannot be forgotten here.
    let wire::Source {
        principals,
        not_principals,
        request_principals,
        not_request_principals,
        namespaces,
        not_namespaces,
        ip_blocks,
        not_ip_blocks,
        remote_ip_blocks,
        not_remote_ip_blocks,
        service_accounts,
        not_service_accounts,
        trust_domains,
        not_trust_domains,
    } = message;
    let mut tests = Tests::default();
    tests.add(
        Attribute::Principal,
        principals,
        "principals",
        not_principals,
        each_text(strict),
    )?;
    let token = |values| Attribute::Token("request.auth.principal".into(), values);
    tests.add(
        token,
        request_principals,
        "request_principals",
        not_request_principals,
        each_text(lenient),
    )?;
    tests.add(
        Attribute::Namespace,
        namespaces,
        "namespaces",
        not_namespaces,
        each_text(wild),
    )?;
    tests.add(
        Attribute::SourceIp,
        ip_blocks,
        "ip_blocks",
        not_ip_blocks,
        each_text(block),
    )?;
    let remote = Attribute::RemoteIp;
    tests.add(
        remote,
        remote_ip_blocks,
        "remote_ip_blocks",
        not_remote_ip_blocks,
        each_text(block),
    )?;
    let accounts = Attribute::ServiceAccount;
    tests.add(
        accounts,
        service_accounts,
        "service_accounts",
        not_service_accounts,
        each_text(account),
    )?;
    let domains = Attribute::TrustDomain;
    tests.add(
        domains,
        trust_domains,
        "trust_domains",
        not_trust_domains,
        each_text(strict),
    )?;
    some_tests(tests)
}

fn operation(message: &wire::Operation) -> Result<Match, Rejected> {
    let wire::Operation {
        hosts,
        not_hosts,
        ports,
        not_ports,
        methods,
        not_methods,
        paths,
        not_paths,
    } = message;
    let mut tests = Tests::default();
    let host = |value: &String| HostMatch::parse(value).map_err(|error| Rejected::new("", error));
    tests.add(Attribute::Host, hosts, "hosts", not_hosts, host)?;
    let number = |number: &u32| port("", *number);
    tests.add(
        Attribute::DestinationPort,
        ports,
        "ports",
        not_ports,
        number,
    )?;
    tests.add(
        Attribute::Method,
        methods,
        "methods",
        not_methods,
        each_text(strict),
    )?;
    let path = |value: &String| PathMatch::parse(value).map_err(|error| Rejected::new("", error));
    tests.add(Attribute::Path, paths, "paths", not_paths, path)?;
    some_tests(tests)
}

fn some_tests(tests: Tests) -> Result<Match, Rejected> {
    // An empty match never matches; a user who wrote one meant something else.
    if tests.0.is_empty() {
        return Err(Rejected::new("", "no field is set"));
    }
    Ok(Match(tests.0))
}

fn when(message: &wire::Condition) -> Result<Vec<Test>, Rejected> {
    let wire::Condition {
        key,
        values,
        not_values,
    } = message;
    if values.is_empty() && not_values.is_empty() {
        return Err(Rejected::new(
            "values",
            "there is none, and no notValues either",
        ));
    }
    let mut tests = Tests::default();
    match Key::parse(key)? {
        Key::Name(attribute) => {
            tests.add(attribute, values, "values", not_values, each_text(strict))?;
        }
        Key::Block(attribute) => {
            tests.add(attribute, values, "values", not_values, each_text(block))?;
        }
        Key::Namespace => {
            let attribute = Attribute::Namespace;
            tests.add(attribute, values, "values", not_values, each_text(wild))?;
        }
        Key::ServiceAccount => {
            let attribute = Attribute::ServiceAccount;
            tests.add(attribute, values, "values", not_values, each_text(account))?;
        }
        Key::Port => {
            let attribute = Attribute::DestinationPort;
            tests.add(
                attribute,
                values,
                "values",
                not_values,
                each_text(decimal_port),
            )?;
        }
        Key::Header(name) => {
            let attribute = |values| Attribute::Header(name.clone(), values);
            tests.add(attribute, values, "values", not_values, each_text(lenient))?;
        }
        Key::Token => {
            let attribute = |values| Attribute::Token(key.as_str().into(), values);
            tests.add(attribute, values, "values", not_values, each_text(lenient))?;
        }
    }
    Ok(tests.0)
}

/// What a condition's key names, and with it the grammar of its values.
enum Key {
    Name(fn(Vec<StringMatch>) -> Attribute),
    Block(fn(Vec<IpNet>) -> Attribute),
    Namespace,
    ServiceAccount,
    Port,
    Header(Str),
    Token,
}

impl Key {
    fn parse(key: &str) -> Result<Self, Rejected> {
        Ok(match key {
            "source.principal" => Self::Name(Attribute::Principal),
            "source.namespace" => Self::Namespace,
            "source.trustDomain" => Self::Name(Attribute::TrustDomain),
            "connection.sni" => Self::Name(Attribute::Sni),
            "source.ip" => Self::Block(Attribute::SourceIp),
            "remote.ip" => Self::Block(Attribute::RemoteIp),
            "destination.ip" => Self::Block(Attribute::DestinationIp),
            "source.serviceAccount" => Self::ServiceAccount,
            "destination.port" => Self::Port,
            "request.auth.principal" | "request.auth.audiences" | "request.auth.presenter" => {
                Self::Token
            }
            _ if key.starts_with("request.auth.claims[") && key.ends_with(']') => Self::Token,
            _ => match bracketed(key, "request.headers") {
                Some(name) => Self::Header(header_name(name)?),
                None => return Err(Rejected::new("key", format!("`{key}` is no key we know"))),
            },
        })
    }
}

type Read<V> = fn(&str) -> Result<V, Rejected>;

/// A reader of text, for a list of strings.
fn each_text<V>(read: Read<V>) -> impl Fn(&String) -> Result<V, Rejected> {
    move |value| read(value)
}

fn wild(value: &str) -> Result<StringMatch, Rejected> {
    StringMatch::wild(value).map_err(|error| Rejected::new("", error))
}

fn strict(value: &str) -> Result<StringMatch, Rejected> {
    StringMatch::strict(value).map_err(|error| Rejected::new("", error))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one shape for every reader of a value"
)]
fn lenient(value: &str) -> Result<StringMatch, Rejected> {
    Ok(StringMatch::lenient(value))
}

fn block(value: &str) -> Result<IpNet, Rejected> {
    let address = || value.parse::<std::net::IpAddr>().map(IpNet::from);
    value
        .parse()
        .or_else(|_| address())
        .map_err(|_| Rejected::new("", format!("`{value}` is no address or CIDR block")))
}

fn account(value: &str) -> Result<ServiceAccount, Rejected> {
    match value.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !value.contains('*') =>
        {
            Ok(ServiceAccount {
                namespace: namespace.into(),
                name: name.into(),
            })
        }
        _ => Err(Rejected::new(
            "",
            format!("`{value}` is not namespace/name"),
        )),
    }
}

fn decimal_port(value: &str) -> Result<u16, Rejected> {
    value
        .parse()
        .map_err(|_| Rejected::new("", format!("`{value}` is no port number")))
}

fn bracketed<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    key.strip_prefix(prefix)?
        .strip_prefix('[')?
        .strip_suffix(']')
}

fn header_name(name: &str) -> Result<Str, Rejected> {
    let pseudo = matches!(name, ":method" | ":authority" | ":path");
    if pseudo || super::route::is_token(name) {
        return Ok(name.to_ascii_lowercase().into());
    }
    Err(Rejected::new("key", format!("`{name}` is no header name")))
}
