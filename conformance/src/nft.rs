//! What an nftables ruleset decides for a packet: enough of nft to hold one redirection against
//! another. A rule that is not understood is an error, never skipped.

mod parse;

use std::net::IpAddr;

/// Where a packet of a pod meets rules.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Hook {
    /// It came in, or was sent to this host by itself.
    Prerouting,
    /// A process of this host sends it.
    Output,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Anything without ports.
    Other,
}

/// A packet as rules see it: the first of its connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Where it is.
    pub hook: Hook,
    /// What it carries.
    pub protocol: Protocol,
    /// Its source; of the same family as the destination.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The packet's mark.
    pub mark: u32,
    /// The connection's mark.
    pub connection_mark: u32,
    /// The interface it leaves by; `None` before routing.
    pub out: Option<&'static str>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// It is dropped.
    pub dropped: bool,
    /// It goes to this port of this host instead.
    pub redirected: Option<u16>,
    /// Its mark.
    pub mark: u32,
    /// Its connection's mark.
    pub connection_mark: u32,
    /// Its connection tracking zone.
    pub zone: u16,
    /// Its route is looked up again.
    pub rerouted: bool,
}

/// All tables of a namespace.
#[derive(Debug)]
pub struct Ruleset {
    tables: Vec<Table>,
}

#[derive(Debug)]
struct Table {
    chains: Vec<Chain>,
}

#[derive(Debug)]
struct Chain {
    name: String,
    base: Option<Base>,
    rules: Vec<Vec<Item>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Base {
    kind: Kind,
    hook: Hook,
    priority: i32,
    drops: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Filter,
    Nat,
    Route,
}

/// A part of a rule: the first test that fails ends it.
#[derive(Debug)]
enum Item {
    Test { of: Field, equal: bool, value: u128 },
    SetMarkToConnectionMark,
    SetConnectionMark { mask: u32, or: u32 },
    SetZone(u16),
    Verdict(Verdict),
}

#[derive(Clone, Debug)]
enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Redirect(u16),
}

/// What a test looks at.
#[derive(Clone, Copy, Debug)]
enum Field {
    /// 0 for neither TCP nor UDP.
    Protocol,
    /// Source or destination, of one family.
    Address {
        source: bool,
        v6: bool,
    },
    Port {
        of: Protocol,
        source: bool,
    },
    Mark {
        mask: u32,
    },
    ConnectionMark {
        mask: u32,
    },
    /// 1 for `lo`.
    Out,
}

impl Ruleset {
    /// What becomes of a packet in all chains of its hook, by priority.
    pub fn decide(&self, packet: &Packet) -> Outcome {
        let mut packet = packet.clone();
        let mut outcome = Outcome::default();
        for (table, chain, base) in self.at(packet.hook) {
            let before = packet.mark;
            let verdict = table.run(chain, &mut packet, &mut outcome);
            if base.kind == Kind::Route && packet.mark != before {
                outcome.rerouted = true;
            }
            match verdict {
                Some(Verdict::Drop) => outcome.dropped = true,
                Some(Verdict::Redirect(port)) => outcome.redirected = Some(port),
                None if base.drops => outcome.dropped = true,
                _ => {}
            }
            if outcome.dropped {
                break;
            }
        }
        outcome.mark = packet.mark;
        outcome.connection_mark = packet.connection_mark;
        outcome
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        let chains = self.tables.iter().flat_map(|table| &table.chains);
        chains.map(|chain| chain.rules.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn at(&self, hook: Hook) -> Vec<(&Table, &Chain, Base)> {
        let mut chains: Vec<_> = self
            .tables
            .iter()
            .flat_map(|table| table.chains.iter().map(move |chain| (table, chain)))
            .filter_map(|(table, chain)| Some((table, chain, chain.base?)))
            .filter(|(_, _, base)| base.hook == hook)
            .collect();
        chains.sort_by_key(|(_, _, base)| base.priority);
        chains
    }
}

impl Table {
    /// The verdict of a chain; `None` when its end was reached.
    fn run(&self, chain: &Chain, packet: &mut Packet, outcome: &mut Outcome) -> Option<Verdict> {
        for rule in &chain.rules {
            for item in rule {
                match item {
                    Item::Test { of, equal, value } => {
                        if !packet.passes(*of, *equal, *value) {
                            break;
                        }
                    }
                    Item::SetMarkToConnectionMark => packet.mark = packet.connection_mark,
                    Item::SetConnectionMark { mask, or } => {
                        packet.connection_mark = packet.connection_mark & mask | or;
                    }
                    Item::SetZone(zone) => outcome.zone = *zone,
                    Item::Verdict(Verdict::Return) => return None,
                    Item::Verdict(Verdict::Jump(name)) => {
                        let target = self.chains.iter().find(|chain| chain.name == *name)?;
                        let verdict = self.run(target, packet, outcome);
                        if verdict.is_some() {
                            return verdict;
                        }
                    }
                    Item::Verdict(verdict) => return Some(verdict.clone()),
                }
            }
        }
        None
    }
}

impl Packet {
    /// A test of something the packet does not have fails, whatever it asks.
    fn passes(&self, of: Field, equal: bool, value: u128) -> bool {
        self.field(of)
            .is_some_and(|found| (found == value) == equal)
    }

    fn field(&self, of: Field) -> Option<u128> {
        Some(match of {
            Field::Protocol => match self.protocol {
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
                Protocol::Other => 0,
            },
            Field::Address { source, v6 } => {
                let address = if source {
                    self.source
                } else {
                    self.destination
                };
                match address {
                    IpAddr::V4(address) if !v6 => u128::from(address.to_bits()),
                    IpAddr::V6(address) if v6 => address.to_bits(),
                    _ => return None,
                }
            }
            Field::Port { of, .. } if of != self.protocol => return None,
            Field::Port { source: true, .. } => self.source_port.into(),
            Field::Port { source: false, .. } => self.destination_port.into(),
            Field::Mark { mask } => (self.mark & mask).into(),
            Field::ConnectionMark { mask } => (self.connection_mark & mask).into(),
            Field::Out => u128::from(self.out? == "lo"),
        })
    }
}
