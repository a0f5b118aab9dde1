//! A token in its parts, before anything of it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kit::json::{Json, Keys, parse};

/// No token is longer.
const LONGEST: usize = 16 << 10;

/// The parts of a token.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: String,
    pub(crate) kid: Option<String>,
    pub(crate) payload: Json,
    pub(crate) signature: Vec<u8>,
    /// What the signature is about.
    pub(crate) signed: &'a [u8],
}

impl<'a> Token<'a> {
    /// Takes a compact serialisation apart (RFC 7515 §7.1).
    ///
    /// Keys in the token itself (`jwk`, `jku`, `x5c`, `x5u`) are never looked at: a caller would
    /// vouch for itself.
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self, &'static str> {
        if raw.len() > LONGEST {
            return Err("the token is too long");
        }
        let parts: Vec<&[u8]> = raw.split(|b| *b == b'.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            return Err("the token does not have three parts");
        };
        let signed = raw
            .get(..header.len() + 1 + payload.len())
            .unwrap_or_default();
        let header = object(header)?;
        // What we do not know and must understand, and bodies that are not encoded.
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err("the token needs extensions that are not known");
        }
        let text = |name| match header.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err("the token's header is malformed"),
        };
        Ok(Self {
            algorithm: text("alg")?.ok_or("the token names no algorithm")?,
            kid: text("kid")?,
            payload: object(payload)?,
            signature: decode(signature)?,
            signed,
        })
    }

    /// Returns a claim that is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.payload.get(name).and_then(Json::text)
    }

    /// Returns a time in seconds since 1970.
    pub(crate) fn time(&self, name: &str) -> Result<Option<f64>, &'static str> {
        match self.payload.get(name) {
            None => Ok(None),
            Some(time) => match time.number().filter(|time| time.is_finite()) {
                Some(time) => Ok(Some(time)),
                None => Err("a time in the token is not a number"),
            },
        }
    }

    /// Returns whether the token is for one of these.
    pub(crate) fn is_for(&self, audiences: &[String]) -> bool {
        let is_one = |json: &Json| {
            json.text()
                .is_some_and(|text| audiences.iter().any(|a| a == text))
        };
        match self.payload.get("aud") {
            Some(Json::List(items)) => items.iter().any(is_one),
            Some(single) => is_one(single),
            None => false,
        }
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| "the token is not base64url without padding")
}

fn object(part: &[u8]) -> Result<Json, &'static str> {
    match parse(&decode(part)?, Keys::Unique) {
        Ok(object @ Json::Object(_)) => Ok(object),
        _ => Err("a part of the token is not a JSON object, or names a member twice"),
    }
}
