//! Keys and signatures, in the forms the proxy takes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::config::{Field, Result};

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// How a token is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
    /// RSA with SHA-384.
    Rs384,
    /// RSA with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

/// A public key.
#[derive(Clone, Debug)]
pub struct Key {
    pub(crate) kid: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) der: Vec<u8>,
}

/// A signature to be checked by the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The name of the hash.
    pub hash: &'static str,
    /// The key, a `SubjectPublicKeyInfo` in DER.
    pub key: &'a [u8],
    /// The signature; of ECDSA, in DER.
    pub signature: &'a [u8],
    /// What was signed.
    pub text: &'a [u8],
}

impl Algorithm {
    const ALL: [Self; 5] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Es256,
        Self::Es384,
    ];

    /// Returns its name in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    /// Returns the name of its hash.
    pub fn hash(self) -> &'static str {
        match self {
            Self::Rs256 | Self::Es256 => "sha256",
            Self::Rs384 | Self::Es384 => "sha384",
            Self::Rs512 => "sha512",
        }
    }

    /// Returns the signature of a token as the proxy takes it; `None` if it has a wrong length.
    pub(crate) fn signature(self, raw: &[u8]) -> Option<Vec<u8>> {
        let half = match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 => return Some(raw.to_vec()),
            Self::Es256 => 32,
            Self::Es384 => 48,
        };
        let (r, s) = raw
            .split_at_checked(half)
            .filter(|(_, s)| s.len() == half)?;
        let mut both = integer(r);
        both.extend_from_slice(&integer(s));
        let mut der = vec![0x30, u8::try_from(both.len()).ok()?];
        der.append(&mut both);
        Some(der)
    }

    /// Says what is wrong with a key for this algorithm.
    fn objection(self, der: &[u8]) -> Option<&'static str> {
        let has = |oid: &[u8]| {
            der.get(..40)
                .unwrap_or(der)
                .windows(oid.len())
                .any(|window| window == oid)
        };
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 if !has(RSA) => {
                Some("an RSA key for this `alg`")
            }
            // 2048 bits and what stands around them; 8192.
            Self::Rs256 | Self::Rs384 | Self::Rs512 if !(290..=1100).contains(&der.len()) => {
                Some("an RSA key of 2048 to 8192 bits")
            }
            Self::Es256 if !has(P256) => Some("a P-256 key for this `alg`"),
            Self::Es384 if !has(P384) => Some("a P-384 key for this `alg`"),
            _ => None,
        }
    }
}

/// Writes an unsigned integer in DER, whose first bit is a sign.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes
        .iter()
        .position(|b| *b != 0)
        .unwrap_or(bytes.len().saturating_sub(1));
    let digits = bytes.get(start..).unwrap_or_default();
    let pad = digits.first().is_none_or(|b| b & 0x80 != 0);
    let length = digits.len() + usize::from(pad);
    let mut der = vec![2, u8::try_from(length).unwrap_or(0)];
    if pad {
        der.push(0);
    }
    der.extend_from_slice(digits);
    der
}

impl Key {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let words = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
        let algorithm = object.need("alg")?.one_of(&words)?;
        let kid = object
            .get("kid")
            .map(|field| field.some_text().map(str::to_owned))
            .transpose()?;
        let pem = object.need("pem")?;
        let text = pem.text()?;
        if text.contains("PRIVATE KEY") {
            return Err(
                pem.wrong_secret("a public key; this is a private one and should be replaced")
            );
        }
        let der = decode(text).ok_or_else(|| {
            pem.wrong(
                "a public key between -----BEGIN PUBLIC KEY----- and -----END PUBLIC KEY-----",
            )
        })?;
        if let Some(allowed) = algorithm.objection(&der) {
            return Err(pem.wrong(allowed));
        }
        object.finish()?;
        Ok(Self {
            kid,
            algorithm,
            der,
        })
    }
}

fn decode(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD
        .decode(body)
        .ok()
        .filter(|der| der.first() == Some(&0x30))
}

impl Check<'_> {
    /// Writes the arguments of the proxy's function `verify_signature`: a protobuf message of
    /// {1 hash function, 2 key in DER, 3 signature, 4 text}.
    pub fn arguments(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let fields = [self.hash.as_bytes(), self.key, self.signature, self.text];
        for (number, field) in (1..).zip(fields) {
            out.push((number << 3) | 2);
            varint(field.len(), &mut out);
            out.extend_from_slice(field);
        }
        out
    }

    /// Reads the answer: {1 whether it is good, 2 what went wrong}.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn answer(bytes: &[u8]) -> std::result::Result<bool, String> {
        const MALFORMED: &str = "the proxy's answer is malformed";
        let mut rest = bytes;
        let mut good = false;
        while let Some((tag, after)) = rest.split_first() {
            let (value, after) = read_varint(after).ok_or(MALFORMED)?;
            rest = match tag {
                0x08 => {
                    good = value == 1;
                    after
                }
                // The text is for people; whether it is good has been said.
                0x12 => after.get(value..).ok_or(MALFORMED)?,
                _ => return Err(MALFORMED.to_owned()),
            };
        }
        Ok(good)
    }
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_usize;
    for (n, byte) in bytes.iter().enumerate().take(4) {
        number |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(n + 1..)?));
        }
    }
    None
}
