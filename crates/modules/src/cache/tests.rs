//! What is kept, for whom, and for how long.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Cache, Entry, Key};
use crate::Digest;

/// A folder that goes with the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("modules-{}-{}", std::process::id(), fastrand::u64(..));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(module: &[u8]) -> Entry {
    Entry {
        module: Digest::of(module).hex(),
        manifests: vec![],
        revision: "1".to_owned(),
    }
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    ["modules", "entries"]
        .iter()
        .flat_map(|part| fs::read_dir(folder.join(part)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn a_module_is_kept_for_whoever_fetched_it_and_for_nobody_else() {
    let scratch = Scratch::new();
    for cache in [
        Cache::open(Some(&scratch.0)).unwrap(),
        Cache::open(None).unwrap(),
    ] {
        let bytes = Bytes::from_static(b"\0asm private");
        let mine = Key::new("mine", "secret", "oci://r/private@sha256:1");
        cache.put(mine, &entry(&bytes), &bytes).unwrap();
        assert_eq!(cache.get(mine), Some((entry(&bytes), bytes.clone())));
        for other in [
            Key::new("other", "secret", "oci://r/private@sha256:1"),
            Key::new("mine", "", "oci://r/private@sha256:1"),
            Key::new("mines", "ecret", "oci://r/private@sha256:1"),
            Key::new("mine", "secret", "oci://r/private@sha256:2"),
        ] {
            assert_eq!(cache.get(other), None);
        }
        assert_eq!(cache.len(), 1);
    }
}

#[test]
fn nobody_else_on_the_machine_reads_it_and_its_name_is_its_digest() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).unwrap();
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
    let cache = Cache::open(Some(&scratch.0)).unwrap();
    let bytes = Bytes::from_static(b"\0asm");
    cache
        .put(Key::new("", "", "x"), &entry(&bytes), &bytes)
        .unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0), 0o700);
    assert_eq!(mode(&scratch.0.join("modules")), 0o700);
    let files = all_files(&scratch.0);
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|path| mode(path) == 0o600));
    assert!(files.contains(&scratch.0.join("modules").join(Digest::of(&bytes).hex())));
}

#[test]
fn a_damaged_module_is_not_used() {
    let scratch = Scratch::new();
    let cache = Cache::open(Some(&scratch.0)).unwrap();
    let (bytes, key) = (Bytes::from_static(b"\0asm"), Key::new("", "", "x"));
    cache.put(key, &entry(&bytes), &bytes).unwrap();
    let path = scratch.0.join("modules").join(Digest::of(&bytes).hex());
    fs::write(&path, b"\0asm evil").unwrap();
    assert_eq!(cache.get(key), None);
    assert!(!path.exists());
    cache.put(key, &entry(&bytes), &bytes).unwrap();
    assert!(cache.get(key).is_some());
    let entry = all_files(&scratch.0)
        .into_iter()
        .find(|path| path.extension().is_some());
    fs::write(
        entry.unwrap(),
        br#"{"module":"../../etc/passwd","manifests":[],"revision":""}"#,
    )
    .unwrap();
    assert_eq!(cache.get(key), None);
}

#[test]
fn what_nobody_used_goes_and_what_is_in_use_stays() {
    let scratch = Scratch::new();
    let cache = Cache::open(Some(&scratch.0)).unwrap();
    let age = || {
        for path in all_files(&scratch.0) {
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_hours(25))
                .unwrap();
        }
    };
    let (one, two) = (
        Bytes::from_static(b"\0asm 1"),
        Bytes::from_static(b"\0asm 2"),
    );
    let (first, second) = (Key::new("", "", "1"), Key::new("", "", "2"));
    cache.put(first, &entry(&one), &one).unwrap();
    cache.put(second, &entry(&two), &two).unwrap();
    age();
    let day = Duration::from_hours(24);
    let running = Digest::of(&two).hex();
    assert!(cache.get(first).is_some(), "using it makes it young");
    cache.purge(day, &|module| module == running);
    assert!(cache.get(first).is_some() && cache.get(second).is_some());
    age();
    cache.purge(day, &|module| module == running);
    assert_eq!((cache.get(first), cache.len()), (None, 1));
    age();
    cache.purge(day, &|_| false);
    assert!(all_files(&scratch.0).is_empty());
}
