//! Publishing a module in a real registry, Debian's, and getting it back.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::{Folder, guest};

const BCRYPT_OF_CORRECT: &str = "$2b$04$skOttE5vaIERfi2L5fXMy.dl1hpP98W0rxdI/DX5l4PN6TKx.bOoS";

/// A registry in plain HTTP; killed with its drop.
struct Registry {
    child: Child,
    address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// One that lets everybody in.
    fn start(folder: &Folder) -> Option<Self> {
        Self::configured(folder, "")
    }

    /// One that lets `team` in with the password `correct`, and nobody else.
    fn closed(folder: &Folder) -> Option<Self> {
        let passwords = folder.write("htpasswd", format!("team:{BCRYPT_OF_CORRECT}\n"));
        let auth = format!(
            "auth:\n  htpasswd: {{realm: filters, path: {}}}\n",
            passwords.display()
        );
        Self::configured(folder, &auth)
    }

    fn configured(folder: &Folder, more: &str) -> Option<Self> {
        let configuration = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http:\n  addr: 127.0.0.1:0\n{more}",
            folder.path("registry").display()
        );
        let file = folder.write("registry.yml", configuration);
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            skipped();
            return None;
        };
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the registry ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let of_address = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
                break rest.chars().take_while(|c| of_address(*c)).collect();
            }
        };
        // Read to its end, or it would stop.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self { child, address })
    }
}

#[expect(clippy::print_stderr, reason = "who runs the tests has to hear of it")]
fn skipped() {
    assert!(
        std::env::var_os("REQUIRE_ROOT").is_none(),
        "docker-registry (Debian's package of that name) must be installed"
    );
    eprintln!("\n*** SKIPPED: docker-registry (Debian's package of that name) is missing ***\n");
}

#[test]
fn what_is_published_is_what_one_gets() {
    let folder = Folder::new();
    let Some(registry) = Registry::start(&folder) else {
        return;
    };
    let module = guest::signs("one");
    folder.write("guest.wasm", &module);
    let url = format!("oci://{}/filters/guest:v1", registry.address);
    let told = folder
        .filter(&["push", &url, "guest.wasm", "--insecure", "-o", "json"])
        .ends(0);
    let pushed = told.json();
    assert_eq!(pushed["module"].as_str().unwrap().len(), 64);

    let told = folder.filter(&["inspect", &url, "--insecure"]).ends(0);
    assert!(
        told.stdout.contains(pushed["module"].as_str().unwrap()),
        "{told:?}"
    );

    std::fs::remove_file(folder.path("guest.wasm")).unwrap();
    let told = folder.filter(&["pull", &url, "--insecure"]).ends(0);
    assert_eq!(told.stdout, "guest.wasm\n");
    assert_eq!(std::fs::read(folder.path("guest.wasm")).unwrap(), module);
    folder
        .filter(&["pull", &url, "--insecure", "--file", "other.wasm"])
        .ends(0);
    assert_eq!(std::fs::read(folder.path("other.wasm")).unwrap(), module);

    let none = format!("oci://{}/filters/none:v1", registry.address);
    let told = folder.filter(&["pull", &none, "--insecure"]).ends(1);
    assert!(told.stderr.contains("filters/none:v1"), "{told:?}");
}

/// Who types a command has no imagePullSecret, and must not find his password in an error.
#[test]
fn a_registry_that_lets_nobody_in_is_told_with_what_to_type() {
    let folder = Folder::new();
    let Some(registry) = Registry::closed(&folder) else {
        return;
    };
    folder.write("guest.wasm", guest::signs("one"));
    let url = format!("oci://{}/filters/guest:v1", registry.address);
    let wrong = ["--username", "team", "--password-stdin"];
    for (more, password) in [(&[][..], ""), (&wrong[..], "hunter2\n")] {
        let command = [&["push", &url, "guest.wasm", "--insecure"], more].concat();
        let told = folder.filter_with(&command, password).ends(1);
        let about = format!("{} answers 401", registry.address);
        for part in [&*about, "docker login", "--password-stdin"] {
            assert!(told.stderr.contains(part), "{part}: {told:?}");
        }
        for part in ["imagePullSecret", "hunter2"] {
            assert!(!told.stderr.contains(part), "{part}: {told:?}");
        }
    }
    let command = [&["push", &url, "guest.wasm", "--insecure"], &wrong[..]].concat();
    folder.filter_with(&command, "correct\n").ends(0);
    let told = folder
        .filter(&["push", "oci://team:hunter2@127.0.0.1:1/a:b", "guest.wasm"])
        .ends(1);
    assert!(
        told.stderr
            .contains("oci://127.0.0.1:1/a:b: there is a user or password in it")
    );
    assert!(!told.stderr.contains("hunter2"), "{told:?}");
}

#[test]
fn what_no_proxy_can_load_is_not_published() {
    let folder = Folder::new();
    folder.write("guest.wasm", guest::wants_more());
    let told = folder
        .filter(&["push", "oci://127.0.0.1:1/a:b", "guest.wasm"])
        .ends(1);
    assert!(told.stderr.contains("proxy_make_coffee"), "{told:?}");
    let told = folder
        .filter(&["push", "https://example/a.wasm", "guest.wasm"])
        .ends(1);
    assert!(told.stderr.contains("oci://REGISTRY/NAME:TAG"), "{told:?}");
}
