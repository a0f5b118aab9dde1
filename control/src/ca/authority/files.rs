//! An authority's folder, laid out as Istio's `cacerts`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::key::SigningKey;
use super::{Authority, AuthorityError, Validity, serial, set_validity};
use crate::ca::storage;

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOTS: &str = "root-cert.pem";

/// Lifetime of a root we make ourselves.
const ROOT_LIFETIME: Duration = Duration::from_hours(24 * 3652);

/// Reads an authority and makes sure that what it signs will be believed.
pub(super) fn load(folder: &Path, validity: Validity) -> Result<Authority, AuthorityError> {
    let certificate_path = folder.join(CERTIFICATE);
    let content = |path: &Path, reason: String| AuthorityError::Content {
        path: path.to_owned(),
        reason,
    };
    let certificates = read_certificates(&certificate_path)?;
    let [(_, certificate)] = certificates.as_slice() else {
        let reason = format!(
            "it has {} certificates, and one is wanted",
            certificates.len()
        );
        return Err(content(&certificate_path, reason));
    };
    let key_path = folder.join(KEY);
    let pair = Zeroizing::new(read(&key_path)?);
    let pair = KeyPair::from_pem(&pair)
        .map_err(|error| content(&key_path, format!("it is no private key ({error})")))?;
    let not_after = check_issuer(certificate, &pair)
        .map_err(|reason| content(&certificate_path, reason.to_owned()))?;
    let issuer = Issuer::from_ca_cert_der(certificate, SigningKey::new(pair))
        .map_err(|error| content(&certificate_path, error.to_string()))?;

    let roots_path = folder.join(ROOTS);
    let roots = read_certificates(&roots_path)?;
    if roots.is_empty() {
        return Err(content(&roots_path, "it has no certificate".to_owned()));
    }
    let chain_path = folder.join(CHAIN);
    let chain = if chain_path.exists() {
        read_certificates(&chain_path)?
    } else {
        Vec::new()
    };
    // The chain as people write it may begin with the issuer and end with the root, or not.
    let mut intermediates = certificates;
    intermediates.extend(chain);
    intermediates.dedup();
    intermediates.retain(|(_, der)| !roots.iter().any(|(_, root)| root == der));

    let authority = Authority {
        issuer,
        not_after,
        intermediates,
        roots: roots.iter().map(|(pem, _)| pem.as_str()).collect(),
        validity,
    };
    let roots = roots.iter().map(|(_, der)| der.clone());
    prove(&authority, roots).map_err(|reason| AuthorityError::Unbelievable {
        path: folder.to_owned(),
        reason,
    })?;
    Ok(authority)
}

/// Makes a root, unless there is an authority in the folder already.
pub(super) fn create_if_absent(folder: &Path, trust_domain: &str) -> Result<(), AuthorityError> {
    // The certificate is written last: without it, an earlier attempt was cut short.
    if folder.join(CERTIFICATE).exists() {
        return Ok(());
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, trust_domain);
    let now = SystemTime::now();
    set_validity(&mut params, now, now + ROOT_LIFETIME);
    params.serial_number = serial().ok();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
    let root = params.self_signed(&pair)?.pem();
    let key = Zeroizing::new(pair.serialize_pem());
    drop(SigningKey::new(pair));

    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| AuthorityError::File { path, source }
    };
    storage::create_folder(folder).map_err(file(folder))?;
    for (name, mode, text) in [
        (KEY, storage::PRIVATE, key.as_str()),
        (ROOTS, storage::PUBLIC, &root),
        (CERTIFICATE, storage::PUBLIC, &root),
    ] {
        let path = folder.join(name);
        storage::write(&path, mode, text).map_err(file(&path))?;
    }
    tracing::info!(folder = %folder.display(), trust_domain, "root certificate made");
    Ok(())
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        source,
    })
}

/// The certificates of a file, each as PEM of its own and as DER.
fn read_certificates(
    path: &Path,
) -> Result<Vec<(String, CertificateDer<'static>)>, AuthorityError> {
    let text = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = read.map_err(|error| AuthorityError::Content {
        path: path.to_owned(),
        reason: format!("it is not PEM ({error:?})"),
    })?;
    Ok(certificates
        .into_iter()
        .map(|der| (identity::pem::write(&der), der))
        .collect())
}

/// Checks that a certificate may sign and belongs to the key; returns its end.
fn check_issuer(
    certificate: &CertificateDer<'_>,
    pair: &KeyPair,
) -> Result<SystemTime, &'static str> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| "it is no X.509 certificate")?;
    if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(pair) {
        return Err("it belongs to another key than ca-key.pem");
    }
    if !parsed.is_ca() {
        return Err("it is not the certificate of an authority");
    }
    let usage = parsed
        .key_usage()
        .map_err(|_| "its key usage cannot be read")?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its key usage does not allow signing certificates");
    }
    u64::try_from(parsed.validity().not_after.timestamp())
        .ok()
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .ok_or("its validity cannot be read")
}

/// Signs a certificate and verifies it as a peer would.
fn prove(
    authority: &Authority,
    roots: impl Iterator<Item = CertificateDer<'static>>,
) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(|error| error.to_string())?;
    }
    let sample = authority
        .sign_server(&["localhost".to_owned()])
        .map_err(|error| error.to_string())?;
    let (leaf, intermediates) = sample.chain.split_first().ok_or("nothing was signed")?;
    let algorithms = identity::crypto::provider()
        .signature_verification_algorithms
        .all;
    let verified = ParsedCertificate::try_from(leaf).and_then(|leaf| {
        let now = UnixTime::now();
        verify_server_cert_signed_by_trust_anchor(&leaf, &store, intermediates, now, algorithms)
    });
    verified.map_err(|error| error.to_string())
}
