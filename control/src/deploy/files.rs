//! What is deployed, as files: one per Gateway, in a folder that is ours alone.
//!
//! The local runner watches the folder like any other with manifests. A file appears whole or not
//! at all, and that of a Gateway that is gone goes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::object::Key;

/// A folder that cannot be kept up to date.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct Error {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Error {
    fn at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { verb, path, source }
    }
}

/// The folder of generated manifests.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    kept: Option<PathBuf>,
}

impl Folder {
    /// The folder at `path`, which is created if it is not there.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(Error::at("create", &path))?;
        Ok(Self { path, kept: None })
    }

    /// With the folder in which waypoints keep what outlives a restart: what a Gateway's has kept
    /// goes with the Gateway.
    #[must_use]
    pub fn with_kept(mut self, kept: Option<PathBuf>) -> Self {
        self.kept = kept;
        self
    }

    /// Writes the manifests of one Gateway; none removes the file. A file that would not change is
    /// not touched.
    ///
    /// # Errors
    /// A file cannot be read, written or removed.
    pub fn put(&self, gateway: &Key, manifests: &[Value]) -> Result<(), Error> {
        let path = self.path.join(file_name(gateway));
        if manifests.is_empty() {
            if let Some(kept) = &self.kept {
                forget(&kept.join(file_stem(gateway)))?;
            }
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Error::at("remove", &path)(error))
                }
                _ => Ok(()),
            };
        }
        let text = render(manifests);
        if fs::read(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        self.replace(&path, &text)
            .map_err(Error::at("write", &path))
    }

    /// Makes the folder hold exactly the manifests of `all`, whatever was there before.
    ///
    /// # Errors
    /// The first file that cannot be written or removed; the others are tried all the same.
    pub fn restore(&self, all: &BTreeMap<Key, Vec<Value>>) -> Result<(), Error> {
        let wanted: BTreeSet<OsString> = all
            .iter()
            .filter(|(_, m)| !m.is_empty())
            .map(|(key, _)| file_name(key).into())
            .collect();
        let entries = fs::read_dir(&self.path).map_err(Error::at("read", &self.path))?;
        let stale = entries
            .flatten()
            .filter(|entry| !wanted.contains(&entry.file_name()));
        let removed = stale.map(|entry| {
            let path = entry.path();
            fs::remove_file(&path).map_err(Error::at("remove", &path))
        });
        let mut removed: Vec<_> = removed.collect();
        removed.extend(self.kept.as_ref().map(|kept| forget_others(kept, all)));
        let written: Vec<_> = all
            .iter()
            .map(|(key, manifests)| self.put(key, manifests))
            .collect();
        removed.into_iter().chain(written).collect()
    }

    /// A name that begins with a dot is not read as a manifest by anyone.
    fn replace(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let mut hidden = OsString::from(".");
        hidden.push(path.file_name().unwrap_or_default());
        let draft = self.path.join(hidden);
        let mut file = File::create(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }
}

/// Removes what is kept for Gateways that are gone.
fn forget_others(kept: &Path, all: &BTreeMap<Key, Vec<Value>>) -> Result<(), Error> {
    let wanted: BTreeSet<OsString> = all.keys().map(|key| file_stem(key).into()).collect();
    let entries = fs::read_dir(kept).into_iter().flatten().flatten();
    let stale = entries.filter(|entry| !wanted.contains(&entry.file_name()));
    let forgotten: Vec<_> = stale.map(|entry| forget(&entry.path())).collect();
    forgotten.into_iter().collect()
}

/// Removes a folder; one that is not there is gone already.
fn forget(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::at("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Namespace and name of a Gateway are DNS names, so this is a file name, and no other's.
fn file_name(gateway: &Key) -> String {
    format!("gateway_{}.json", file_stem(gateway))
}

/// A name for what belongs to one Gateway; see [`file_name`].
pub(crate) fn file_stem(gateway: &Key) -> String {
    format!("{}_{}", gateway.namespace, gateway.name)
}

/// A JSON document is a YAML document.
fn render(manifests: &[Value]) -> Vec<u8> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
    let mut text = serde_json::to_vec_pretty(&list).unwrap_or_default();
    text.push(b'\n');
    text
}
