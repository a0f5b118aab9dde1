//! Lets requests with a known key through, and nothing else.
//!
//! ```json
//! {
//!   "from": [{ "header": "x-api-key" }, { "query": "api_key" }],
//!   "keys": [{ "id": "mobile", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }],
//!   "service": { "upstream": "outbound|80||keys.auth.svc.cluster.local", "host": "keys.auth", "path": "/check" },
//!   "consumerHeader": "x-consumer",
//!   "except": [{ "path": [{ "exact": "/health" }] }]
//! }
//! ```
//!
//! The configuration holds hashes, never keys. A key that is not in `keys` is asked about at the
//! service, if there is one, and its answer is kept for a while. Whatever goes wrong, the request
//! does not go through. The key never reaches the service behind.
//! `docs/guide/filters/api-key.md` describes every field.

mod cache;
#[cfg(target_family = "wasm")]
mod guest;
mod place;
mod service;
#[cfg(test)]
mod tests;

use kit::config::{Field, Object, Result, parse};
use kit::{Side, Stream, When};
use sha2::{Digest as _, Sha256};

pub use cache::{Entry, slot};
pub use place::Place;
pub use service::{Service, Verdict};

/// No key is longer.
const LONGEST: usize = 4096;

/// The SHA-256 of a key.
pub type Hash = [u8; 32];

/// What the filter does.
#[derive(Clone, Debug)]
pub struct Config {
    places: Vec<Place>,
    keys: Vec<Key>,
    /// Where unknown keys are asked about.
    pub service: Option<Service>,
    except: Vec<When>,
    consumer: Option<String>,
    keep: bool,
    deny: Denial,
}

#[derive(Clone, Debug)]
struct Key {
    id: String,
    hash: Hash,
    when: When,
}

/// The answer to a request without a good key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The status.
    pub status: u32,
    /// The body.
    pub body: String,
}

/// What is known of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// It needs no key.
    Open,
    /// It has a key of ours, by this name.
    Known(String),
    /// It has a key that only the service may know.
    Ask(Vec<u8>),
    /// It does not go through, and why.
    Denied(&'static str),
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The field that is wrong and what is allowed there.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = parse(bytes)?;
        let mut root = Object::root(&json)?;
        let mut places = root.each("from", Place::read)?;
        if places.is_empty() {
            places.push(Place::default());
        }
        let config = Self {
            places,
            keys: root.each("keys", Key::read)?,
            service: root
                .get("service")
                .map(|field| Service::read(&field))
                .transpose()?,
            except: root.each("except", |field| {
                let when = When::read(field)?;
                if when.is_empty() {
                    return Err(field
                        .wrong("at least one condition; without any, every request is excepted"));
                }
                Ok(when)
            })?,
            consumer: root
                .get("consumerHeader")
                .map(|field| field.header_name())
                .transpose()?,
            keep: root.get_or("keepKey", false, Field::flag)?,
            deny: root.get_or("deny", Denial::default(), Denial::read)?,
        };
        if config.keys.is_empty() && config.service.is_none() {
            return Err(root.wrong("knows no key; it needs `keys` or `service`"));
        }
        root.finish()?;
        Ok(config)
    }

    /// Returns how many keys are configured.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Returns the answer to a request that does not go through.
    pub fn denial(&self) -> &Denial {
        &self.deny
    }

    /// Decides about a request.
    pub fn access(&self, stream: &dyn Stream) -> Access {
        if self.except.iter().any(|when| when.holds(stream)) {
            return Access::Open;
        }
        let mut found: Option<Vec<u8>> = None;
        for place in &self.places {
            for key in place.find(stream) {
                // Two readers could choose different ones.
                if found.as_ref().is_some_and(|other| *other != key) {
                    return Access::Denied("two different keys");
                }
                found = Some(key);
            }
        }
        match found {
            None => Access::Denied("no key"),
            Some(key) if key.is_empty() || key.len() > LONGEST => {
                Access::Denied("no key of a possible length")
            }
            Some(key) => self.known(&key, stream),
        }
    }

    /// Looks a key up. Every configured key is compared, and each as a whole: how long that takes
    /// tells nothing about any of them.
    fn known(&self, key: &[u8], stream: &dyn Stream) -> Access {
        let hash = hash(key);
        let mut found = None;
        for known in &self.keys {
            let same = same(&known.hash, &hash);
            found = if same { Some(known) } else { found };
        }
        match found {
            Some(key) if key.when.holds(stream) => Access::Known(key.id.clone()),
            Some(_) => Access::Denied("a key for other requests"),
            None if self.service.is_some() => Access::Ask(key.to_vec()),
            None => Access::Denied("an unknown key"),
        }
    }

    /// Takes away what is for this filter only, and what callers must not say themselves.
    pub fn strip(&self, stream: &dyn Stream) {
        if !self.keep {
            for place in &self.places {
                place.strip(stream);
            }
        }
        if let Some(name) = &self.consumer {
            stream.remove(Side::Request, name);
            if let Some(name) = kit::header::with_underscores(name) {
                stream.remove(Side::Request, &name);
            }
        }
    }

    /// Tells the service behind who called.
    pub fn introduce(&self, consumer: &str, stream: &dyn Stream) {
        if let Some(name) = &self.consumer {
            stream.set(Side::Request, name, consumer.as_bytes());
        }
    }
}

impl Key {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let id = object.need("id")?;
        let name = id.header_value()?;
        if name.trim().is_empty() {
            return Err(id.wrong("a name for whoever has the key"));
        }
        let hash = object.need("sha256")?;
        let key = Self {
            id: name.to_owned(),
            hash: read_hash(hash.text()?).ok_or_else(|| {
                hash.wrong_secret("64 hexadecimal digits: printf %s KEY | sha256sum")
            })?,
            when: object.get_or("when", When::default(), When::read)?,
        };
        object.finish()?;
        Ok(key)
    }
}

impl Denial {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let denial = Self {
            status: object.get_or("status", 401, |field| field.whole(400, 499))?,
            body: object.get_or("body", "", Field::text)?.to_owned(),
        };
        object.finish()?;
        Ok(denial)
    }
}

impl Default for Denial {
    fn default() -> Self {
        Self {
            status: 401,
            body: String::new(),
        }
    }
}

/// Returns the SHA-256 of a key.
pub fn hash(key: &[u8]) -> Hash {
    Sha256::digest(key).into()
}

/// Compares without stopping at the first difference.
pub fn same(one: &Hash, other: &Hash) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// Writes a hash in hexadecimal digits.
pub fn hex(hash: &Hash) -> String {
    let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

fn read_hash(text: &str) -> Option<Hash> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
        .collect();
    (digits.len() == 64)
        .then(|| bytes.try_into().ok())
        .flatten()
}
