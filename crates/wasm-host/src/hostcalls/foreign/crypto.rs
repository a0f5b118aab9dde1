//! Signatures: RSA (PKCS #1 v1.5) and ECDSA on the curves of NIST, over SHA-1 to SHA-512.
//!
//! Keys come as DER or PEM: `SubjectPublicKeyInfo` or `RSAPublicKey`; PKCS #8,
//! `RSAPrivateKey` or `ECPrivateKey`. Not every hash goes with every key; what the library does not offer is told in
//! the result's error, as is a signature that does not match.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature as lc;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Result;
use super::message::{self, Field};
use crate::embed::ForeignError;

/// Larger keys take longer than a worker should wait; an RSA key of 4096 bits has 2.4 KiB.
const LARGEST_KEY: usize = 4 << 10;

/// What a signature comes to; the text says why not.
type Outcome<T> = std::result::Result<T, &'static str>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn named(name: &str) -> Outcome<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => return Err("the hash function is not known"),
        })
    }

    fn verifiers(self) -> &'static [&'static dyn lc::VerificationAlgorithm] {
        match self {
            Self::Sha1 => &[
                &lc::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                &lc::ECDSA_P256_SHA1_ASN1,
                &lc::ECDSA_P521_SHA1_ASN1,
            ],
            Self::Sha224 => &[&lc::ECDSA_P521_SHA224_ASN1],
            Self::Sha256 => &[
                &lc::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                &lc::ECDSA_P256_SHA256_ASN1,
                &lc::ECDSA_P384_SHA256_ASN1,
                &lc::ECDSA_P521_SHA256_ASN1,
            ],
            Self::Sha384 => &[
                &lc::RSA_PKCS1_2048_8192_SHA384,
                &lc::ECDSA_P256_SHA384_ASN1,
                &lc::ECDSA_P384_SHA384_ASN1,
                &lc::ECDSA_P521_SHA384_ASN1,
            ],
            Self::Sha512 => &[
                &lc::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                &lc::ECDSA_P256_SHA512_ASN1,
                &lc::ECDSA_P384_SHA512_ASN1,
                &lc::ECDSA_P521_SHA512_ASN1,
            ],
        }
    }

    fn rsa(self) -> Option<&'static dyn lc::RsaEncoding> {
        Some(match self {
            Self::Sha256 => &lc::RSA_PKCS1_SHA256,
            Self::Sha384 => &lc::RSA_PKCS1_SHA384,
            Self::Sha512 => &lc::RSA_PKCS1_SHA512,
            Self::Sha1 | Self::Sha224 => return None,
        })
    }

    fn signers(self) -> &'static [&'static lc::EcdsaSigningAlgorithm] {
        match self {
            Self::Sha1 => &[],
            Self::Sha224 => &[&lc::ECDSA_P521_SHA224_ASN1_SIGNING],
            Self::Sha256 => &[
                &lc::ECDSA_P256_SHA256_ASN1_SIGNING,
                &lc::ECDSA_P521_SHA256_ASN1_SIGNING,
            ],
            Self::Sha384 => &[
                &lc::ECDSA_P384_SHA384_ASN1_SIGNING,
                &lc::ECDSA_P521_SHA384_ASN1_SIGNING,
            ],
            Self::Sha512 => &[&lc::ECDSA_P521_SHA512_ASN1_SIGNING],
        }
    }
}

/// `{1 hash_function, 2 public_key, 3 signature, 4 text, 5 public_key_pem}` becomes
/// `{1 result, 2 error}`.
pub(super) fn verify_signature(args: &[u8]) -> Result {
    let fields = message::read(args).ok_or(ForeignError::BadArgument)?;
    let key = key(message::bytes(&fields, 2), message::bytes(&fields, 5))?;
    let (signature, text) = (message::bytes(&fields, 3), message::bytes(&fields, 4));
    let hash = message::text(&fields, 1).unwrap_or_default();
    let outcome = key.and_then(|key| verify(hash, &key, signature, text));
    let mut out = Vec::new();
    match outcome {
        Ok(()) => message::write(&mut out, 1, Field::Number(1)),
        Err(why) => message::write(&mut out, 2, Field::Bytes(why.as_bytes())),
    }
    Ok(out)
}

/// `{1 hash_function, 2 private_key, 3 text, 4 private_key_pem}` becomes
/// `{1 result, 2 signature, 3 error}`.
pub(super) fn sign(args: &[u8]) -> Result {
    let fields = message::read(args).ok_or(ForeignError::BadArgument)?;
    let key = key(message::bytes(&fields, 2), message::bytes(&fields, 4))?;
    let text = message::bytes(&fields, 3);
    let hash = message::text(&fields, 1).unwrap_or_default();
    let outcome = key.and_then(|key| sign_with(hash, &key, text));
    let mut out = Vec::new();
    match outcome {
        Ok(signature) => {
            message::write(&mut out, 1, Field::Number(1));
            message::write(&mut out, 2, Field::Bytes(&signature));
        }
        Err(why) => message::write(&mut out, 3, Field::Bytes(why.as_bytes())),
    }
    Ok(out)
}

fn verify(hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Outcome<()> {
    let hash = Hash::named(hash)?;
    let mut parsed = hash
        .verifiers()
        .iter()
        .filter_map(|algorithm| lc::ParsedPublicKey::new(*algorithm, key).ok());
    let key = parsed
        .next()
        .ok_or("the public key cannot be read, or the hash function does not go with it")?;
    key.verify_sig(text, signature)
        .map_err(|_| "the signature does not match")
}

fn sign_with(hash: &str, key: &[u8], text: &[u8]) -> Outcome<Vec<u8>> {
    const UNSUITABLE: &str =
        "the private key cannot be read, or the hash function does not go with it";
    let hash = Hash::named(hash)?;
    let random = SystemRandom::new();
    let ecdsa = hash.signers().iter().find_map(|algorithm| {
        lc::EcdsaKeyPair::from_pkcs8(algorithm, key)
            .or_else(|_| lc::EcdsaKeyPair::from_private_key_der(algorithm, key))
            .ok()
    });
    if let Some(pair) = ecdsa {
        let signature = pair.sign(&random, text).map_err(|_| "signing failed")?;
        return Ok(signature.as_ref().to_vec());
    }
    let encoding = hash.rsa().ok_or(UNSUITABLE)?;
    let pair = RsaKeyPair::from_pkcs8(key)
        .or_else(|_| RsaKeyPair::from_der(key))
        .map_err(|_| UNSUITABLE)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &random, text, &mut signature)
        .map_err(|_| "signing failed")?;
    Ok(signature)
}

/// Returns the key as DER. Both forms at once, or none, is an error of the call.
fn key(der: &[u8], pem: &[u8]) -> std::result::Result<Outcome<Vec<u8>>, ForeignError> {
    let key = match (der, pem) {
        ([], []) => return Err(ForeignError::BadArgument),
        (der, []) => Ok(der.to_vec()),
        ([], pem) if pem.len() > 2 * LARGEST_KEY => Err("the key is too large"),
        ([], pem) => decode(pem).ok_or("the key is not PEM"),
        _ => return Err(ForeignError::BadArgument),
    };
    Ok(key.and_then(|key| {
        if key.len() > LARGEST_KEY {
            Err("the key is too large")
        } else {
            Ok(key)
        }
    }))
}

/// Returns what the first block of a PEM text holds (RFC 7468).
fn decode(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests;
