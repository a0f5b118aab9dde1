//! The redirection inside a captured pod: which packets reach ztunnel's sockets.
//!
//! The rules are data ([`tables`]), so that they can be held against what Istio's agent sets
//! without a kernel; [`install`], [`release`] and [`remove`] change the kernel. Sockets of
//! ztunnel carry the mark 0x539; connections it makes on behalf of a client get the connection
//! mark 0x111, whose answers routing table 100 brings back to the local socket although their
//! destination is somebody else's address.
//!
//! What is redirected is decided for the packet that begins a connection; connection tracking
//! remembers it for the rest. So connections that were open before are not to be picked up in the
//! middle, and what was redirected needs tracking until it ends: see docs/adr/0008.
//!
//! Source: istio/istio `cni/pkg/iptables`, `cni/pkg/nftables`, restated in rules below.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nlink::netlink::Netfilter;
use nlink::netlink::namespace::Netns;
use nlink::netlink::netfilter::{
    ConntrackEntry, ConntrackFilter, ConntrackStatus, IpProtocol, TcpConntrackState,
};
use nlink::netlink::nftables::{
    BaseChain, Chain, CtKey, Expr, Family, Field, FilterHook, Match, MatchOp, NatHook, Priority,
    Register, Rule, RuleSpec, Stmt, Value, Verdict,
};
use nlink::netlink::route::{Ipv4Route, Ipv6Route, RouteType};
use nlink::netlink::rule::RuleBuilder;
use nlink::netlink::types::route::RouteScope;
use nlink::{Connection, Nftables, Route};

#[cfg(test)]
mod tests;

/// Mark of every packet ztunnel's own sockets send.
pub const PROXY_MARK: u32 = 0x539;
/// Connection mark of what ztunnel sends in a client's name.
const SPOOFED_MARK: u32 = 0x111;
const MARK_MASK: u32 = 0xfff;
const ROUTE_TABLE: u32 = 100;
pub(super) const RULE_PRIORITY: u32 = 32764;

/// Whether a connection whose beginning was not seen is tracked from its next packet on. It would
/// then count as new, be redirected, and be reset by ztunnel, which knows nothing of it. Without,
/// its packets go untouched to whoever holds the connection, and nobody else: a packet from the
/// middle opens nothing. A match on SYN in the rules would not do: a stray packet that the pod does
/// not answer could then have a connection tracked as not redirected, and a SYN of the same
/// addresses and ports would follow it around ztunnel.
pub(super) const PICK_UP: &str = "net.netfilter.nf_conntrack_tcp_loose";

/// Source address of kubelet probes, which are let through.
const PROBE_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
const PROBE_V6: Ipv6Addr = Ipv6Addr::new(
    0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff,
);

const TCP: u8 = 6;
const DNS: u16 = 53;
const OUTBOUND: u16 = 15001;
const INBOUND_PLAINTEXT: u16 = 15006;
const INBOUND_HBONE: u16 = 15008;
const DNS_PROXY: u16 = 15053;

/// What differs between pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Redirection {
    /// DNS queries go to ztunnel (`ambient.istio.io/dns-capture`).
    pub capture_dns: bool,
    /// Inbound traffic goes to ztunnel; not so for a pod with
    /// `ambient.istio.io/bypass-inbound-capture`.
    pub capture_inbound: bool,
}

impl Default for Redirection {
    fn default() -> Self {
        Self {
            capture_dns: true,
            capture_inbound: true,
        }
    }
}

/// One nftables table of family inet.
#[derive(Debug)]
pub(crate) struct TableSpec {
    pub(crate) name: &'static str,
    pub(crate) chains: Vec<ChainSpec>,
}

/// A base chain and its rules.
#[derive(Debug)]
pub(crate) struct ChainSpec {
    pub(crate) name: &'static str,
    pub(crate) base: BaseChain,
    pub(crate) rules: Vec<RuleSpec>,
}

/// All rules of a captured pod, in order.
pub(crate) fn tables(redirection: Redirection) -> Vec<TableSpec> {
    let mut tables = vec![nat(redirection), mangle()];
    if redirection.capture_dns {
        tables.push(raw());
    }
    tables
}

/// What a pod that leaves keeps for the connections that were redirected: their addresses are
/// still translated and their answers still routed, and nothing new is redirected.
pub(crate) fn released(redirection: Redirection) -> Vec<TableSpec> {
    let mut tables = tables(redirection);
    let nat = tables
        .iter_mut()
        .filter(|table| table.name == TABLE_NAMES[0]);
    for chain in nat.flat_map(|table| &mut table.chains) {
        chain.rules.clear();
    }
    tables
}

const TABLE_NAMES: [&str; 3] = [
    "cairn-ambient-nat",
    "cairn-ambient-mangle",
    "cairn-ambient-raw",
];

fn nat(redirection: Redirection) -> TableSpec {
    let mut prerouting = vec![];
    if redirection.capture_inbound {
        prerouting.extend(each_family(|ip| {
            tcp()
                .then(Match::eq(saddr(ip.probe), ip.probe))
                .then(Stmt::Counter)
                .then(Verdict::Accept)
        }));
        prerouting.extend(each_family(|ip| {
            RuleSpec::new()
                .then(Match::ne(daddr(ip.loopback), ip.loopback))
                .then(Match::ne(Field::TcpDport, INBOUND_HBONE))
                .then(not_from_proxy())
                .then(Stmt::Counter)
                .then(Stmt::Redirect(Some(INBOUND_PLAINTEXT)))
        }));
    }
    let mut output = vec![];
    output.extend(each_family(|ip| {
        tcp()
            .then(Match::eq(daddr(ip.probe), ip.probe))
            .then(Stmt::Counter)
            .then(Verdict::Accept)
    }));
    if redirection.capture_dns {
        output.push(
            RuleSpec::new()
                .then(Match::ne(Field::Oifname, "lo"))
                .then(not_from_proxy())
                .then(Match::eq(Field::UdpDport, DNS))
                .then(Stmt::Counter)
                .then(Stmt::Redirect(Some(DNS_PROXY))),
        );
        output.extend(each_family(|ip| {
            RuleSpec::new()
                .then(Match::ne(daddr(ip.loopback), ip.loopback))
                .then(Match::eq(Field::TcpDport, DNS))
                .then(not_from_proxy())
                .then(Stmt::Counter)
                .then(Stmt::Redirect(Some(DNS_PROXY)))
        }));
    }
    output.push(
        tcp()
            .then(marked(MatchOp::Eq, SPOOFED_MARK))
            .then(Stmt::Counter)
            .then(Verdict::Accept),
    );
    // A pod that calls itself by its own address is not captured.
    output.extend(each_family(|ip| {
        RuleSpec::new()
            .then(Match::eq(Field::Oifname, "lo"))
            .then(Match::ne(daddr(ip.loopback), ip.loopback))
            .then(Stmt::Counter)
            .then(Verdict::Accept)
    }));
    output.extend(each_family(|ip| {
        tcp()
            .then(Match::ne(daddr(ip.loopback), ip.loopback))
            .then(not_from_proxy())
            .then(Stmt::Counter)
            .then(Stmt::Redirect(Some(OUTBOUND)))
    }));
    let chain = |name, hook, rules| ChainSpec {
        name,
        base: BaseChain::nat(hook, Priority::DstNat),
        rules,
    };
    TableSpec {
        name: TABLE_NAMES[0],
        chains: vec![
            chain("prerouting", NatHook::Prerouting, prerouting),
            chain("output", NatHook::Output, output),
        ],
    }
}

fn mangle() -> TableSpec {
    let remember = RuleSpec::new()
        .then(marked(MatchOp::Eq, PROXY_MARK))
        .then(Stmt::Counter)
        .then(Expr::Ct {
            dreg: Register::R0,
            key: CtKey::Mark,
        })
        .then(Expr::Bitwise {
            sreg: Register::R0,
            dreg: Register::R0,
            len: 4,
            mask: (!MARK_MASK).to_ne_bytes().to_vec(),
            xor: SPOOFED_MARK.to_ne_bytes().to_vec(),
        })
        .then(Expr::CtSet {
            key: CtKey::Mark,
            sreg: Register::R0,
        });
    let restore = RuleSpec::new()
        .then(Match::eq(Field::CtMark, masked(SPOOFED_MARK)))
        .then(Stmt::Counter)
        .then(Stmt::RestoreMarkFromCt);
    TableSpec {
        name: TABLE_NAMES[1],
        chains: vec![
            ChainSpec {
                name: "prerouting",
                base: BaseChain::filter(FilterHook::Prerouting, Priority::Mangle),
                rules: vec![remember],
            },
            ChainSpec {
                name: "output",
                base: BaseChain::route(Priority::Mangle),
                rules: vec![restore],
            },
        ],
    }
}

/// ztunnel's own queries share addresses and ports with those it answers; a connection tracking
/// zone of their own keeps the two apart.
fn raw() -> TableSpec {
    let answer = RuleSpec::new()
        .then(Match::eq(Field::UdpSport, DNS))
        .then(not_from_proxy())
        .then(Stmt::Counter)
        .then(Stmt::SetCtZone(1));
    let query = RuleSpec::new()
        .then(Match::eq(Field::UdpDport, DNS))
        .then(marked(MatchOp::Eq, PROXY_MARK))
        .then(Stmt::Counter)
        .then(Stmt::SetCtZone(1));
    let chain = |name, hook, rule| ChainSpec {
        name,
        base: BaseChain::filter(hook, Priority::Raw),
        rules: vec![rule],
    };
    TableSpec {
        name: TABLE_NAMES[2],
        chains: vec![
            chain("prerouting", FilterHook::Prerouting, answer),
            chain("output", FilterHook::Output, query),
        ],
    }
}

/// The addresses a rule is written with once for each family.
#[derive(Clone, Copy)]
struct FamilyAddresses {
    probe: IpAddr,
    loopback: IpAddr,
}

fn each_family(rule: impl Fn(FamilyAddresses) -> RuleSpec) -> [RuleSpec; 2] {
    let v4 = FamilyAddresses {
        probe: PROBE_V4.into(),
        loopback: Ipv4Addr::LOCALHOST.into(),
    };
    let v6 = FamilyAddresses {
        probe: PROBE_V6.into(),
        loopback: Ipv6Addr::LOCALHOST.into(),
    };
    [rule(v4), rule(v6)]
}

fn tcp() -> RuleSpec {
    RuleSpec::new().then(Match::eq(Field::L4Proto, TCP))
}

fn saddr(like: IpAddr) -> Field {
    if like.is_ipv4() {
        Field::Ip4Saddr
    } else {
        Field::Ip6Saddr
    }
}

fn daddr(like: IpAddr) -> Field {
    if like.is_ipv4() {
        Field::Ip4Daddr
    } else {
        Field::Ip6Daddr
    }
}

fn masked(mark: u32) -> Value {
    Value::Masked {
        value: mark.into(),
        mask: MARK_MASK.into(),
    }
}

fn marked(op: MatchOp, mark: u32) -> Match {
    Match::new(Field::Mark, op, masked(mark))
}

fn not_from_proxy() -> Match {
    marked(MatchOp::Ne, PROXY_MARK)
}

/// Puts the redirection into a pod's network namespace, replacing what an earlier agent put
/// there: one transaction for the rules, so a packet meets all of them or none. Connections that
/// are open stay as they are.
///
/// # Errors
/// When the kernel refuses a rule or route; the pod is then left without redirection.
pub async fn install(netns: &Netns, redirection: Redirection) -> nlink::Result<()> {
    routes(netns).await?;
    let kept = match netns.sysctl().set(PICK_UP, "0") {
        // Connection tracking is loaded with the first rule that needs it.
        Err(error) if error.is_not_found() => {
            replace(netns, released(redirection)).await?;
            netns.sysctl().set(PICK_UP, "0")
        }
        other => other,
    };
    if let Err(error) = kept {
        tracing::warn!(
            netns = netns.label(),
            error = %runtime::report(&error),
            "connections that are open in the pod now will be reset: let the agent write its sysctls"
        );
    }
    replace(netns, tables(redirection)).await
}

/// Redirects nothing new, and leaves in place what connections that were redirected live on.
///
/// # Errors
/// When the kernel refuses.
pub async fn release(netns: &Netns, redirection: Redirection) -> nlink::Result<()> {
    replace(netns, released(redirection)).await
}

/// Whether connections are left that would break without what [`release`] leaves.
///
/// # Errors
/// When the kernel does not tell.
pub async fn is_in_use(netns: &Netns) -> nlink::Result<bool> {
    let tracked: Connection<Netfilter> = Connection::new_in(netns)?;
    let all = ConntrackFilter::new().proto(IpProtocol::Tcp);
    let entries = tracked.get_conntrack_matching(&all).await?;
    Ok(entries.iter().any(needs_tracking))
}

fn needs_tracking(entry: &ConntrackEntry) -> bool {
    let translated = entry.status.unwrap_or(0) & translated().bits() != 0;
    let spoofed = entry.mark.unwrap_or(0) & MARK_MASK == SPOOFED_MARK;
    let ended = matches!(
        entry.tcp_state,
        Some(TcpConntrackState::TimeWait | TcpConntrackState::Close)
    );
    (translated || spoofed) && !ended
}

fn translated() -> ConntrackStatus {
    ConntrackStatus::SRC_NAT | ConntrackStatus::DST_NAT
}

async fn replace(netns: &Netns, tables: Vec<TableSpec>) -> nlink::Result<()> {
    let rules: Connection<Nftables> = Connection::new_in(netns)?;
    let present = rules.list_tables_in(Family::Inet).await?;
    let mut batch = rules.transaction();
    for table in present
        .iter()
        .filter(|table| TABLE_NAMES.contains(&table.name.as_str()))
    {
        batch = batch.del_table(&table.name, Family::Inet);
    }
    for table in tables {
        batch = batch.add_table(table.name, Family::Inet);
        for chain in table.chains {
            let base = Chain::new(table.name, chain.name)?
                .family(Family::Inet)
                .base(chain.base);
            batch = batch.add_chain(base);
            for spec in chain.rules {
                let rule = Rule::from_spec(table.name, chain.name, spec).family(Family::Inet);
                batch = batch.add_rule(rule);
            }
        }
    }
    batch.commit(&rules).await
}

/// Takes the redirection out of a pod's network namespace; nothing of it is left.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(netns: &Netns) -> nlink::Result<()> {
    let rules: Connection<Nftables> = Connection::new_in(netns)?;
    for name in TABLE_NAMES {
        rules.del_table_if_exists(name, Family::Inet).await?;
    }
    let routes: Connection<Route> = Connection::new_in(netns)?;
    for rule in [
        policy_rule(RuleBuilder::v4()),
        policy_rule(RuleBuilder::v6()),
    ] {
        routes.del_rule_if_exists(rule).await?;
    }
    routes.del_route_if_exists(local_v4()).await?;
    routes.del_route_if_exists(local_v6()).await?;
    forget(netns).await
}

/// Has the kernel forget the connections that were let through. Nobody watches for their end any
/// more, and after another enrolment one that begins between the same ports must not be taken for
/// one of them.
async fn forget(netns: &Netns) -> nlink::Result<()> {
    match netns.sysctl().set(PICK_UP, "1") {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other?,
    }
    let tracked: Connection<Netfilter> = Connection::new_in(netns)?;
    let untouched = ConntrackFilter::new()
        .proto(IpProtocol::Tcp)
        .status(ConntrackStatus::empty(), translated());
    tracked.flush_conntrack_matching(&untouched).await
}

async fn routes(netns: &Netns) -> nlink::Result<()> {
    let routes: Connection<Route> = Connection::new_in(netns)?;
    for rule in [RuleBuilder::v4(), RuleBuilder::v6()] {
        // Never out and in again: an answer on its way in between would leave the pod.
        match routes.add_rule(policy_rule(rule)).await {
            Err(error) if error.is_already_exists() => {}
            other => other?,
        }
    }
    routes.replace_route(local_v4()).await?;
    routes.replace_route(local_v6()).await
}

fn policy_rule(rule: RuleBuilder) -> RuleBuilder {
    rule.fwmark_mask(SPOOFED_MARK, MARK_MASK)
        .priority(RULE_PRIORITY)
        .table(ROUTE_TABLE)
}

fn local_v4() -> Ipv4Route {
    Ipv4Route::from_addr(Ipv4Addr::UNSPECIFIED, 0)
        .route_type(RouteType::Local)
        .scope(RouteScope::Host)
        .dev("lo")
        .table(ROUTE_TABLE)
}

fn local_v6() -> Ipv6Route {
    Ipv6Route::from_addr(Ipv6Addr::UNSPECIFIED, 0)
        .route_type(RouteType::Local)
        .dev("lo")
        .table(ROUTE_TABLE)
}
