//! Modules that were fetched before.
//!
//! Content is kept once, under its digest. It is reached only through an entry, whose name is made
//! from who asked with which secret for what: nobody gets what somebody else may see by knowing
//! its digest.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::Digest;

#[cfg(test)]
mod tests;

/// Most bytes that are kept in memory where there is no folder.
const MOST_IN_MEMORY: u64 = 64 << 20;
/// Largest entry.
const LARGEST_ENTRY: u64 = 16 << 10;

/// What is known of something that was fetched.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// Digest of the module.
    pub(crate) module: String,
    /// Digests by which it may also be pinned: of the manifest, and of the index that led to it.
    pub(crate) manifests: Vec<String>,
    /// What the object's version was.
    pub(crate) revision: String,
}

/// Who asked for what; see the module's own text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key(Digest);

/// Modules that were fetched before. Its methods block.
#[derive(Debug)]
pub(crate) enum Cache {
    /// In a folder.
    Folder(PathBuf),
    /// In memory, oldest use first.
    Memory(Mutex<BTreeMap<Key, Held>>),
}

#[derive(Debug)]
pub(crate) struct Held {
    entry: Entry,
    bytes: Bytes,
    used: SystemTime,
}

impl Key {
    pub(crate) fn new(tenant: &str, secret: &str, reference: &str) -> Self {
        // Lengths, so that no two triples are one text.
        let text = format!(
            "{}:{tenant}{}:{secret}{reference}",
            tenant.len(),
            secret.len()
        );
        Self(Digest::of(text.as_bytes()))
    }
}

impl Cache {
    /// A cache in a folder, which is made if it is not there and closed to everybody else.
    pub(crate) fn open(folder: Option<&Path>) -> io::Result<Self> {
        let Some(folder) = folder else {
            return Ok(Self::Memory(Mutex::default()));
        };
        for part in ["modules", "entries"] {
            let part = folder.join(part);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&part)?;
            fs::set_permissions(&part, Permissions::from_mode(0o700))?;
        }
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        Ok(Self::Folder(folder.to_owned()))
    }

    /// What was fetched for a key, checked against its digest.
    pub(crate) fn get(&self, key: Key) -> Option<(Entry, Bytes)> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Memory(held) => {
                let mut held = held.lock();
                let held = held.get_mut(&key)?;
                held.used = SystemTime::now();
                return Some((held.entry.clone(), held.bytes.clone()));
            }
        };
        let entry_path = entry_path(folder, key);
        let entry = read(&entry_path, LARGEST_ENTRY).ok()?;
        let entry: Entry = serde_json::from_slice(&entry).ok()?;
        let digest = Digest::parse(&entry.module)?;
        let path = module_path(folder, digest);
        let bytes = read(&path, u64::MAX).ok()?;
        if Digest::of(&bytes) != digest {
            tracing::warn!(path = %path.display(), "a module in the cache was damaged and is removed");
            let _ = fs::remove_file(&path);
            return None;
        }
        touch(&entry_path);
        touch(&path);
        Some((entry, bytes.into()))
    }

    /// Keeps a module.
    pub(crate) fn put(&self, key: Key, entry: &Entry, bytes: &Bytes) -> io::Result<()> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Memory(held) => {
                let new = Held {
                    entry: entry.clone(),
                    bytes: bytes.clone(),
                    used: SystemTime::now(),
                };
                let mut held = held.lock();
                held.insert(key, new);
                shrink(&mut held);
                return Ok(());
            }
        };
        let path = module_path(folder, Digest::of(bytes));
        write(&path, bytes)?;
        let entry = serde_json::to_vec(entry)?;
        write(&entry_path(folder, key), &entry)
    }

    /// Removes what nobody has used for so long, unless its module is in use.
    pub(crate) fn purge(&self, expiry: Duration, in_use: &dyn Fn(&str) -> bool) {
        let is_old = |used: SystemTime| used.elapsed().is_ok_and(|age| age > expiry);
        match self {
            Self::Folder(folder) => {
                for part in ["entries", "modules"] {
                    for (path, used) in files(&folder.join(part)) {
                        let module = match part {
                            "modules" => stem(&path),
                            _ => entry_module(&path),
                        };
                        let is_used = module.as_deref().is_some_and(in_use);
                        if is_old(used) && !is_used {
                            let _ = fs::remove_file(path);
                        }
                    }
                }
            }
            Self::Memory(held) => held
                .lock()
                .retain(|_, held| !is_old(held.used) || in_use(&held.entry.module)),
        }
    }

    /// How many modules there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Folder(folder) => files(&folder.join("modules")).count(),
            Self::Memory(held) => held.lock().len(),
        }
    }
}

/// Removes the oldest until what is left is small enough; the newest is always kept.
fn shrink(held: &mut BTreeMap<Key, Held>) {
    let size =
        |held: &BTreeMap<Key, Held>| held.values().map(|one| one.bytes.len() as u64).sum::<u64>();
    while held.len() > 1 && size(held) > MOST_IN_MEMORY {
        let oldest = held.iter().min_by_key(|(_, held)| held.used);
        let Some(oldest) = oldest.map(|(key, _)| *key) else {
            return;
        };
        held.remove(&oldest);
    }
}

fn entry_path(folder: &Path, key: Key) -> PathBuf {
    folder.join("entries").join(format!("{}.json", key.0.hex()))
}

fn module_path(folder: &Path, digest: Digest) -> PathBuf {
    folder.join("modules").join(digest.hex())
}

fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.to_owned())
}

fn entry_module(path: &Path) -> Option<String> {
    let entry: Entry = serde_json::from_slice(&read(path, LARGEST_ENTRY).ok()?).ok()?;
    Some(entry.module)
}

/// Files of a folder and when each was used.
fn files(folder: &Path) -> impl Iterator<Item = (PathBuf, SystemTime)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let used = entry.metadata().ok()?.modified().ok()?;
        Some((entry.path(), used))
    })
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file that is there as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Notes that a file was used.
fn touch(path: &Path) {
    let file = OpenOptions::new().append(true).open(path);
    // Without it the file only goes earlier.
    let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
}
