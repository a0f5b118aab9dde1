//! The real registry, as Debian has it: plain and with TLS, with and without credentials.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use modules::{Credentials, Digest, Error, Fetcher, Image, Insecure, Phase, Pushed, Reference};
use modules::{Roots, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{MODULE, Scratch, fetch, quick, request};

/// User `cairn`, password `secret`.
const HTPASSWD: &str = "cairn:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry that runs until it is dropped.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: SocketAddr,
    /// Its log is read to its end, or it would stop.
    _log: std::thread::JoinHandle<()>,
    _scratch: Scratch,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// Starts one; `None`, and loudly, where the program is not installed and need not be.
    pub(crate) fn start(more: &str) -> Option<Self> {
        let scratch = Scratch::new();
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http:\n  addr: 127.0.0.1:0\n{more}",
            scratch.0.join("data").display()
        );
        let file = scratch.0.join("config.yml");
        std::fs::write(&file, text).unwrap();
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                let is_required = |name| std::env::var_os(name).is_some_and(|value| value != "0");
                assert!(
                    !is_required("REQUIRE_ROOT") && !is_required("CI"),
                    "docker-registry (Debian's package of that name) must be installed: {error}"
                );
                eprintln!(
                    "SKIPPED: docker-registry (Debian's package of that name) is not installed"
                );
                return None;
            }
        };
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = listening(&mut log);
        let log = std::thread::spawn(move || {
            let _ = std::io::copy(&mut log, &mut std::io::sink());
        });
        Some(Self {
            process,
            address,
            _log: log,
            _scratch: scratch,
        })
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.address)
    }
}

/// Where it listens, by its own log.
fn listening(log: &mut impl BufRead) -> SocketAddr {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        let read = log.read_line(&mut line).unwrap();
        assert!(read > 0, "the registry has ended: {all}");
        if let Some((_, rest)) = line.split_once("listening on ") {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && !".:".contains(c))
                .unwrap();
            return rest[..end].parse().unwrap();
        }
        all.push_str(&line);
    }
}

/// An authority and a server certificate of this machine by it.
pub(crate) struct Pki {
    pub(crate) scratch: Scratch,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &root)
            .unwrap();
        let scratch = Scratch::new();
        std::fs::write(scratch.0.join("ca.pem"), root.pem()).unwrap();
        std::fs::write(scratch.0.join("cert.pem"), leaf.pem()).unwrap();
        std::fs::write(scratch.0.join("key.pem"), key.serialize_pem()).unwrap();
        Self { scratch }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    /// Lines of a registry's configuration.
    pub(crate) fn tls(&self) -> String {
        format!(
            "  tls: {{certificate: {}, key: {}}}\n",
            self.file("cert.pem").display(),
            self.file("key.pem").display()
        )
    }

    /// Settings that trust this authority and no other.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            roots: Roots::File(self.file("ca.pem")),
            ..quick()
        }
    }

    /// For servers of the tests themselves.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let cert = CertificateDer::from_pem_file(self.file("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        Arc::new(config)
    }
}

fn htpasswd(scratch: &Path) -> String {
    let file = scratch.join("htpasswd");
    std::fs::write(&file, HTPASSWD).unwrap();
    format!(
        "auth:\n  htpasswd: {{realm: tests, path: {}}}\n",
        file.display()
    )
}

pub(crate) async fn push(
    settings: Settings,
    image: &str,
    module: &[u8],
    credentials: &Credentials,
) -> Result<Pushed, Error> {
    let image: Image = Reference::parse(image).unwrap().image().unwrap().clone();
    let annotations = BTreeMap::from([("org.example.made-by".to_owned(), "tests".to_owned())]);
    let fetcher = Fetcher::new(settings).unwrap();
    let module = Bytes::copy_from_slice(module);
    fetcher
        .push(&image, module, &annotations, credentials)
        .await
}

#[tokio::test]
async fn what_was_pushed_is_pulled_by_tag_and_digest() {
    let Some(registry) = Registry::start("") else {
        return;
    };
    let image = registry.image("team/filter:v1");
    let pushed = push(quick(), &image, MODULE, &Credentials::none())
        .await
        .unwrap();
    assert_eq!(pushed.module, Digest::of(MODULE));
    let by_digest = registry.image(&format!("team/filter@{}", pushed.manifest));
    for reference in [&image, &by_digest] {
        for pin in [None, Some(pushed.manifest), Some(pushed.module)] {
            let mut request = request(reference);
            request.sha256 = pin;
            let module = fetch(quick(), &request).await.unwrap();
            assert_eq!(&module.bytes[..], MODULE);
            assert_eq!(module.manifest, Some(pushed.manifest));
        }
    }
    // The same again changes nothing; another module under the tag is another manifest.
    let again = push(quick(), &image, MODULE, &Credentials::none())
        .await
        .unwrap();
    assert_eq!(again, pushed);
    let mut wrong = request(&image);
    wrong.sha256 = Some(Digest::of(b"another"));
    let error = fetch(quick(), &wrong).await.unwrap_err();
    assert!(
        error.to_string().contains("neither that of the manifest"),
        "{error}"
    );
}

#[tokio::test]
async fn a_large_module_goes_in_parts() {
    let Some(registry) = Registry::start("") else {
        return;
    };
    let image = registry.image("large:v1");
    let mut module = MODULE.to_vec();
    module.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(20 << 20));
    let settings = || Settings {
        max_module: 32 << 20,
        ..quick()
    };
    let pushed = push(settings(), &image, &module, &Credentials::none())
        .await
        .unwrap();
    let pulled = fetch(settings(), &request(&image)).await.unwrap();
    assert_eq!(pulled.sha256, pushed.module);
    let error = fetch(quick(), &request(&image)).await.unwrap_err();
    assert!(
        error.to_string().contains("more than 16777216 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_by_its_name() {
    let Some(registry) = Registry::start("") else {
        return;
    };
    push(
        quick(),
        &registry.image("filter:v1"),
        MODULE,
        &Credentials::none(),
    )
    .await
    .unwrap();
    for (name, code) in [
        ("filter:v2", "MANIFEST_UNKNOWN"),
        ("other:v1", "MANIFEST_UNKNOWN"),
    ] {
        let error = fetch(quick(), &request(&registry.image(name)))
            .await
            .unwrap_err();
        assert_eq!((error.phase, error.is_retryable), (Phase::Manifest, false));
        let text = error.to_string();
        assert!(
            text.contains(code) && text.contains(name) && text.contains("check the name"),
            "{text}"
        );
    }
    let digest = Digest::of(b"x");
    let pinned = registry.image(&format!("filter@{digest}"));
    let error = push(quick(), &pinned, MODULE, &Credentials::none())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("under a tag"), "{error}");
    let error = push(
        quick(),
        &registry.image("x:v1"),
        b"text",
        &Credentials::none(),
    )
    .await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("no WebAssembly module")
    );
}

#[tokio::test]
async fn with_tls_the_authority_must_be_trusted() {
    let pki = Pki::new();
    let Some(registry) = Registry::start(&pki.tls()) else {
        return;
    };
    let image = registry.image("filter:v1");
    push(pki.settings(), &image, MODULE, &Credentials::none())
        .await
        .unwrap();
    fetch(pki.settings(), &request(&image)).await.unwrap();
    let other = Pki::new();
    let error = fetch(other.settings(), &request(&image)).await.unwrap_err();
    assert_eq!((error.phase, error.is_retryable), (Phase::Connect, false));
    let text = error.to_string();
    assert!(
        text.contains("not trusted") && text.contains("SSL_CERT_FILE"),
        "{text}"
    );
    let insecure = Settings {
        insecure: Insecure::parse("127.0.0.1"),
        ..other.settings()
    };
    fetch(insecure, &request(&image)).await.unwrap();
}

#[tokio::test]
async fn the_authorities_of_the_machine_are_those_of_ssl_cert_file() {
    const NAME: &str = "the_authorities_of_the_machine_are_those_of_ssl_cert_file";
    // The environment of this process is that of all its tests: the child has one of its own.
    if let Some(image) = std::env::var_os("MODULES_TEST_IMAGE") {
        let image = image.into_string().unwrap();
        let settings = || Settings {
            roots: Roots::System,
            ..quick()
        };
        push(settings(), &image, MODULE, &Credentials::none())
            .await
            .unwrap();
        fetch(settings(), &request(&image)).await.unwrap();
        return;
    }
    let pki = Pki::new();
    let Some(registry) = Registry::start(&pki.tls()) else {
        return;
    };
    let child = |roots: &Pki| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("registry::{NAME}"), "--nocapture"])
            .env("MODULES_TEST_IMAGE", registry.image("filter:v1"))
            .env("SSL_CERT_FILE", roots.file("ca.pem"))
            .output()
            .unwrap()
    };
    let trusted = child(&pki);
    let shown = String::from_utf8_lossy(&trusted.stdout).into_owned();
    assert!(
        trusted.status.success() && shown.contains("1 passed"),
        "{trusted:?}"
    );
    assert!(!child(&Pki::new()).status.success());
}

#[tokio::test]
async fn user_and_password_are_shown_to_a_registry_that_asks() {
    let pki = Pki::new();
    let Some(registry) = Registry::start(&(pki.tls() + &htpasswd(&pki.scratch.0))) else {
        return;
    };
    let image = registry.image("team/filter:v1");
    let host = registry.address.to_string();
    let good = Credentials::basic(&host, "cairn", "secret");
    push(pki.settings(), &image, MODULE, &good).await.unwrap();
    let mut asked = request(&image);
    let bad = Credentials::basic(&host, "cairn", "hunter2");
    for credentials in [Credentials::none(), bad] {
        asked.credentials = credentials;
        let error = fetch(pki.settings(), &asked).await.unwrap_err();
        assert_eq!(
            (error.phase, error.is_retryable),
            (Phase::Authenticate, false)
        );
        let text = error.to_string();
        assert!(
            text.contains("imagePullSecret") && !text.contains("hunter2"),
            "{text}"
        );
    }
    // As a pull secret has them.
    let secret = format!(r#"{{"auths":{{"https://{host}/v2/":{{"auth":"Y2Fpcm46c2VjcmV0"}}}}}}"#);
    asked.credentials = Credentials::from_docker_config(secret.as_bytes()).unwrap();
    assert_eq!(
        &fetch(pki.settings(), &asked).await.unwrap().bytes[..],
        MODULE
    );
}

#[tokio::test]
async fn the_same_works_without_tls_where_that_is_allowed() {
    let scratch = Scratch::new();
    let Some(registry) = Registry::start(&htpasswd(&scratch.0)) else {
        return;
    };
    let image = registry.image("filter:v1");
    let host = registry.address.to_string();
    let good = Credentials::basic(&host, "cairn", "secret");
    push(quick(), &image, MODULE, &good).await.unwrap();
    let mut asked = request(&image);
    asked.credentials = good;
    fetch(quick(), &asked).await.unwrap();
}
