//! An authority for tests that signs what it is told, right or wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use mesh::Str;
use mesh::spiffe::SpiffeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;

use crate::{Certified, PrivateKey, pem};

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A root that signs leaves.
pub(crate) struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

/// What a leaf says; begin with [`Leaf::of`] and spoil one thing.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) is_ca: bool,
    pub(crate) key_usages: Vec<KeyUsagePurpose>,
    pub(crate) extended: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) common_name: Option<String>,
}

impl Leaf {
    /// A good leaf of `uri`.
    pub(crate) fn of(uri: &str) -> Self {
        let now = SystemTime::now();
        Self {
            uris: vec![uri.to_owned()],
            dns: Vec::new(),
            not_before: now - Duration::from_mins(2),
            not_after: now + 24 * HOUR,
            is_ca: false,
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            extended: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            common_name: None,
        }
    }

    /// A good server of `name`.
    pub(crate) fn server(name: &str) -> Self {
        Self {
            uris: Vec::new(),
            dns: vec![name.to_owned()],
            ..Self::of("unused")
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &self.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let uris = self
            .uris
            .iter()
            .map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let dns = self
            .dns
            .iter()
            .map(|name| SanType::DnsName(name.as_str().try_into().unwrap()));
        params.subject_alt_names = uris.chain(dns).collect();
        set_validity(&mut params, self.not_before, self.not_after);
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.key_usages.clone_from(&self.key_usages);
        params.extended_key_usages.clone_from(&self.extended);
        params
    }
}

fn set_validity(params: &mut CertificateParams, from: SystemTime, to: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + from.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    params.not_after = epoch + to.duration_since(SystemTime::UNIX_EPOCH).unwrap();
}

/// Every authority has a name of its own, as unrelated ones do.
fn ca_params() -> CertificateParams {
    static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(ca_params(), key).unwrap())
    }

    /// An intermediate below this root.
    pub(crate) fn intermediate(&self) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(ca_params(), key, &self.0).unwrap())
    }

    pub(crate) fn root_pem(&self) -> String {
        pem::write(self.0.der())
    }

    pub(crate) fn issue(&self, leaf: &Leaf, key: &impl PublicKeyData) -> CertificateDer<'static> {
        leaf.params().signed_by(key, &self.0).unwrap().into()
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A leaf that vouches for itself.
    pub(crate) fn self_signed(leaf: &Leaf, key: &PrivateKey) -> CertificateDer<'static> {
        leaf.params().self_signed(key).unwrap().into()
    }

    /// A good certificate of `id`.
    pub(crate) fn certify(&self, id: &str) -> Certified {
        self.certify_leaf(&Leaf::of(id), &[])
    }

    /// Like [`certify`](Self::certify), for a mesh whose trust domain has other names, too.
    pub(crate) fn certify_with_aliases(&self, id: &str, aliases: &[Str]) -> Certified {
        self.certify_leaf(&Leaf::of(id), aliases)
    }

    pub(crate) fn certify_leaf(&self, leaf: &Leaf, aliases: &[Str]) -> Certified {
        let key = PrivateKey::generate().unwrap();
        let id: SpiffeId = leaf.uris[0].parse().unwrap();
        let answer = [pem::write(&self.issue(leaf, &key)), self.root_pem()];
        Certified::new(&id, &key, &answer, aliases).unwrap()
    }
}
