//! Compiled code on disk, so that a module is compiled once per machine and not once per start.
//!
//! Loading compiled code is running it, so nothing is loaded that we did not write: the directory
//! is ours and nobody else may write to it, and every file carries a MAC under a key that lies
//! beside it, readable by us alone. What does not verify is compiled again. A cache that cannot be
//! used costs time, never traffic.
#![expect(
    unsafe_code,
    reason = "the engine trusts compiled code; see the SAFETY comment for why we may"
)]

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

const MAGIC: &[u8; 16] = b"wasm-host code 1";
const MAC: usize = 32;
const KEY: &str = "key";
const ENDING: &str = "code";
/// Left behind by a process that died while it wrote.
const UNFINISHED: &str = "unfinished";
const STALE: Duration = Duration::from_hours(1);

/// A directory of compiled modules.
pub(crate) struct CodeCache {
    directory: PathBuf,
    key: [u8; 32],
    /// What the engine, its settings and this machine's processor amount to.
    engine: String,
    limit: u64,
}

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0} is not a directory")]
    NoDirectory(String),
    #[error("{0} belongs to another user")]
    NotOurs(String),
    #[error("others may {1} {0}")]
    Open(String, &'static str),
    #[error("{0} is damaged; remove it")]
    BadKey(String),
}

impl CodeCache {
    /// Opens the cache of this directory, which is made if need be.
    pub(crate) fn open(directory: &Path, limit: u64, engine: &Engine) -> Result<Self, Unusable> {
        match DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
        {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let shown = || directory.display().to_string();
        let metadata = fs::symlink_metadata(directory)?;
        if !metadata.is_dir() {
            return Err(Unusable::NoDirectory(shown()));
        }
        if metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(Unusable::NotOurs(shown()));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(Unusable::Open(shown(), "write to"));
        }
        Ok(Self {
            key: key(&directory.join(KEY))?,
            directory: directory.to_owned(),
            engine: fingerprint(engine),
            limit,
        })
    }

    /// Returns the code kept for a module. What is damaged is removed and told in the log.
    pub(crate) fn load(&self, engine: &Engine, sha256: &str) -> Option<wasmtime::Module> {
        let (name, path) = self.place(sha256);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                report("cannot be read", &path, &error.to_string());
                return None;
            }
        };
        match self.read(&mut file, &name, engine) {
            Ok(module) => {
                // The time of the last use decides what goes first when there is no room.
                let _ = file.set_modified(SystemTime::now());
                Some(module)
            }
            Err(why) => {
                report("is damaged and is made again", &path, &why);
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    fn read(
        &self,
        file: &mut File,
        name: &str,
        engine: &Engine,
    ) -> Result<wasmtime::Module, String> {
        let mut bytes = Vec::new();
        file.take(self.limit)
            .read_to_end(&mut bytes)
            .map_err(|e| e.to_string())?;
        let rest = bytes.strip_prefix(MAGIC).ok_or("it has another form")?;
        let (mac, code) = rest.split_at_checked(MAC).ok_or("it is cut off")?;
        let expected = self.mac(name, code);
        let differs = mac
            .iter()
            .zip(expected)
            .fold(0, |all, (a, b)| all | (a ^ b));
        if differs != 0 {
            return Err("its contents are not what was written".to_owned());
        }
        // SAFETY: the code was written by `store` of a process of this user, out of an engine with
        // the same fingerprint, since it verifies under a key that only this user can read, over
        // contents and name. Nothing has changed it since. The bytes are copied before use.
        unsafe { wasmtime::Module::deserialize(engine, code) }.map_err(|e| format!("{e:#}"))
    }

    /// Keeps the code of a module. Failing is told in the log and nothing else.
    pub(crate) fn store(&self, sha256: &str, module: &wasmtime::Module) {
        let (name, path) = self.place(sha256);
        let code = match module.serialize() {
            Ok(code) => code,
            Err(error) => return report("cannot be made", &path, &format!("{error:#}")),
        };
        let size = MAGIC.len() + MAC + code.len();
        if u64::try_from(size).unwrap_or(u64::MAX) > self.limit {
            return;
        }
        let mac = self.mac(&name, &code);
        if let Err(error) = write_atomically(&path, &[MAGIC, &mac, &code]) {
            return report("cannot be written", &path, &error.to_string());
        }
        if let Err(error) = self.trim() {
            report("cannot be kept small", &self.directory, &error.to_string());
        }
    }

    /// Removes what was used longest ago until the rest fits, and what was never finished.
    fn trim(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(ENDING) => kept.push((used, metadata.len(), path)),
                Some(UNFINISHED) if used.elapsed().is_ok_and(|age| age > STALE) => {
                    fs::remove_file(path)?;
                }
                _ => {}
            }
        }
        kept.sort_unstable();
        let mut total: u64 = kept.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in kept {
            if total <= self.limit {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }

    fn place(&self, sha256: &str) -> (String, PathBuf) {
        let name = format!("{sha256}-{}.{ENDING}", self.engine);
        let path = self.directory.join(&name);
        (name, path)
    }

    fn mac(&self, name: &str, code: &[u8]) -> [u8; MAC] {
        hmac(&self.key, &[name.as_bytes(), &[0], code])
    }
}

fn report(what: &str, path: &Path, why: &str) {
    tracing::warn!(target: "wasm", path = %path.display(), "compiled code {what}: {why}");
}

/// HMAC-SHA256 (RFC 2104) with a key shorter than a block.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; MAC] {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let mut inner = Sha256::new_with_prefix(padded(0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha256::new_with_prefix(padded(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// Reads the key, or makes one. Of two processes that make one at once, one wins and both use it.
fn key(path: &Path) -> Result<[u8; 32], Unusable> {
    if !path.try_exists()? {
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|e| io::Error::other(e.to_string()))?;
        let unfinished = write_unfinished(path, &[&fresh])?;
        let linked = fs::hard_link(&unfinished, path);
        fs::remove_file(&unfinished)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    let shown = || path.display().to_string();
    let metadata = fs::symlink_metadata(path)?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Unusable::NotOurs(shown()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Unusable::Open(shown(), "read"));
    }
    let bytes = fs::read(path)?;
    bytes.try_into().map_err(|_| Unusable::BadKey(shown()))
}

fn write_atomically(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let unfinished = write_unfinished(path, parts)?;
    fs::rename(&unfinished, path).inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

/// Writes beside `path`, under a name of its own.
fn write_unfinished(path: &Path, parts: &[&[u8]]) -> io::Result<PathBuf> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let unfinished = path.with_extension(format!("{process}-{serial}.{UNFINISHED}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    let written = parts.iter().try_for_each(|part| file.write_all(part));
    written.inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    Ok(unfinished)
}

/// Returns a name for everything that compiled code depends on besides its module.
fn fingerprint(engine: &Engine) -> String {
    struct Collect(Sha256);

    impl Hasher for Collect {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    let mut collect = Collect(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut collect);
    let mut text = String::new();
    for byte in collect.0.finalize().iter().take(8) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
