//! Signatures, with keys made here.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::KeyPair as _;

use super::*;

/// A private and a public key.
struct Pair {
    private: Vec<u8>,
    public: Vec<u8>,
}

fn rsa() -> Pair {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        private: private.as_ref().to_vec(),
        public: public.as_ref().to_vec(),
    }
}

fn ecdsa(algorithm: &'static lc::EcdsaSigningAlgorithm) -> Pair {
    let pair = lc::EcdsaKeyPair::generate(algorithm).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        private: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        public: public.as_ref().to_vec(),
    }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
    .into_bytes()
}

fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, bytes) in fields {
        message::write(&mut out, *number, Field::Bytes(bytes));
    }
    out
}

/// The signature, or why there is none.
fn signed(fields: &[(u8, &[u8])]) -> std::result::Result<Vec<u8>, String> {
    let out = sign(&message(fields)).unwrap();
    let fields = message::read(&out).unwrap();
    if message::number(&fields, 1) == 1 {
        Ok(message::bytes(&fields, 2).to_vec())
    } else {
        Err(message::text(&fields, 3).unwrap().to_owned())
    }
}

/// Nothing, or why it does not verify.
fn verified(fields: &[(u8, &[u8])]) -> std::result::Result<(), String> {
    let out = verify_signature(&message(fields)).unwrap();
    let fields = message::read(&out).unwrap();
    if message::number(&fields, 1) == 1 {
        Ok(())
    } else {
        Err(message::text(&fields, 2).unwrap().to_owned())
    }
}

const TEXT: &[u8] = b"what is signed";

#[test]
fn what_was_signed_verifies_and_nothing_else_does() {
    let (p256, p384, p521) = (
        ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING),
        ecdsa(&lc::ECDSA_P384_SHA384_ASN1_SIGNING),
        ecdsa(&lc::ECDSA_P521_SHA512_ASN1_SIGNING),
    );
    let rsa = rsa();
    let cases: [(&Pair, &[&str]); 4] = [
        (&rsa, &["sha256", "sha384", "sha512"]),
        (&p256, &["sha256"]),
        (&p384, &["sha384"]),
        (&p521, &["sha224", "sha256", "sha384", "sha512"]),
    ];
    for (pair, hashes) in cases {
        for hash in hashes {
            let hash = hash.as_bytes();
            let signature = signed(&[(1, hash), (2, &pair.private), (3, TEXT)]).unwrap();
            let private = pem("PRIVATE KEY", &pair.private);
            let by_pem = signed(&[(1, hash), (4, &private), (3, TEXT)]).unwrap();
            let public = pem("PUBLIC KEY", &pair.public);
            verified(&[(1, hash), (2, &pair.public), (3, &signature), (4, TEXT)]).unwrap();
            verified(&[(1, hash), (5, &public), (3, &by_pem), (4, TEXT)]).unwrap();
            for (signature, text) in [(&signature[..], &b"else"[..]), (b"", TEXT), (b"x", TEXT)] {
                let why = verified(&[(1, hash), (2, &pair.public), (3, signature), (4, text)]);
                assert_eq!(why, Err("the signature does not match".to_owned()));
            }
        }
    }
}

#[test]
fn a_key_is_given_once_and_only_once() {
    for sign_key in [&[][..], &[(2, &b"der"[..]), (4, b"pem")]] {
        assert_eq!(sign(&message(sign_key)), Err(ForeignError::BadArgument));
    }
    for verify_key in [&[][..], &[(2, &b"der"[..]), (5, b"pem")]] {
        assert_eq!(
            verify_signature(&message(verify_key)),
            Err(ForeignError::BadArgument)
        );
    }
    assert_eq!(sign(b"\x0a"), Err(ForeignError::BadArgument));
    assert_eq!(verify_signature(b"\x0a"), Err(ForeignError::BadArgument));
}

#[test]
fn what_cannot_be_done_is_told_in_the_result() {
    let pair = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING);
    let sign = |hash: &[u8], key: &[u8]| signed(&[(1, hash), (2, key), (3, TEXT)]).unwrap_err();
    assert_eq!(
        sign(b"md5", &pair.private),
        "the hash function is not known"
    );
    let unsuitable = "the private key cannot be read, or the hash function does not go with it";
    assert_eq!(sign(b"sha1", &pair.private), unsuitable);
    assert_eq!(sign(b"sha256", b"no key"), unsuitable);
    assert_eq!(sign(b"sha256", &[0; 5000]), "the key is too large");
    let verify = |field, key: &[u8]| verified(&[(1, b"sha256"), (field, key)]).unwrap_err();
    assert_eq!(
        verify(2, b"no key"),
        "the public key cannot be read, or the hash function does not go with it"
    );
    assert_eq!(verify(5, b"no key"), "the key is not PEM");
    assert_eq!(
        verify(5, b"-----BEGIN X-----!-----END X-----"),
        "the key is not PEM"
    );
    assert_eq!(verify(5, &[b'-'; 9000]), "the key is too large");
    assert_eq!(verify(2, &[0; 5000]), "the key is too large");
}

#[test]
fn signatures_over_sha1_still_verify() {
    // Made with another library: RSA 2048, PKCS #1 v1.5, SHA-1, over `TEXT`.
    let public = include_bytes!("sha1-key.der");
    let signature = include_bytes!("sha1-signature.bin");
    verified(&[(1, b"SHA1"), (2, public), (3, signature), (4, TEXT)]).unwrap();
}
