//! Values of CEL, and what can be done with two of them.

use std::cmp::Ordering;
use std::rc::Rc;

/// Why an expression has no value.
pub(crate) type Error = &'static str;

pub(crate) const NO_OVERLOAD: Error = "an operation on values it is not for";
pub(crate) const NO_KEY: Error = "no such key";
pub(crate) const OVERFLOW: Error = "a number out of range";

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Rc<str>),
    Bytes(Rc<[u8]>),
    List(Rc<Vec<Val>>),
    Map(Rc<Vec<(Val, Val)>>),
}

impl Val {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(Rc::from(text))
    }

    /// What it costs to copy it or to look through it, in steps.
    pub(crate) fn weight(&self) -> u32 {
        let bytes = match self {
            Self::Text(text) => text.len() / 16,
            Self::Bytes(bytes) => bytes.len() / 16,
            Self::List(items) => items.len(),
            Self::Map(entries) => entries.len() * 2,
            _ => 0,
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// Equality of CEL: numbers by their value, whatever their type; other types are never equal.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| {
                        let other = b.iter().find(|(k, _)| k.equals(key));
                        other.is_some_and(|(_, other)| other.equals(value))
                    })
            }
            _ => numbers(self, other) == Some(Ordering::Equal),
        }
    }

    /// Order of CEL; only values of like kinds have one.
    pub(crate) fn compare(&self, other: &Self) -> Result<Option<Ordering>, Error> {
        Ok(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (
                Self::Int(_) | Self::Uint(_) | Self::Double(_),
                Self::Int(_) | Self::Uint(_) | Self::Double(_),
            ) => numbers(self, other),
            _ => return Err(NO_OVERLOAD),
        })
    }

    pub(crate) fn add(&self, other: &Self) -> Result<Self, Error> {
        Ok(match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.checked_add(*b).ok_or(OVERFLOW)?),
            (Self::Uint(a), Self::Uint(b)) => Self::Uint(a.checked_add(*b).ok_or(OVERFLOW)?),
            (Self::Double(a), Self::Double(b)) => Self::Double(a + b),
            (Self::Text(a), Self::Text(b)) => Self::Text(Rc::from([&**a, &**b].concat())),
            (Self::Bytes(a), Self::Bytes(b)) => Self::Bytes(Rc::from([&**a, &**b].concat())),
            (Self::List(a), Self::List(b)) => Self::List(Rc::new([&***a, &***b].concat())),
            _ => return Err(NO_OVERLOAD),
        })
    }

    pub(crate) fn subtract(&self, other: &Self) -> Result<Self, Error> {
        Ok(match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.checked_sub(*b).ok_or(OVERFLOW)?),
            (Self::Uint(a), Self::Uint(b)) => Self::Uint(a.checked_sub(*b).ok_or(OVERFLOW)?),
            (Self::Double(a), Self::Double(b)) => Self::Double(a - b),
            _ => return Err(NO_OVERLOAD),
        })
    }

    pub(crate) fn multiply(&self, other: &Self) -> Result<Self, Error> {
        Ok(match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.checked_mul(*b).ok_or(OVERFLOW)?),
            (Self::Uint(a), Self::Uint(b)) => Self::Uint(a.checked_mul(*b).ok_or(OVERFLOW)?),
            (Self::Double(a), Self::Double(b)) => Self::Double(a * b),
            _ => return Err(NO_OVERLOAD),
        })
    }

    pub(crate) fn divide(&self, other: &Self) -> Result<Self, Error> {
        const ZERO: Error = "a division by zero, or out of range";
        Ok(match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.checked_div(*b).ok_or(ZERO)?),
            (Self::Uint(a), Self::Uint(b)) => Self::Uint(a.checked_div(*b).ok_or(ZERO)?),
            (Self::Double(a), Self::Double(b)) => Self::Double(a / b),
            _ => return Err(NO_OVERLOAD),
        })
    }

    pub(crate) fn remainder(&self, other: &Self) -> Result<Self, Error> {
        const ZERO: Error = "a remainder by zero, or out of range";
        Ok(match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.checked_rem(*b).ok_or(ZERO)?),
            (Self::Uint(a), Self::Uint(b)) => Self::Uint(a.checked_rem(*b).ok_or(ZERO)?),
            _ => return Err(NO_OVERLOAD),
        })
    }

    pub(crate) fn negate(&self) -> Result<Self, Error> {
        Ok(match self {
            Self::Int(n) => Self::Int(n.checked_neg().ok_or(OVERFLOW)?),
            Self::Double(n) => Self::Double(-n),
            _ => return Err(NO_OVERLOAD),
        })
    }

    /// An item of a list or the value of a key.
    pub(crate) fn index(&self, key: &Self) -> Result<Self, Error> {
        match self {
            Self::Map(entries) => {
                let found = entries.iter().find(|(k, _)| k.equals(key));
                found.map(|(_, value)| value.clone()).ok_or(NO_KEY)
            }
            Self::List(items) => {
                let at = match key {
                    Self::Int(n) => usize::try_from(*n).ok(),
                    Self::Uint(n) => usize::try_from(*n).ok(),
                    _ => return Err(NO_OVERLOAD),
                };
                at.and_then(|at| items.get(at))
                    .cloned()
                    .ok_or("no such index")
            }
            _ => Err(NO_OVERLOAD),
        }
    }

    /// `item in self`.
    pub(crate) fn contains(&self, item: &Self) -> Result<bool, Error> {
        match self {
            Self::List(items) => Ok(items.iter().any(|i| i.equals(item))),
            Self::Map(_) if matches!(item, Self::List(_) | Self::Map(_)) => Err(NO_OVERLOAD),
            Self::Map(entries) => Ok(entries.iter().any(|(key, _)| key.equals(item))),
            _ => Err(NO_OVERLOAD),
        }
    }
}

/// Compares numbers of any types by their value; `None` for what has no order or is no number.
fn numbers(a: &Val, b: &Val) -> Option<Ordering> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Uint(a), Val::Uint(b)) => Some(a.cmp(b)),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Int(a), Val::Uint(b)) => Some(u64::try_from(*a).map_or(Ordering::Less, |a| a.cmp(b))),
        (Val::Int(a), Val::Double(b)) => whole_and_double(i128::from(*a), *b),
        (Val::Uint(a), Val::Double(b)) => whole_and_double(i128::from(*a), *b),
        // The other way round.
        (Val::Uint(_), Val::Int(_)) | (Val::Double(_), Val::Int(_) | Val::Uint(_)) => {
            numbers(b, a).map(Ordering::reverse)
        }
        _ => None,
    }
}

fn whole_and_double(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    // Beyond every whole number there is.
    if b >= 1e20 {
        return Some(Ordering::Less);
    }
    if b <= -1e20 {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is below 1e20")]
    let whole = b.trunc() as i128;
    Some(
        a.cmp(&whole)
            .then_with(|| 0.0.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal)),
    )
}
