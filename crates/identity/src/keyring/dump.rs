//! The `certificates` of `/config_dump`; istioctl parses it, so the key names are fixed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use mesh::spiffe::SpiffeId;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::State;
use crate::pem;

/// One identity and its certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityDump {
    /// Whose.
    pub identity: SpiffeId,
    /// `Initializing`, `Available`, or `Unavailable: ` and why.
    pub state: String,
    /// As presented, leaf first; empty unless available.
    pub cert_chain: Vec<CertificateDump>,
    /// What peers are checked against; empty unless available.
    pub root_certs: Vec<CertificateDump>,
}

/// One certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateDump {
    /// The PEM text, in base64.
    pub pem: String,
    /// Decimal.
    pub serial_number: String,
    /// RFC 3339.
    pub valid_from: String,
    /// RFC 3339.
    pub expiration_time: String,
}

impl IdentityDump {
    pub(super) fn new(identity: SpiffeId, state: &State) -> Self {
        let (chain, roots) = match state {
            State::Available(certified) => (certified.chain(), certified.roots()),
            State::Initializing | State::Unavailable(_) => (&[][..], &[][..]),
        };
        Self {
            identity,
            state: state.to_string(),
            cert_chain: chain.iter().filter_map(certificate).collect(),
            root_certs: roots.iter().filter_map(certificate).collect(),
        }
    }
}

/// `None` for a root that our TLS library reads and the parser does not.
fn certificate(der: &CertificateDer<'_>) -> Option<CertificateDump> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let validity = parsed.validity();
    Some(CertificateDump {
        pem: STANDARD.encode(pem::write(der)),
        serial_number: parsed.tbs_certificate.serial.to_string(),
        valid_from: rfc3339(validity.not_before)?,
        expiration_time: rfc3339(validity.not_after)?,
    })
}

fn rfc3339(time: ASN1Time) -> Option<String> {
    Some(Timestamp::from_second(time.timestamp()).ok()?.to_string())
}
