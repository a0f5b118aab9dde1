//! Signing requests: bytes from outside, of which only a proven key is taken.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

#[cfg(test)]
mod tests;

/// A request for an RSA-4096 key has 2 KiB.
const MAX_PEM: usize = 16 << 10;
/// Sizes of RSA keys that are signed; verifying with a larger one costs others too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Sizes of ECDSA keys that are signed: P-256 and P-384.
const EC_BITS: [usize; 2] = [256, 384];

/// Why a signing request cannot be granted.
#[derive(Debug, thiserror::Error)]
pub enum Unsignable {
    /// It is not a request.
    #[error("the request cannot be read: {0}")]
    Malformed(&'static str),
    /// The caller does not hold the key.
    #[error("the request is not signed by the key it is for")]
    NoPossession,
    /// The key is too weak or of a kind peers do not speak.
    #[error("the key is {0}; use ECDSA P-256 or P-384, or RSA of 2048 to 4096 bits")]
    UnfitKey(&'static str),
    /// The issuer cannot sign any more.
    #[error("the certificate of the authority has expired or is about to")]
    IssuerExpired,
    /// Our own fault.
    #[error("the certificate could not be written")]
    Encoding(#[from] rcgen::Error),
    /// No serial number could be drawn.
    #[error("the system gave no randomness")]
    NoRandomness,
}

/// A public key whose holder made the request.
#[derive(Debug)]
pub(crate) struct ProvenKey {
    pub(super) public: SubjectPublicKeyInfo,
    pub(super) is_rsa: bool,
}

/// Takes the key out of a PEM request after checking that the caller holds it.
pub(crate) fn proven_key(pem: &str) -> Result<ProvenKey, Unsignable> {
    if pem.len() > MAX_PEM {
        return Err(Unsignable::Malformed("it is too long"));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| Unsignable::Malformed("it is not a PEM certificate request"))?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|_| Unsignable::Malformed("it is not a PKCS #10 request"))?;
    if !rest.is_empty() {
        return Err(Unsignable::Malformed("bytes follow the request"));
    }
    let key = &request.certification_request_info.subject_pki;
    let is_rsa = match key.parsed() {
        Ok(PublicKey::EC(point)) if EC_BITS.contains(&point.key_size()) => false,
        Ok(PublicKey::RSA(rsa)) if RSA_BITS.contains(&rsa.key_size()) => true,
        Ok(PublicKey::EC(_)) => return Err(Unsignable::UnfitKey("on another curve")),
        Ok(PublicKey::RSA(_)) => return Err(Unsignable::UnfitKey("RSA of another size")),
        Ok(_) => return Err(Unsignable::UnfitKey("of another kind")),
        Err(_) => return Err(Unsignable::Malformed("its key cannot be read")),
    };
    request
        .verify_signature()
        .map_err(|_| Unsignable::NoPossession)?;
    let public = SubjectPublicKeyInfo::from_der(key.raw)
        .map_err(|_| Unsignable::UnfitKey("of another kind"))?;
    Ok(ProvenKey { public, is_rsa })
}
