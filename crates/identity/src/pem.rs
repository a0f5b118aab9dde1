//! Certificates as text: the form in which authorities, files and the config dump hold them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};

/// Characters per line of a PEM body (RFC 7468 §2).
const LINE: usize = 64;

/// Reads every certificate of `text`, ignoring other sections.
///
/// # Errors
/// When a section is cut short or is not base64.
pub fn read(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text).collect()
}

/// Writes a certificate as PEM.
pub fn write(certificate: &CertificateDer<'_>) -> String {
    let body = STANDARD.encode(certificate);
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 56);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
