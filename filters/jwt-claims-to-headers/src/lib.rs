//! Copies claims of a JWT to request headers, after verifying it.
//!
//! ```json
//! {
//!   "issuers": [{
//!     "issuer": "https://issuer.example.org",
//!     "audiences": ["shop"],
//!     "keys": [{ "kid": "k1", "alg": "RS256", "pem": "-----BEGIN PUBLIC KEY-----\n…" }]
//!   }],
//!   "claims": [
//!     { "claim": "sub", "header": "x-user" },
//!     { "claim": "realm_access.roles", "header": "x-roles" }
//!   ]
//! }
//! ```
//!
//! Headers named under `claims` are removed from every request first: what is there behind this
//! filter came from a token. A token that is there and is not good is always refused; a request
//! without a token goes on unless `required` is set. The proxy checks signatures (its foreign
//! function `verify_signature`), so the guest holds no cryptography.
//! `docs/guide/filters/jwt-claims-to-headers.md` describes every field.

mod claims;
#[cfg(target_family = "wasm")]
mod guest;
mod key;
#[cfg(test)]
mod tests;
mod token;

use kit::config::{Field, Object, Result, parse};
use kit::{Side, Stream, query};

use claims::Claim;
pub use key::{Algorithm, Check, Key};
use token::Token;

/// What the filter does.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the configuration"
)]
#[derive(Clone, Debug)]
pub struct Config {
    place: Place,
    issuers: Vec<Issuer>,
    trusted: bool,
    claims: Vec<Claim>,
    required: bool,
    forward: bool,
    skew: u32,
    require_expiry: bool,
}

#[derive(Clone, Debug)]
enum Place {
    Header { name: String, scheme: String },
    Query(String),
    Cookie(String),
}

/// Whose tokens are good, for whom, and by which keys.
#[derive(Clone, Debug)]
struct Issuer {
    name: String,
    audiences: Vec<String>,
    keys: Vec<Key>,
}

/// Why a request does not go through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denied(pub &'static str);

/// Says whether a signature is good; `Err` when that cannot be found out.
pub type Verify<'a> = &'a dyn Fn(&Check<'_>) -> std::result::Result<bool, String>;

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The field that is wrong and what is allowed there.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = parse(bytes)?;
        let mut root = Object::root(&json)?;
        let trusted = root.get_or("signature", false, |field| {
            field.one_of(&[("verify", false), ("trust", true)])
        })?;
        let config = Self {
            place: root.get_or("from", Place::default(), Place::read)?,
            issuers: root.each("issuers", |field| Issuer::read(field, trusted))?,
            claims: root.each("claims", Claim::read)?,
            required: root.get_or("required", false, Field::flag)?,
            forward: root.get_or("forwardToken", true, Field::flag)?,
            skew: root.get_or("skewSeconds", 60, |field| field.whole(0, 300))?,
            require_expiry: root.get_or("requireExpiry", true, Field::flag)?,
            trusted,
        };
        if config.issuers.is_empty() {
            return Err(
                "`issuers` is empty or absent; allowed is a list of at least one issuer".to_owned(),
            );
        }
        if config.claims.is_empty() && !config.required {
            return Err("`claims` is empty or absent; allowed is a list of at least one claim, or `required: true`".to_owned());
        }
        root.finish()?;
        Ok(config)
    }

    /// Says what it is going to do.
    pub fn summary(&self) -> String {
        let how = if self.trusted {
            "trusts tokens that were"
        } else {
            "verifies tokens to be"
        };
        let (issuers, claims) = (self.issuers.len(), self.claims.len());
        format!("{how} of {issuers} issuers, copies {claims} claims")
    }

    /// Removes what callers must not say themselves, and writes what their token says.
    ///
    /// # Errors
    /// When the request does not go through.
    pub fn apply(
        &self,
        stream: &dyn Stream,
        verify: Verify<'_>,
    ) -> std::result::Result<(), Denied> {
        for claim in &self.claims {
            stream.remove(Side::Request, &claim.header);
            if let Some(name) = kit::header::with_underscores(&claim.header) {
                stream.remove(Side::Request, &name);
            }
        }
        let found = self.place.find(stream);
        let raw = match found.as_slice() {
            [] if self.required => return Err(Denied("there is no token")),
            [] => return Ok(()),
            [raw] => raw,
            _ => return Err(Denied("there is more than one token")),
        };
        let token = Token::parse(raw).map_err(Denied)?;
        let issuer = self.check(&token, stream.now() / 1_000_000_000)?;
        if !self.trusted {
            issuer.verify(&token, verify)?;
        }
        for claim in &self.claims {
            match claim.value(&token.payload) {
                Some(value) => stream.set(Side::Request, &claim.header, value.as_bytes()),
                None if claim.required => {
                    return Err(Denied(
                        "a required claim is absent or no header can hold it",
                    ));
                }
                None => {}
            }
        }
        if !self.forward {
            self.place.strip(stream);
        }
        Ok(())
    }

    /// Checks what the token says about itself, and returns its issuer.
    fn check(&self, token: &Token<'_>, now: u64) -> std::result::Result<&Issuer, Denied> {
        let issuer = token
            .text("iss")
            .ok_or(Denied("the token names no issuer"))?;
        let found = self.issuers.iter().find(|known| known.name == issuer);
        let issuer = found.ok_or(Denied("the token's issuer is not configured"))?;
        if !issuer.audiences.is_empty() && !token.is_for(&issuer.audiences) {
            return Err(Denied("the token is for somebody else"));
        }
        let time = |name| token.time(name).map_err(Denied);
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 are far below 2^53"
        )]
        let (now, skew) = (now as f64, f64::from(self.skew));
        match time("exp")? {
            Some(exp) if now >= exp + skew => return Err(Denied("the token has expired")),
            None if self.require_expiry => {
                return Err(Denied("the token does not say when it expires"));
            }
            _ => {}
        }
        if time("nbf")?.is_some_and(|nbf| now < nbf - skew) {
            return Err(Denied("the token is not valid yet"));
        }
        if time("iat")?.is_some_and(|iat| now < iat - skew) {
            return Err(Denied("the token was issued in the future"));
        }
        Ok(issuer)
    }
}

impl Issuer {
    fn read(field: &Field<'_>, trusted: bool) -> Result<Self> {
        let mut object = field.object()?;
        let issuer = Self {
            name: object.need("issuer")?.some_text()?.to_owned(),
            audiences: object.each("audiences", |field| field.some_text().map(str::to_owned))?,
            keys: object.each("keys", Key::read)?,
        };
        let keys = object.path_of("keys");
        if trusted && !issuer.keys.is_empty() {
            return Err(format!(
                "`{keys}` is beside `signature: \"trust\"`, which checks no signature; allowed is one of them"
            ));
        }
        if !trusted && issuer.keys.is_empty() {
            return Err(format!(
                "`{keys}` is empty or absent; allowed is a list of at least one key"
            ));
        }
        object.finish()?;
        Ok(issuer)
    }

    /// Checks the signature with the key the token names, or with each that fits.
    fn verify(&self, token: &Token<'_>, verify: Verify<'_>) -> std::result::Result<(), Denied> {
        let fitting = self.keys.iter().filter(|key| {
            let named = token
                .kid
                .as_ref()
                .is_none_or(|kid| key.kid.as_ref() == Some(kid));
            key.algorithm.name() == token.algorithm && named
        });
        for key in fitting {
            let Some(signature) = key.algorithm.signature(&token.signature) else {
                continue;
            };
            let check = Check {
                hash: key.algorithm.hash(),
                key: &key.der,
                signature: &signature,
                text: token.signed,
            };
            match verify(&check) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) => return Err(Denied("the proxy could not check the signature")),
            }
        }
        Err(Denied("no key of the issuer made the token's signature"))
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Header {
            name: "authorization".to_owned(),
            scheme: "Bearer".to_owned(),
        }
    }
}

impl Place {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let (header, query, cookie) = (
            object.get("header"),
            object.get("query"),
            object.get("cookie"),
        );
        let place = match (header, query, cookie) {
            (Some(header), None, None) => Self::Header {
                name: header.header_name()?,
                scheme: object.get_or("scheme", "", Field::header_value)?.to_owned(),
            },
            (None, Some(query), None) => Self::Query(query.some_text()?.to_owned()),
            (None, None, Some(cookie)) => {
                cookie.header_name()?;
                Self::Cookie(cookie.text()?.to_owned())
            }
            _ => return Err(field.wrong("an object with one of header, query, cookie")),
        };
        object.finish()?;
        Ok(place)
    }

    /// Returns the tokens that stand here. A header of another scheme holds none.
    fn find(&self, stream: &dyn Stream) -> Vec<Vec<u8>> {
        match self {
            Self::Header { name, scheme } => {
                let values = stream.values(Side::Request, name);
                // A second header, whatever is in it: another reader may take that one.
                if values.len() > 1 {
                    return values;
                }
                values
                    .iter()
                    .filter_map(|value| after_scheme(value, scheme))
                    .collect()
            }
            Self::Query(name) => {
                let target = stream.target();
                query::split(&target)
                    .1
                    .map_or_else(Vec::new, |query| query::values(query, name))
            }
            Self::Cookie(name) => {
                let headers = stream.values(Side::Request, "cookie");
                let found = headers
                    .iter()
                    .flat_map(|header| query::cookies(header, name));
                found.map(<[u8]>::to_vec).collect()
            }
        }
    }

    fn strip(&self, stream: &dyn Stream) {
        match self {
            Self::Header { name, .. } => stream.remove(Side::Request, name),
            Self::Query(name) => {
                if let Some(target) = query::without(&stream.target(), name) {
                    stream.set(Side::Request, ":path", &target);
                }
            }
            Self::Cookie(name) => {
                let headers = stream.values(Side::Request, "cookie");
                stream.remove(Side::Request, "cookie");
                for header in headers {
                    let left = query::without_cookie(&header, name).unwrap_or(header);
                    if !left.is_empty() {
                        stream.add(Side::Request, "cookie", &left);
                    }
                }
            }
        }
    }
}

/// Returns what follows the scheme, whose case does not matter, and one space.
fn after_scheme(value: &[u8], scheme: &str) -> Option<Vec<u8>> {
    if scheme.is_empty() {
        return Some(value.to_vec());
    }
    let (word, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    word.eq_ignore_ascii_case(scheme.as_bytes())
        .then(|| rest.to_vec())
}
