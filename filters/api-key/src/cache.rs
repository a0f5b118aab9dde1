//! What the service said lately, shared by the workers of a proxy.
//!
//! Shared data is never evicted by the proxy, so there is a fixed number of places and each hash
//! has one: whoever sends random keys overwrites entries instead of filling the memory.

use crate::{Hash, Verdict, same};

/// How many places there are.
const SLOTS: u16 = 2048;

/// An answer of the service and until when it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The key it is about.
    pub hash: Hash,
    /// Nanoseconds since 1970.
    pub until: u64,
    /// Whose key it is; none, if nobody's.
    pub id: Option<String>,
}

/// Returns the name of the place of a hash.
pub fn slot(hash: &Hash) -> String {
    let [first, second, ..] = *hash;
    format!("api-key:{}", u16::from_be_bytes([first, second]) % SLOTS)
}

impl Entry {
    /// Writes it.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = self.hash.to_vec();
        bytes.extend_from_slice(&self.until.to_le_bytes());
        bytes.push(u8::from(self.id.is_some()));
        bytes.extend_from_slice(self.id.as_deref().unwrap_or_default().as_bytes());
        bytes
    }

    /// Reads what still holds about a key.
    pub fn read(bytes: &[u8], hash: &Hash, now: u64) -> Option<Verdict> {
        let (of, rest) = bytes.split_first_chunk::<32>()?;
        let (until, rest) = rest.split_first_chunk::<8>()?;
        let (known, id) = rest.split_first()?;
        if !same(of, hash) || u64::from_le_bytes(*until) <= now {
            return None;
        }
        Some(match known {
            0 => Verdict::Unknown,
            _ => Verdict::Known(String::from_utf8(id.to_vec()).ok()?),
        })
    }
}
