//! What the cache keeps, what it refuses, and what it forgets.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::testing::Guest;
use crate::{Host, HostSettings};

/// A directory of its own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("wasm-host-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        Self(place)
    }

    fn host(&self) -> Host {
        Host::new(HostSettings {
            cache: Some(self.0.join("code")),
            ..HostSettings::default()
        })
        .unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("code")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
        files.sort();
        files
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bytes(says: &str) -> Vec<u8> {
    wat::parse_str(Guest::new().announces("proxy_on_tick", 0).wat() + "(;" + says + ";)").unwrap()
}

/// Another module than [`bytes`], of about the same size.
fn other_bytes() -> Vec<u8> {
    wat::parse_str(Guest::new().announces("proxy_on_log", 0).wat()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_module_is_compiled_once_and_its_code_is_nobody_elses_to_read() {
    let place = Place::new("once");
    let first = place.host().compile(&bytes("")).unwrap();
    assert!(!first.from_cache());
    let again = place.host().compile(&bytes("")).unwrap();
    assert!(again.from_cache());
    assert_eq!(first.sha256(), again.sha256());
    assert_eq!(first.callbacks(), again.callbacks());
    let files = place.files();
    assert_eq!(files.len(), 1);
    assert!(files[0].to_string_lossy().contains(first.sha256()));
    assert_eq!(mode(&files[0]), 0o600);
    assert_eq!(mode(&place.0.join("code")), 0o700);
    assert_eq!(mode(&place.0.join("code/key")), 0o600);
}

#[test]
fn code_that_was_tampered_with_is_never_loaded_but_made_again() {
    let place = Place::new("tampered");
    place.host().compile(&bytes("")).unwrap();
    let file = place.files().remove(0);
    let whole = fs::read(&file).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for damage in [
        &changed[..],
        &whole[..20],
        &whole[..100],
        b"",
        b"something else",
    ] {
        fs::write(&file, damage).unwrap();
        assert!(!place.host().compile(&bytes("")).unwrap().from_cache());
        assert!(place.host().compile(&bytes("")).unwrap().from_cache());
    }
}

#[test]
fn code_under_the_name_of_another_module_is_not_taken_for_it() {
    let place = Place::new("renamed");
    let host = place.host();
    host.compile(&bytes("")).unwrap();
    let one = place.files().remove(0);
    host.compile(&other_bytes()).unwrap();
    let other = place.files().into_iter().find(|file| *file != one).unwrap();
    fs::copy(&one, &other).unwrap();
    assert!(!place.host().compile(&other_bytes()).unwrap().from_cache());
}

#[test]
fn code_made_under_another_key_is_not_loaded() {
    let place = Place::new("key");
    place.host().compile(&bytes("")).unwrap();
    fs::remove_file(place.0.join("code/key")).unwrap();
    assert!(!place.host().compile(&bytes("")).unwrap().from_cache());
}

#[test]
fn a_directory_that_others_may_write_to_is_not_used() {
    let place = Place::new("open");
    let directory = place.0.join("code");
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    place.host().compile(&bytes("")).unwrap();
    assert!(place.files().is_empty());
    let why = CodeCache::open(&directory, 1, &Engine::default())
        .err()
        .unwrap();
    assert_eq!(
        why.to_string(),
        format!("others may write to {}", directory.display())
    );
}

#[test]
fn a_key_that_others_may_read_or_that_is_no_key_is_not_used() {
    let place = Place::new("bad-key");
    let directory = place.0.join("code");
    place.host();
    fs::set_permissions(directory.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let why = CodeCache::open(&directory, 1, &Engine::default())
        .err()
        .unwrap();
    assert!(why.to_string().starts_with("others may read"), "{why}");
    fs::set_permissions(directory.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(directory.join("key"), b"short").unwrap();
    let why = CodeCache::open(&directory, 1, &Engine::default())
        .err()
        .unwrap();
    assert!(why.to_string().ends_with("is damaged; remove it"), "{why}");
}

#[test]
fn a_file_in_the_place_of_the_directory_stops_nothing() {
    let place = Place::new("file");
    fs::create_dir_all(&place.0).unwrap();
    fs::write(place.0.join("code"), b"").unwrap();
    assert!(!place.host().compile(&bytes("")).unwrap().from_cache());
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let place = Place::new("room");
    let host = place.host();
    host.compile(&bytes("")).unwrap();
    let size = fs::metadata(&place.files()[0]).unwrap().len();
    let small = Host::new(HostSettings {
        cache: Some(place.0.join("code")),
        cache_bytes: size + size / 2,
        ..HostSettings::default()
    })
    .unwrap();
    let old = place.files().remove(0);
    File::open(&old)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    small.compile(&other_bytes()).unwrap();
    let left = place.files();
    assert!(left.len() == 1 && left[0] != old, "{left:?}");
}

#[test]
fn the_mac_is_that_of_rfc_4231() {
    // Test case 1 has a key of 20 bytes; padding it with zeros is what HMAC does itself.
    let mut key = [0; 32];
    key[..20].fill(0x0b);
    let mac = hmac(&key, &[b"Hi ", b"There"]);
    assert_eq!(mac[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
}
