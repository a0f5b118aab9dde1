//! Signs keys.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use identity::PrivateKey;
use mesh::spiffe::SpiffeId;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use super::request::{Unsignable, proven_key};

mod files;
mod key;

#[cfg(test)]
mod tests;

use key::SigningKey;

/// How far a certificate reaches into the past, for peers whose clocks are behind (C-04).
const BACKDATE: Duration = Duration::from_mins(2);
/// The shortest lifetime; less would be renewed all the time.
const MIN_VALIDITY: Duration = Duration::from_mins(10);

/// Lifetimes of workload certificates.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Given to those who ask for none.
    pub default: Duration,
    /// Given to those who ask for more.
    pub max: Duration,
}

impl Default for Validity {
    /// A day, and 90 days at most, as istiod.
    fn default() -> Self {
        Self {
            default: Duration::from_hours(24),
            max: Duration::from_hours(24 * 90),
        }
    }
}

impl Validity {
    /// The lifetime for a request; none, or a negative one, is a wish for the default.
    fn grant(self, seconds: i64) -> Duration {
        match u64::try_from(seconds) {
            Ok(seconds @ 1..) => Duration::from_secs(seconds).min(self.max).max(MIN_VALIDITY),
            _ => self.default,
        }
    }
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("the certificate authority cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("the certificate authority cannot use {path}: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What it signs would not be believed.
    #[error("what the certificate authority in {path} signs does not verify: {reason}")]
    Unbelievable {
        /// The folder.
        path: PathBuf,
        /// As a peer would put it.
        reason: String,
    },
    /// A new root could not be made.
    #[error("no root certificate could be made")]
    Root(#[from] rcgen::Error),
}

/// A key that vouches for others, and how it is itself vouched for.
pub struct Authority {
    issuer: Issuer<'static, SigningKey>,
    /// Leaves never outlive their issuer.
    not_after: SystemTime,
    /// Between leaf and root, as PEM and DER.
    intermediates: Vec<(String, CertificateDer<'static>)>,
    roots: String,
    validity: Validity,
}

/// A certificate for the control plane's own listener.
#[derive(Debug)]
pub struct ServerCertificate {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// What the leaf certifies.
    pub key: PrivateKey,
    /// From when to when it is valid.
    pub valid: (SystemTime, SystemTime),
}

impl Authority {
    /// Takes the authority in `folder`, laid out as Istio's `cacerts`: `ca-cert.pem`,
    /// `ca-key.pem`, `cert-chain.pem` (not needed below a root) and `root-cert.pem`.
    ///
    /// # Errors
    /// Names the file that is missing or wrong; also when what the authority signs would not
    /// verify against the roots.
    pub fn from_folder(folder: &Path, validity: Validity) -> Result<Self, AuthorityError> {
        files::load(folder, validity)
    }

    /// Takes the authority in `folder` or, when there is none, makes a root of `trust_domain`
    /// that lives ten years and puts it there, the key readable by its owner alone.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder); one that is there but broken is never replaced,
    /// for everybody who trusts it would be cut off.
    pub fn self_made(
        folder: &Path,
        trust_domain: &str,
        validity: Validity,
    ) -> Result<Self, AuthorityError> {
        files::create_if_absent(folder, trust_domain)?;
        files::load(folder, validity)
    }

    /// The root bundle, PEM: what proxies check the control plane by.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// Signs the key of a PEM request for `id`, for about `validity_seconds`.
    ///
    /// Returns the leaf, the intermediates one by one, and last all roots as one element.
    ///
    /// # Errors
    /// [`Unsignable`], for whose cause the caller may be told.
    pub fn sign_workload(
        &self,
        request: &str,
        id: &SpiffeId,
        validity_seconds: i64,
    ) -> Result<Vec<String>, Unsignable> {
        let key = proven_key(request)?;
        let mut params = leaf(
            SystemTime::now(),
            self.validity.grant(validity_seconds),
            self,
        )?;
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if key.is_rsa {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        let leaf = params.signed_by(&key.public, &self.issuer)?;
        let intermediates = self.intermediates.iter().map(|(pem, _)| pem.clone());
        Ok(std::iter::once(leaf.pem())
            .chain(intermediates)
            .chain([self.roots.clone()])
            .collect())
    }

    /// Makes a key and certifies it for a server that answers to `names` (DNS names or IPs).
    ///
    /// # Errors
    /// When a name is none, or the system gives no randomness.
    pub fn sign_server(&self, names: &[String]) -> Result<ServerCertificate, Unsignable> {
        let key = PrivateKey::generate().map_err(|_| Unsignable::NoRandomness)?;
        let now = SystemTime::now();
        let mut params = leaf(now, self.validity.default, self)?;
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let not_after = (now + self.validity.default).min(self.not_after);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let intermediates = self.intermediates.iter().map(|(_, der)| der.clone());
        Ok(ServerCertificate {
            chain: std::iter::once(certificate.into())
                .chain(intermediates)
                .collect(),
            key,
            valid: (now, not_after),
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .field("intermediates", &self.intermediates.len())
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// What every leaf has in common (C-04).
fn leaf(
    now: SystemTime,
    validity: Duration,
    authority: &Authority,
) -> Result<CertificateParams, Unsignable> {
    if authority.not_after < now + MIN_VALIDITY {
        return Err(Unsignable::IssuerExpired);
    }
    let mut params = CertificateParams::default();
    // Without a subject the SAN names the bearer, and is therefore written as critical.
    params.distinguished_name = DistinguishedName::new();
    let not_after = (now + validity).min(authority.not_after);
    set_validity(
        &mut params,
        now.checked_sub(BACKDATE).unwrap_or(now),
        not_after,
    );
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Writes a validity into `params`.
fn set_validity(params: &mut CertificateParams, from: SystemTime, to: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch
        + from
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
    params.not_after = epoch
        + to.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
}

/// 128 random bits, so that serial numbers neither repeat nor tell how many there are.
fn serial() -> Result<SerialNumber, Unsignable> {
    let mut bytes = [0; 16];
    identity::crypto::provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Unsignable::NoRandomness)?;
    Ok(SerialNumber::from_slice(&bytes))
}
