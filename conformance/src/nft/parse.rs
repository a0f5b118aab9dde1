//! Reads a ruleset as `nft list ruleset` prints it.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Base, Chain, Field, Hook, Item, Kind, Protocol, Ruleset, Table, Verdict};

impl Ruleset {
    /// Reads a ruleset.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<Self> {
        let mut tables: Vec<Table> = vec![];
        let mut inside = 0_usize;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (inside, words.as_slice()) {
                (0, ["table", "inet", _, "{"]) => {
                    tables.push(Table { chains: vec![] });
                    inside = 1;
                }
                (1, ["chain", name, "{"]) => {
                    let table = tables.last_mut().context("a chain outside of a table")?;
                    table.chains.push(Chain {
                        name: (*name).to_owned(),
                        base: None,
                        rules: vec![],
                    });
                    inside = 2;
                }
                (1 | 2, ["}"]) => inside -= 1,
                (2, _) => {
                    let chains = tables.last_mut().map(|table| &mut table.chains);
                    let chain = chains.and_then(|chains| chains.last_mut());
                    let chain = chain.context("a rule outside of a chain")?;
                    let read = statement(chain, &words);
                    read.with_context(|| line.to_owned())?;
                }
                _ => bail!("not understood: {line}"),
            }
        }
        Ok(Self { tables })
    }
}

fn statement(chain: &mut Chain, words: &[&str]) -> Result<()> {
    if let [
        "type",
        kind,
        "hook",
        hook,
        "priority",
        priority,
        "policy",
        policy,
    ] = words
    {
        chain.base = Some(Base {
            kind: match *kind {
                "filter" => Kind::Filter,
                "nat" => Kind::Nat,
                "route" => Kind::Route,
                other => bail!("chain type {other}"),
            },
            hook: match *hook {
                "prerouting" => Hook::Prerouting,
                "output" => Hook::Output,
                other => bail!("hook {other}"),
            },
            priority: match priority.trim_end_matches(';') {
                "raw" => -300,
                "mangle" => -150,
                "dstnat" => -100,
                number => number.parse().context("priority")?,
            },
            drops: policy.trim_end_matches(';') == "drop",
        });
        return Ok(());
    }
    let mut rule = vec![];
    let mut rest = words;
    while !rest.is_empty() {
        let (items, n_read) = item(rest)?;
        rule.extend(items);
        rest = rest.get(n_read..).unwrap_or_default();
    }
    chain.rules.push(rule);
    Ok(())
}

/// The next part of a rule, and how many words it took.
fn item(words: &[&str]) -> Result<(Vec<Item>, usize)> {
    Ok(match words {
        ["counter", "packets", _, "bytes", _, ..] => (vec![], 5),
        ["counter", ..] => (vec![], 1),
        ["accept", ..] => (vec![Item::Verdict(Verdict::Accept)], 1),
        ["drop", ..] => (vec![Item::Verdict(Verdict::Drop)], 1),
        ["return", ..] => (vec![Item::Verdict(Verdict::Return)], 1),
        ["jump", chain, ..] => (vec![Item::Verdict(Verdict::Jump((*chain).to_owned()))], 2),
        ["redirect", "to", port, ..] => {
            let port = port.trim_start_matches(':').parse()?;
            (vec![Item::Verdict(Verdict::Redirect(port))], 3)
        }
        ["meta", "mark", "set", "ct", "mark", ..] => (vec![Item::SetMarkToConnectionMark], 5),
        ["ct", "mark", "set", "ct", "mark", "&", mask, "|", or, ..] => {
            let (mask, or) = (number(mask)?, number(or)?);
            (vec![Item::SetConnectionMark { mask, or }], 9)
        }
        ["ct", "zone", "set", zone, ..] => (vec![Item::SetZone(zone.parse()?)], 4),
        ["meta", "mark", rest @ ..] => marked(rest, 2, |mask| Field::Mark { mask })?,
        ["ct", "mark", rest @ ..] => marked(rest, 2, |mask| Field::ConnectionMark { mask })?,
        ["meta", "l4proto", rest @ ..] => test(Field::Protocol, rest, 2, protocol_number)?,
        ["oifname", rest @ ..] => test(Field::Out, rest, 1, interface)?,
        [
            family @ ("ip" | "ip6"),
            side @ ("saddr" | "daddr"),
            rest @ ..,
        ] => {
            let v6 = *family == "ip6";
            let source = *side == "saddr";
            let value = if v6 { address_v6 } else { address_v4 };
            test(Field::Address { source, v6 }, rest, 2, value)?
        }
        [
            protocol @ ("tcp" | "udp"),
            side @ ("sport" | "dport"),
            rest @ ..,
        ] => {
            let of = if *protocol == "tcp" {
                Protocol::Tcp
            } else {
                Protocol::Udp
            };
            let source = *side == "sport";
            test(Field::Port { of, source }, rest, 2, |text| {
                Ok(text.parse::<u16>()?.into())
            })?
        }
        other => bail!("not understood: {}", other.join(" ")),
    })
}

/// `VALUE`, `== VALUE` or `!= VALUE` after `n_before` words.
fn test(
    of: Field,
    rest: &[&str],
    n_before: usize,
    value: impl Fn(&str) -> Result<u128>,
) -> Result<(Vec<Item>, usize)> {
    let (equal, text, n_words) = match rest {
        ["!=", text, ..] => (false, text, 2),
        ["==", text, ..] => (true, text, 2),
        [text, ..] => (true, text, 1),
        [] => bail!("a test without a value"),
    };
    let value = value(text)?;
    Ok((vec![Item::Test { of, equal, value }], n_before + n_words))
}

/// `& MASK == VALUE`, or a test of the whole mark.
fn marked(
    rest: &[&str],
    n_before: usize,
    field: impl Fn(u32) -> Field,
) -> Result<(Vec<Item>, usize)> {
    let value = |text: &str| Ok(number(text)?.into());
    match rest {
        ["&", mask, rest @ ..] => {
            ensure!(matches!(rest, ["==" | "!=", ..]), "a mask without a test");
            test(field(number(mask)?), rest, n_before + 2, value)
        }
        _ => test(field(u32::MAX), rest, n_before, value),
    }
}

fn number(text: &str) -> Result<u32> {
    Ok(match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16)?,
        None => text.parse()?,
    })
}

fn protocol_number(text: &str) -> Result<u128> {
    Ok(match text {
        "tcp" => 6,
        "udp" => 17,
        other => bail!("protocol {other}"),
    })
}

fn interface(text: &str) -> Result<u128> {
    ensure!(text == "\"lo\"", "interface {text}");
    Ok(1)
}

fn address_v4(text: &str) -> Result<u128> {
    Ok(text.parse::<Ipv4Addr>()?.to_bits().into())
}

fn address_v6(text: &str) -> Result<u128> {
    Ok(text.parse::<Ipv6Addr>()?.to_bits())
}
