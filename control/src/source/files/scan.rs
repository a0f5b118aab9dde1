//! Listing folders and reading files, once.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::finding::{Finding, Severity};
use crate::source::yaml::MAX_BYTES;

/// A file that changed more recently than this may still be changing.
pub(super) const QUIET: Duration = Duration::from_millis(60);

/// Folders are followed this deep.
const MAX_DEPTH: usize = 32;

/// The files of a root.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Where each file is, by the name people know it by.
    pub(super) files: BTreeMap<Arc<str>, PathBuf>,
    /// Whether these are all; if not, files that are missing here may still exist.
    pub(super) is_complete: bool,
    /// What is odd about the folder.
    pub(super) findings: Vec<Finding>,
}

/// Lists the manifests at `path`: itself, or those in the folder and below.
///
/// Names beginning with `.` are passed over. A link is followed if it leads to something in the
/// folder that is not listed anyway: this is how Kubernetes mounts a `ConfigMap` (`a.yaml` →
/// `..data/a.yaml`, `..data` → `..2026_01_01`).
///
/// # Errors
/// `path` does not exist or cannot be read.
pub(super) fn list(path: &Path) -> io::Result<Listing> {
    let mut listing = Listing {
        is_complete: true,
        ..Listing::default()
    };
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        let root = fs::canonicalize(path)?;
        list_folder(&root, path, 0, &mut listing)?;
    } else if metadata.is_file() {
        listing.files.insert(shown(path), path.to_path_buf());
    } else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a file nor a folder",
        ));
    }
    Ok(listing)
}

fn list_folder(root: &Path, folder: &Path, depth: usize, into: &mut Listing) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let file_type = entry.file_type()?;
        let is_folder = if file_type.is_symlink() {
            match linked(root, &path) {
                Link::Folder => true,
                Link::File => false,
                Link::Outside if is_manifest(&path) => {
                    let what = "is a link that leads out of the folder".to_owned();
                    let remedy = "name the file or folder it leads to as a path of its own";
                    let warning = Severity::Warning;
                    into.findings
                        .push(finding(&path, warning, what, "it is ignored", remedy));
                    continue;
                }
                Link::Outside | Link::Nothing => continue,
            }
        } else {
            file_type.is_dir()
        };
        if !is_folder {
            if is_manifest(&path) {
                into.files.insert(shown(&path), path);
            }
        } else if depth == MAX_DEPTH {
            into.is_complete = false;
        } else if let Err(error) = list_folder(root, &path, depth + 1, into) {
            // What is below it stays, the rest of the folder is none the worse.
            into.is_complete = false;
            let what = format!("cannot be read: {error}");
            let effect = "what it last held stays in effect";
            into.findings.push(finding(
                &path,
                Severity::Error,
                what,
                effect,
                "allow reading it",
            ));
        }
    }
    Ok(())
}

enum Link {
    File,
    Folder,
    Outside,
    /// It leads nowhere, or to what is listed anyway.
    Nothing,
}

fn linked(root: &Path, link: &Path) -> Link {
    let Ok(target) = fs::canonicalize(link) else {
        return Link::Nothing;
    };
    let Ok(inside) = target.strip_prefix(root) else {
        return Link::Outside;
    };
    let is_hidden = inside
        .components()
        .any(|c| c.as_os_str().as_encoded_bytes().starts_with(b"."));
    match fs::metadata(&target) {
        Ok(metadata) if is_hidden && metadata.is_dir() => Link::Folder,
        Ok(metadata) if is_hidden && metadata.is_file() => Link::File,
        _ => Link::Nothing,
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn shown(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

/// A finding about a file or folder.
pub(super) fn finding(
    path: &Path,
    severity: Severity,
    what: String,
    effect: &str,
    remedy: &str,
) -> Finding {
    Finding {
        file: Some(path.to_string_lossy().into_owned()),
        line: 0,
        column: 0,
        object: None,
        field: None,
        severity,
        what,
        effect: effect.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What reading a file gave.
#[derive(Debug)]
pub(super) enum Reading {
    /// It is as it was.
    Unchanged,
    /// It is changing right now.
    Unsettled,
    /// It has this text.
    Text(Stamp, String),
    /// It is no manifest.
    Unfit(Stamp, &'static str),
}

/// Reads a file, unless it is still as it was at `known`. The file is looked at before and after:
/// what changed meanwhile is not taken.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path, known: Option<Stamp>) -> io::Result<Reading> {
    let before = fs::metadata(path)?;
    let stamp = Stamp::of(&before);
    if known == Some(stamp) {
        return Ok(Reading::Unchanged);
    }
    let age = before
        .modified()
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age < QUIET) {
        return Ok(Reading::Unsettled);
    }
    if !before.is_file() {
        return Ok(Reading::Unfit(stamp, "is no regular file"));
    }
    if before.size() > MAX_BYTES {
        return Ok(Reading::Unfit(stamp, "is larger than 4 MiB"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if Stamp::of(&fs::metadata(path)?) != stamp {
        return Ok(Reading::Unsettled);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Reading::Text(stamp, text)),
        Err(_) => Ok(Reading::Unfit(stamp, "is not UTF-8 text")),
    }
}
