use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use identity::{Certified, PrivateKey};
use mesh::spiffe::SpiffeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::{Authority, AuthorityError, BACKDATE, MIN_VALIDITY, Validity, set_validity};
use crate::ca::Unsignable;
use crate::ca::fixture::TempFolder;

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

fn cart() -> SpiffeId {
    CART.parse().unwrap()
}

/// A leaf for the cart and its key, by an authority of its own making.
fn issue(authority: &Authority, seconds: i64) -> (PrivateKey, Vec<String>) {
    let key = PrivateKey::generate().unwrap();
    let request = key.signing_request(&cart()).unwrap();
    let answer = authority.sign_workload(&request, &cart(), seconds).unwrap();
    (key, answer)
}

fn self_made(folder: &TempFolder) -> Authority {
    Authority::self_made(folder.path(), "cluster.local", Validity::default()).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    identity::pem::read(pem.as_bytes()).unwrap().remove(0)
}

fn parse<'d>(der: &'d CertificateDer<'_>) -> X509Certificate<'d> {
    X509Certificate::from_der(der).unwrap().1
}

#[test]
fn c_04_a_leaf_says_exactly_this() {
    let folder = TempFolder::new();
    let (_, answer) = issue(&self_made(&folder), 3600);
    let der = der(&answer[0]);
    let leaf = parse(&der);
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(!leaf.is_ca());
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(san.critical);
    assert_eq!(san.value.general_names, vec![GeneralName::URI(CART)]);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 1, "digital signature alone");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any);
    let has_authority_key = leaf.extensions().iter().any(|extension| {
        matches!(
            extension.parsed_extension(),
            ParsedExtension::AuthorityKeyIdentifier(_)
        )
    });
    assert!(has_authority_key);
    assert!(
        (13..=17).contains(&leaf.raw_serial().len()),
        "{:?}",
        leaf.raw_serial()
    );

    let seconds = |time: SystemTime| {
        i64::try_from(
            time.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
        )
        .unwrap()
    };
    let validity = leaf.validity();
    let now = seconds(SystemTime::now());
    let from = validity.not_before.timestamp();
    assert!(
        (now - 125..=now - 120).contains(&from),
        "backdated two minutes"
    );
    assert_eq!(validity.not_after.timestamp() - from, 3600 + 120);
    assert_eq!(BACKDATE.as_secs(), 120);
}

#[test]
fn c_04_no_two_serial_numbers_are_the_same() {
    let folder = TempFolder::new();
    let authority = self_made(&folder);
    let serials = [(); 2].map(|()| {
        let der = der(&issue(&authority, 0).1[0]);
        parse(&der).raw_serial().to_vec()
    });
    assert_ne!(serials[0], serials[1]);
}

#[test]
fn c_04_lifetimes_are_granted_within_bounds() {
    let validity = Validity {
        default: Duration::from_hours(24),
        max: Duration::from_hours(24 * 90),
    };
    for (wanted, granted) in [
        (0, validity.default),
        (-1, validity.default),
        (i64::MIN, validity.default),
        (1, MIN_VALIDITY),
        (3600, Duration::from_hours(1)),
        (i64::MAX, validity.max),
    ] {
        assert_eq!(validity.grant(wanted), granted, "{wanted}");
    }
}

#[test]
fn c_04_a_rsa_key_may_also_encipher() {
    let folder = TempFolder::new();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let answer = self_made(&folder)
        .sign_workload(&request, &cart(), 0)
        .unwrap();
    let der = der(&answer[0]);
    let usage = parse(&der).key_usage().unwrap().unwrap().value.flags;
    assert_eq!(usage, 0b101, "digital signature and key encipherment");
}

#[test]
fn c_06_a_workload_can_use_the_answer() {
    let folder = TempFolder::new();
    let authority = self_made(&folder);
    let (key, answer) = issue(&authority, 0);
    assert_eq!(answer.len(), 2, "leaf and roots");
    assert_eq!(answer[1], authority.roots());
    assert!(answer.iter().all(|pem| pem.ends_with("-----\n")));
    let certified = Certified::new(&cart(), &key, &answer, &[]).unwrap();
    assert_eq!(certified.id(), &cart());
}

#[test]
fn c_10_a_root_of_our_own_lives_ten_years_and_stays() {
    let folder = TempFolder::new();
    let first = self_made(&folder);
    let root = der(first.roots());
    let root = parse(&root);
    let validity = root.validity();
    let days = (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400;
    assert_eq!(days, 3652);
    assert!(root.is_ca());
    let names: Vec<_> = root
        .subject()
        .iter_organization()
        .map(|o| o.as_str().unwrap())
        .collect();
    assert_eq!(names, ["cluster.local"]);
    assert_eq!(self_made(&folder).roots(), first.roots(), "after a restart");
}

#[test]
fn c_10_the_key_is_its_owners_alone() {
    let folder = TempFolder::new();
    let path = folder.path().join("state/ca");
    Authority::self_made(&path, "cluster.local", Validity::default()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path.join("ca-key.pem")), 0o600);
    assert_eq!(mode(&path), 0o700);
    let names: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "nothing else is left: {names:?}");
}

#[test]
fn an_attempt_cut_short_is_made_again() {
    let folder = TempFolder::new();
    self_made(&folder);
    fs::remove_file(folder.path().join("ca-cert.pem")).unwrap();
    issue(&self_made(&folder), 0);
}

#[test]
fn a_broken_authority_is_an_error_that_names_the_file_and_is_never_replaced() {
    for file in ["ca-key.pem", "root-cert.pem", "ca-cert.pem"] {
        let folder = TempFolder::new();
        self_made(&folder);
        let path = folder.path().join(file);
        fs::write(&path, "garbage").unwrap();
        let error =
            Authority::self_made(folder.path(), "cluster.local", Validity::default()).unwrap_err();
        assert!(
            matches!(error, AuthorityError::Content { .. }),
            "{file}: {error}"
        );
        assert!(error.to_string().contains(file), "{file}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "garbage");
    }
    let error = Authority::from_folder(TempFolder::new().path(), Validity::default()).unwrap_err();
    assert!(error.to_string().contains("ca-cert.pem"), "{error}");
}

#[test]
fn the_parts_of_an_authority_belong_together() {
    let [folder, other] = [(); 2].map(|()| TempFolder::new());
    self_made(&folder);
    self_made(&other);
    let take = |file: &str| {
        fs::copy(other.path().join(file), folder.path().join(file)).unwrap();
        Authority::from_folder(folder.path(), Validity::default())
            .unwrap_err()
            .to_string()
    };
    assert!(take("root-cert.pem").contains("does not verify"));
    assert!(take("ca-key.pem").contains("another key"));
}

/// A root and an intermediate, as an operator plugs them in.
struct Plugged {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Plugged {
    fn new(key: KeyPair, not_after: SystemTime) -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::OrganizationName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let root =
            CertifiedIssuer::self_signed(params("root"), KeyPair::generate().unwrap()).unwrap();
        let mut below = params("intermediate");
        set_validity(
            &mut below,
            SystemTime::now() - Duration::from_hours(1),
            not_after,
        );
        let intermediate = CertifiedIssuer::signed_by(below, key, &root).unwrap();
        Self { root, intermediate }
    }

    fn write(&self, folder: &TempFolder, chain: Option<String>) {
        let file = |name: &str| folder.path().join(name);
        fs::write(file("ca-cert.pem"), self.intermediate.pem()).unwrap();
        fs::write(file("ca-key.pem"), self.intermediate.key().serialize_pem()).unwrap();
        fs::write(file("root-cert.pem"), self.root.pem()).unwrap();
        if let Some(chain) = chain {
            fs::write(file("cert-chain.pem"), chain).unwrap();
        }
    }
}

#[test]
fn c_06_intermediates_come_one_by_one_and_without_the_root() {
    let key = KeyPair::generate().unwrap();
    let plugged = Plugged::new(key, SystemTime::now() + Duration::from_hours(48));
    let (intermediate, root) = (plugged.intermediate.pem(), plugged.root.pem());
    for chain in [
        None,
        Some(intermediate.clone()),
        Some(intermediate.clone() + &root),
    ] {
        let folder = TempFolder::new();
        plugged.write(&folder, chain);
        let authority = Authority::from_folder(folder.path(), Validity::default()).unwrap();
        let (key, answer) = issue(&authority, 0);
        assert_eq!(answer[1..], [intermediate.clone(), root.clone()]);
        Certified::new(&cart(), &key, &answer, &[]).unwrap();
        assert_eq!(
            authority
                .sign_server(&["localhost".to_owned()])
                .unwrap()
                .chain
                .len(),
            2
        );
    }
}

#[test]
fn c_04_a_leaf_never_outlives_its_issuer() {
    let end = SystemTime::now() + Duration::from_hours(2);
    let plugged = Plugged::new(KeyPair::generate().unwrap(), end);
    let folder = TempFolder::new();
    plugged.write(&folder, None);
    let authority = Authority::from_folder(folder.path(), Validity::default()).unwrap();
    let der = der(&issue(&authority, 0).1[0]);
    let not_after = parse(&der).validity().not_after.timestamp();
    assert_eq!(
        u64::try_from(not_after).unwrap(),
        end.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    );
    assert!(authority.sign_server(&["x".to_owned()]).unwrap().valid.1 <= end);
}

#[test]
fn an_issuer_near_its_end_signs_nothing() {
    let folder = TempFolder::new();
    let mut authority = self_made(&folder);
    authority.not_after = SystemTime::now() + MIN_VALIDITY / 2;
    let key = PrivateKey::generate().unwrap();
    let request = key.signing_request(&cart()).unwrap();
    let refused = authority.sign_workload(&request, &cart(), 0).unwrap_err();
    assert!(matches!(refused, Unsignable::IssuerExpired), "{refused}");
}

#[test]
fn a_rsa_authority_can_be_plugged_in() {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let plugged = Plugged::new(key, SystemTime::now() + Duration::from_hours(48));
    let folder = TempFolder::new();
    plugged.write(&folder, None);
    let authority = Authority::from_folder(folder.path(), Validity::default()).unwrap();
    let (key, answer) = issue(&authority, 0);
    Certified::new(&cart(), &key, &answer, &[]).unwrap();
}

#[test]
fn a_certificate_that_may_not_sign_is_no_authority() {
    let folder = TempFolder::new();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::default()
        .self_signed(&key)
        .unwrap()
        .pem();
    for (name, text) in [("ca-cert.pem", &leaf), ("root-cert.pem", &leaf)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("ca-key.pem"), key.serialize_pem()).unwrap();
    let error = Authority::from_folder(folder.path(), Validity::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not the certificate of an authority"),
        "{error}"
    );
}

#[test]
fn k_01_debug_shows_nothing_of_the_key() {
    let folder = TempFolder::new();
    let text = format!("{:?}", self_made(&folder));
    assert!(
        text.starts_with("Authority {") && !text.contains("PRIVATE"),
        "{text}"
    );
}
