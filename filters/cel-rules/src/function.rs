//! The functions of CEL that make sense about a request, and a few more.

use std::net::IpAddr;
use std::rc::Rc;

use crate::value::{Error, NO_OVERLOAD, OVERFLOW, Val};

/// A function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    Get,
    InCidr,
    Int,
    Uint,
    Double,
    Text,
    Bool,
    Bytes,
    Dyn,
}

/// Name, arguments (with the target, of a method), and whether it is called on a target.
const FUNCTIONS: [(&str, usize, bool, Function); 18] = [
    ("size", 1, false, Function::Size),
    ("size", 1, true, Function::Size),
    ("contains", 2, true, Function::Contains),
    ("startsWith", 2, true, Function::StartsWith),
    ("endsWith", 2, true, Function::EndsWith),
    ("lowerAscii", 1, true, Function::LowerAscii),
    ("upperAscii", 1, true, Function::UpperAscii),
    ("trim", 1, true, Function::Trim),
    ("split", 2, true, Function::Split),
    ("get", 3, true, Function::Get),
    ("inCidr", 2, true, Function::InCidr),
    ("int", 1, false, Function::Int),
    ("uint", 1, false, Function::Uint),
    ("double", 1, false, Function::Double),
    ("string", 1, false, Function::Text),
    ("bool", 1, false, Function::Bool),
    ("bytes", 1, false, Function::Bytes),
    ("dyn", 1, false, Function::Dyn),
];

impl Function {
    /// Finds a function by its name and how it is called.
    pub(crate) fn find(name: &str, arguments: usize, method: bool) -> Result<Self, String> {
        let found = FUNCTIONS
            .iter()
            .find(|(n, count, m, _)| (*n, *count, *m) == (name, arguments, method));
        if let Some((.., function)) = found {
            return Ok(*function);
        }
        Err(match name {
            "matches" => {
                "`matches` is not there, as a filter has no room for regular expressions; \
                          allowed are startsWith, endsWith, contains, split"
                    .to_owned()
            }
            "timestamp" | "duration" => {
                format!("`{name}` is not there; a request has no times to compare")
            }
            _ if FUNCTIONS.iter().any(|(n, ..)| *n == name) => {
                format!("`{name}` is called with other arguments than it takes")
            }
            _ => {
                let mut names: Vec<_> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
                names.dedup();
                format!(
                    "`{name}` is no function; allowed are {} and the macros has, all, exists, exists_one, filter, map",
                    names.join(", ")
                )
            }
        })
    }

    /// Calls it.
    pub(crate) fn call(self, arguments: &[Val]) -> Result<Val, Error> {
        match (self, arguments) {
            (Self::Size, [value]) => size(value),
            (Self::Contains, [Val::Text(text), Val::Text(part)]) => {
                Ok(Val::Bool(text.contains(&**part)))
            }
            (Self::StartsWith, [Val::Text(text), Val::Text(part)]) => {
                Ok(Val::Bool(text.starts_with(&**part)))
            }
            (Self::EndsWith, [Val::Text(text), Val::Text(part)]) => {
                Ok(Val::Bool(text.ends_with(&**part)))
            }
            (Self::LowerAscii, [Val::Text(text)]) => Ok(Val::text(&text.to_ascii_lowercase())),
            (Self::UpperAscii, [Val::Text(text)]) => Ok(Val::text(&text.to_ascii_uppercase())),
            (Self::Trim, [Val::Text(text)]) => Ok(Val::text(text.trim())),
            (Self::Split, [Val::Text(text), Val::Text(at)]) if !at.is_empty() => Ok(Val::List(
                Rc::new(text.split(&**at).map(Val::text).collect()),
            )),
            (Self::Get, [map @ Val::Map(_), key, otherwise]) => {
                Ok(map.index(key).unwrap_or_else(|_| otherwise.clone()))
            }
            (Self::InCidr, [Val::Text(address), Val::Text(block)]) => in_cidr(address, block),
            (Self::Int, [value]) => int(value),
            (Self::Uint, [value]) => uint(value),
            (Self::Double, [value]) => double(value),
            (Self::Text, [value]) => text(value),
            (Self::Bool, [Val::Bool(value)]) => Ok(Val::Bool(*value)),
            (Self::Bool, [Val::Text(text)]) => match &**text {
                "true" => Ok(Val::Bool(true)),
                "false" => Ok(Val::Bool(false)),
                _ => Err("a text that is neither true nor false"),
            },
            (Self::Bytes, [Val::Text(text)]) => Ok(Val::Bytes(Rc::from(text.as_bytes()))),
            (Self::Bytes, [bytes @ Val::Bytes(_)]) => Ok(bytes.clone()),
            (Self::Dyn, [value]) => Ok(value.clone()),
            _ => Err(NO_OVERLOAD),
        }
    }
}

fn size(value: &Val) -> Result<Val, Error> {
    let size = match value {
        Val::Text(text) => text.chars().count(),
        Val::Bytes(bytes) => bytes.len(),
        Val::List(items) => items.len(),
        Val::Map(entries) => entries.len(),
        _ => return Err(NO_OVERLOAD),
    };
    i64::try_from(size).map(Val::Int).map_err(|_| OVERFLOW)
}

fn int(value: &Val) -> Result<Val, Error> {
    Ok(Val::Int(match value {
        Val::Int(n) => *n,
        Val::Uint(n) => i64::try_from(*n).map_err(|_| OVERFLOW)?,
        // The bounds are those between which every double is an i64.
        Val::Double(n) if *n > -9.3e18 && *n < 9.2e18 => {
            #[expect(clippy::cast_possible_truncation, reason = "cut, as CEL says")]
            let n = *n as i64;
            n
        }
        Val::Double(_) => return Err(OVERFLOW),
        Val::Text(text) => text.parse().map_err(|_| "a text that is no number")?,
        _ => return Err(NO_OVERLOAD),
    }))
}

fn uint(value: &Val) -> Result<Val, Error> {
    Ok(Val::Uint(match value {
        Val::Uint(n) => *n,
        Val::Int(n) => u64::try_from(*n).map_err(|_| OVERFLOW)?,
        Val::Double(n) if *n >= 0.0 && *n < 1.8e19 => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "cut, as CEL says"
            )]
            let n = *n as u64;
            n
        }
        Val::Double(_) => return Err(OVERFLOW),
        Val::Text(text) => text.parse().map_err(|_| "a text that is no number")?,
        _ => return Err(NO_OVERLOAD),
    }))
}

#[expect(clippy::cast_precision_loss, reason = "CEL rounds to the nearest")]
fn double(value: &Val) -> Result<Val, Error> {
    Ok(Val::Double(match value {
        Val::Double(n) => *n,
        Val::Int(n) => *n as f64,
        Val::Uint(n) => *n as f64,
        Val::Text(text) => text.parse().map_err(|_| "a text that is no number")?,
        _ => return Err(NO_OVERLOAD),
    }))
}

fn text(value: &Val) -> Result<Val, Error> {
    Ok(match value {
        Val::Text(_) => value.clone(),
        Val::Bool(value) => Val::text(&value.to_string()),
        Val::Int(n) => Val::text(&n.to_string()),
        Val::Uint(n) => Val::text(&n.to_string()),
        Val::Double(n) => Val::text(&n.to_string()),
        Val::Bytes(bytes) => {
            Val::text(std::str::from_utf8(bytes).map_err(|_| "bytes that are no text")?)
        }
        _ => return Err(NO_OVERLOAD),
    })
}

/// Returns whether an address is in a block such as `10.0.0.0/8`.
fn in_cidr(address: &str, block: &str) -> Result<Val, Error> {
    let (network, bits) =
        cidr(block).ok_or("a text that is no block of addresses, such as 10.0.0.0/8")?;
    // An address that cannot be read is in no block.
    let Ok(address) = address.parse::<IpAddr>() else {
        return Ok(Val::Bool(false));
    };
    Ok(Val::Bool(match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let host = 32 - bits.min(32);
            (u64::from(network.to_bits()) >> host) == (u64::from(address.to_bits()) >> host)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let different = network.to_bits() ^ address.to_bits();
            different.leading_zeros() >= bits
        }
        _ => false,
    }))
}

/// Reads a block of addresses.
pub(crate) fn cidr(block: &str) -> Option<(IpAddr, u32)> {
    let (network, bits) = block.split_once('/')?;
    let (network, bits): (IpAddr, u32) = (network.parse().ok()?, bits.parse().ok()?);
    (bits <= if network.is_ipv4() { 32 } else { 128 }).then_some((network, bits))
}
