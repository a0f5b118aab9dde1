//! Values of properties and their form in guest memory.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::pairs;

/// A name and what it maps to.
type Entry<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The value of a property.
///
/// Source: proxy-wasm specification, "Well-known properties"; numbers are 8 bytes little-endian,
/// times and durations are nanoseconds, a list is a map of its items to nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text, bytes, or a serialised message.
    Bytes(Cow<'a, [u8]>),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// True or false, one byte.
    Bool(bool),
    /// A point in time.
    Time(SystemTime),
    /// A length of time.
    Duration(Duration),
    /// Names and values.
    Map(Vec<Entry<'a>>),
    /// Items in order.
    List(Vec<Cow<'a, [u8]>>),
}

impl Value<'_> {
    /// Returns a value that borrows nothing.
    pub fn into_owned(self) -> Value<'static> {
        fn own(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
            Cow::Owned(bytes.into_owned())
        }
        match self {
            Self::Bytes(bytes) => Value::Bytes(own(bytes)),
            Self::Int(number) => Value::Int(number),
            Self::Uint(number) => Value::Uint(number),
            Self::Double(number) => Value::Double(number),
            Self::Bool(truth) => Value::Bool(truth),
            Self::Time(time) => Value::Time(time),
            Self::Duration(duration) => Value::Duration(duration),
            Self::Map(entries) => {
                let owned = entries.into_iter().map(|(n, v)| (own(n), own(v)));
                Value::Map(owned.collect())
            }
            Self::List(items) => Value::List(items.into_iter().map(own).collect()),
        }
    }

    /// Writes the value as guests read it, replacing what was in `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
            Self::Uint(number) => out.extend_from_slice(&number.to_le_bytes()),
            Self::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
            Self::Bool(truth) => out.push(u8::from(*truth)),
            Self::Time(time) => {
                out.extend_from_slice(&nanoseconds_since_epoch(*time).to_le_bytes());
            }
            Self::Duration(duration) => {
                let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
                out.extend_from_slice(&nanoseconds.to_le_bytes());
            }
            Self::Map(entries) => {
                pairs::write(
                    out,
                    entries
                        .iter()
                        .map(|(name, value)| (name.as_ref(), value.as_ref())),
                );
            }
            Self::List(items) => {
                pairs::write(out, items.iter().map(|item| (item.as_ref(), &[][..])));
            }
        }
    }
}

/// Returns nanoseconds since the Unix epoch, negative before it.
pub(crate) fn nanoseconds_since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Bytes(Cow::Owned(text.into_bytes()))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a> From<Cow<'a, [u8]>> for Value<'a> {
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Uint(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: impl Into<Value<'static>>) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        value.into().encode(&mut out);
        out
    }

    #[test]
    fn scalars_are_little_endian_or_raw() {
        assert_eq!(encoded("GET"), b"GET");
        assert_eq!(encoded(-1_i64), [0xff; 8]);
        assert_eq!(encoded(258_u64), [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encoded(true), [1]);
        assert_eq!(encoded(Value::Double(1.0)), 1.0_f64.to_le_bytes());
        assert_eq!(
            encoded(Value::Duration(Duration::from_micros(1))),
            1000_i64.to_le_bytes()
        );
    }

    #[test]
    fn times_are_nanoseconds_since_the_epoch() {
        let later = UNIX_EPOCH + Duration::from_nanos(7);
        let earlier = UNIX_EPOCH - Duration::from_nanos(7);
        assert_eq!(encoded(Value::Time(later)), 7_i64.to_le_bytes());
        assert_eq!(encoded(Value::Time(earlier)), (-7_i64).to_le_bytes());
    }

    #[test]
    fn a_list_is_a_map_of_items_to_nothing() {
        let list = encoded(Value::List(vec![Cow::Borrowed(b"a"), Cow::Borrowed(b"b")]));
        let map = encoded(Value::Map(vec![
            (Cow::Borrowed(b"a"), Cow::Borrowed(b"")),
            (Cow::Borrowed(b"b"), Cow::Borrowed(b"")),
        ]));
        assert_eq!(list, map);
        assert_eq!(
            pairs::read(&list, 9).unwrap(),
            [(&b"a"[..], &b""[..]), (&b"b"[..], &b""[..])]
        );
    }
}
