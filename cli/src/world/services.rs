//! Service addresses: what kube-proxy does, as nftables rules in every node's namespace.
//!
//! A connection to a Service address goes to one of its ready endpoints, picked at random; the
//! client's address stays. Who talks to a Service address that has no ready endpoint is refused at
//! once, not left to time out. The whole table is replaced in one transaction, so no packet sees
//! half of it; connections that exist are kept by conntrack.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use nlink::{
    Connection, Nftables,
    netlink::nftables::{
        BaseChain, Chain, ChainName, CmpOp, CtState, CtStatus, Expr, Family, Field, FilterHook,
        Generated, IcmpxCode, Match, NatHook, NatStatement, NumgenKind, Priority, Register, Reject,
        Rule, RuleSpec, Stmt, Value, Verdict,
    },
};

use super::{Error, addresses};

/// The table's name in every node.
pub const TABLE: &str = "cairn-services";

const SERVICES: &str = "services";
const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";
const REFUSE_FORWARDED: &str = "refuse-forwarded";
const REFUSE_LOCAL: &str = "refuse-local";
/// Right after the addresses were translated: what still names a Service has no endpoint.
const AFTER_DNAT: Priority = Priority::Custom(-90);

/// The transport of a Service port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One port of a Service and where it leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePort {
    /// The Service, for people who list the rules.
    pub name: String,
    /// The Service's address.
    pub vip: Ipv4Addr,
    /// The transport.
    pub transport: Transport,
    /// The Service's port.
    pub port: u16,
    /// The ready endpoints; none means that clients are refused.
    pub endpoints: Vec<SocketAddrV4>,
}

/// The rules for `ports`, in order, each with its chain.
fn rules(ports: &[ServicePort]) -> Result<Vec<(&'static str, RuleSpec)>, nlink::Error> {
    let services = Verdict::JumpTo(ChainName::new(SERVICES)?);
    let mut rules = vec![
        (PREROUTING, RuleSpec::new().then(services.clone())),
        (OUTPUT, RuleSpec::new().then(services)),
    ];
    for port in ports {
        rules.extend(balance(port).into_iter().map(|rule| (SERVICES, rule)));
    }
    let hairpins: BTreeSet<_> = ports
        .iter()
        .flat_map(|port| &port.endpoints)
        .map(SocketAddrV4::ip)
        .collect();
    // A pod does not take packets from its own address: its node's must stand in.
    rules.extend(hairpins.into_iter().map(|ip| (POSTROUTING, hairpin(*ip))));
    for chain in [REFUSE_FORWARDED, REFUSE_LOCAL] {
        rules.extend(refuse().map(|rule| (chain, rule)));
    }
    Ok(rules)
}

/// One rule per endpoint: of the `n` that are left each takes one connection in `n`.
fn balance(port: &ServicePort) -> Vec<RuleSpec> {
    let left = (1..=u32::try_from(port.endpoints.len()).unwrap_or(u32::MAX)).rev();
    let dport = match port.transport {
        Transport::Tcp => Field::TcpDport,
        Transport::Udp => Field::UdpDport,
    };
    let rule = |(left, endpoint): (u32, &SocketAddrV4)| {
        let mut rule = RuleSpec::new()
            .then(Match::eq(Field::Ip4Daddr, port.vip))
            .then(Match::eq(dport.clone(), port.port))
            .comment(truncated(&port.name));
        if left > 1 {
            rule.push(Stmt::Generate(Generated::Numgen {
                kind: NumgenKind::Random,
                modulus: left,
                offset: 0,
            }));
            rule.push(Expr::Cmp {
                sreg: Register::R0,
                op: CmpOp::Eq,
                data: 0_u32.to_ne_bytes().to_vec(),
            });
        }
        rule.then(Stmt::Nat(
            NatStatement::dnat(*endpoint.ip()).port(endpoint.port()),
        ))
    };
    left.zip(&port.endpoints).map(rule).collect()
}

fn hairpin(ip: Ipv4Addr) -> RuleSpec {
    RuleSpec::new()
        .then(Match::eq(Field::Ip4Saddr, ip))
        .then(Match::eq(Field::Ip4Daddr, ip))
        .then(Match::eq(Field::CtStatus, CtStatus::DST_NAT))
        .then(Stmt::Masquerade)
}

/// Refuses what still is on its way to a Service address.
fn refuse() -> [RuleSpec; 3] {
    let network = Value::Prefix(
        IpAddr::V4(addresses::SERVICE_NETWORK),
        addresses::SERVICE_PREFIX,
    );
    let to_services = RuleSpec::new()
        .then(Match::ne(Field::Ip4Daddr, addresses::DNS_VIP))
        .then(Match::eq(Field::Ip4Daddr, network));
    // A late packet of a connection conntrack has given up is not translated; to reset the
    // connection for it would end one that may be alive.
    let invalid = to_services
        .clone()
        .then(Match::eq(Field::CtState, CtState::INVALID))
        .then(Verdict::Drop);
    let reset = to_services.clone().then(Stmt::Reject(Reject::TcpReset));
    let unreachable = to_services.then(Stmt::Reject(Reject::Icmpx(IcmpxCode::PortUnreachable)));
    [invalid, reset, unreachable]
}

/// A rule's comment has at most 127 bytes.
fn truncated(name: &str) -> String {
    name.chars().take(120).collect()
}

/// The base chains: `(name, kind)`.
fn chains() -> [(&'static str, Option<BaseChain>); 6] {
    [
        (SERVICES, None),
        (
            PREROUTING,
            Some(BaseChain::nat(NatHook::Prerouting, Priority::DstNat)),
        ),
        (
            OUTPUT,
            Some(BaseChain::nat(NatHook::Output, Priority::DstNat)),
        ),
        (
            POSTROUTING,
            Some(BaseChain::nat(NatHook::Postrouting, Priority::SrcNat)),
        ),
        (
            REFUSE_FORWARDED,
            Some(BaseChain::filter(FilterHook::Prerouting, AFTER_DNAT)),
        ),
        (
            REFUSE_LOCAL,
            Some(BaseChain::filter(FilterHook::Output, AFTER_DNAT)),
        ),
    ]
}

/// Replaces the table in one transaction.
pub(super) async fn apply(
    nftables: &Connection<Nftables>,
    netns: &str,
    ports: &[ServicePort],
) -> Result<(), Error> {
    let failed = |action| {
        move |source| Error::Kernel {
            netns: netns.to_owned(),
            action,
            source,
        }
    };
    let exists = nftables
        .list_tables_in(Family::Ip)
        .await
        .map_err(failed("list nftables"))?;
    let mut transaction = nftables.transaction();
    if exists.iter().any(|table| table.name == TABLE) {
        transaction = transaction.del_table(TABLE, Family::Ip);
    }
    transaction = transaction.add_table(TABLE, Family::Ip);
    for (name, base) in chains() {
        let mut chain = Chain::new(TABLE, name)
            .map_err(failed("name a chain"))?
            .family(Family::Ip);
        if let Some(base) = base {
            chain = chain.base(base);
        }
        transaction = transaction.add_chain(chain);
    }
    for (chain, rule) in rules(ports).map_err(failed("name a chain"))? {
        transaction = transaction.add_rule(Rule::from_spec(TABLE, chain, rule).family(Family::Ip));
    }
    transaction
        .commit(nftables)
        .await
        .map_err(failed("replace the Service addresses"))
}

#[cfg(test)]
mod tests;
