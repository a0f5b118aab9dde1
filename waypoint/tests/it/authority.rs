//! A certificate authority for one mesh.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::{Certified, Error, Fetcher, PrivateKey};
use mesh::spiffe::SpiffeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};

/// Signs what it is asked to. Clones are the same authority.
#[derive(Clone)]
pub(crate) struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self(Arc::new(CertifiedIssuer::self_signed(params, key).unwrap()))
    }

    pub(crate) fn root(&self) -> String {
        self.0.pem()
    }

    /// A workload's certificate.
    pub(crate) fn certify(&self, id: &str) -> Certified {
        let key = PrivateKey::generate().unwrap();
        let san = SanType::URI(id.try_into().unwrap());
        let leaf = self.sign(san, &key);
        Certified::new(&id.parse().unwrap(), &key, &[leaf, self.root()], &[]).unwrap()
    }

    /// A server's certificate and its key, by DNS name.
    pub(crate) fn server(&self, name: &str) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (
            self.sign(SanType::DnsName(name.try_into().unwrap()), &key),
            key,
        )
    }

    fn sign(&self, san: SanType, key: &impl PublicKeyData) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![san];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + now - Duration::from_mins(2);
        params.not_after = epoch + (now + Duration::from_hours(24));
        params.signed_by(key, &*self.0).unwrap().pem()
    }
}

impl Fetcher for Authority {
    async fn fetch(&self, id: &SpiffeId) -> Result<Certified, Error> {
        Ok(self.certify(id.as_str()))
    }
}
