//! The private key of a workload.
//!
//! It is made here and stays in aws-lc's memory, which wipes it when the last handle goes. There
//! is no way to read it back, so it cannot be written anywhere.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use mesh::spiffe::SpiffeId;
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData, SanType};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use crate::Error;

#[cfg(test)]
mod tests;

/// An ECDSA P-256 key. Cloning shares it; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKey(Arc<EcdsaKeyPair>);

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`Error::Key`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, Error> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|_| Error::Key)
    }

    /// Writes a PEM signing request for `id`: no subject, one critical URI SAN.
    ///
    /// # Errors
    /// [`Error::Request`] when the request cannot be encoded or signed.
    pub fn signing_request(&self, id: &SpiffeId) -> Result<String, Error> {
        let request = || {
            let mut params = CertificateParams::default();
            // Without a subject the SAN names the bearer, and is therefore written as critical.
            params.distinguished_name = DistinguishedName::new();
            params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
            params.serialize_request(self)?.pem()
        };
        request().map_err(|source| Error::Request {
            id: id.clone(),
            source,
        })
    }

    /// Joins the key with the chain that certifies it, in the form rustls presents.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when the first certificate certifies another key.
    pub fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<rustls::sign::CertifiedKey>, Error> {
        let certified = rustls::sign::CertifiedKey::new(chain, Arc::new(self.clone()));
        certified
            .keys_match()
            .map_err(|source| Error::KeyMismatch { source })?;
        Ok(Arc::new(certified))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(<redacted>)")
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        sign(&self.0, message).ok_or(rcgen::Error::RingUnspecified)
    }
}

impl SigningKey for PrivateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(P256Signer(self.clone())) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.subject_public_key_info().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

/// Signs handshakes with the one scheme the key supports.
#[derive(Debug)]
struct P256Signer(PrivateKey);

impl Signer for P256Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        sign(&self.0.0, message).ok_or_else(|| rustls::Error::General("signing failed".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

fn sign(pair: &EcdsaKeyPair, message: &[u8]) -> Option<Vec<u8>> {
    pair.sign(&SystemRandom::new(), message)
        .ok()
        .map(|signature| signature.as_ref().to_vec())
}
