//! The manifests people wrote and those control generates, as documents.
//!
//! Only as far as the runner needs them: what a document means is [`super::desired`]'s, what is
//! wrong with it is control's to say. A file that cannot be read keeps what it last held.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use notify::{RecursiveMode, Watcher};
use serde_json::Value;
use tokio::sync::Notify;

use super::desired::{Document, Origin};

/// Larger files are not read; control says so.
const FILE_MAX: u64 = 4 << 20;

/// The files below a number of paths, read again when they change.
pub(super) struct Manifests {
    roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    watcher: notify::RecommendedWatcher,
    watched: Vec<PathBuf>,
}

impl std::fmt::Debug for Manifests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manifests")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct File {
    /// What tells one version of a file from another without reading it.
    stamp: Option<(SystemTime, u64, u64)>,
    documents: Vec<Document>,
}

impl Manifests {
    /// Manifests below `roots`, files or folders, the first one winning. `changed` is told when
    /// something may be different; [`Manifests::reload`] finds out.
    pub(super) fn new(roots: Vec<PathBuf>, changed: Arc<Notify>) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(move |_| changed.notify_one())?;
        Ok(Self {
            roots,
            files: BTreeMap::new(),
            watcher,
            watched: Vec::new(),
        })
    }

    /// Reads what is new. Returns whether anything differs from before.
    pub(super) fn reload(&mut self) -> bool {
        self.watch_missing();
        let paths: Vec<PathBuf> = self
            .roots
            .iter()
            .flat_map(|root| files_below(root))
            .collect();
        let before = self.files.len();
        self.files.retain(|path, _| paths.contains(path));
        let mut changed = self.files.len() != before;
        for path in paths {
            let file = self.files.entry(path.clone()).or_default();
            changed |= file.reload(&path);
        }
        changed
    }

    /// All documents; those of an earlier root, and of an earlier name in it, come first.
    pub(super) fn documents(&self) -> impl Iterator<Item = &Document> {
        self.roots.iter().flat_map(|root| {
            let below = self
                .files
                .iter()
                .filter(move |(path, _)| path.starts_with(root));
            below.flat_map(|(_, file)| &file.documents)
        })
    }

    /// Folders are watched, not files: an editor puts a new file in the old one's place.
    fn watch_missing(&mut self) {
        for root in &self.roots {
            let folder = if root.is_dir() {
                Some(root.as_path())
            } else {
                root.parent()
            };
            let Some(folder) = folder.filter(|folder| !self.watched.iter().any(|of| of == folder))
            else {
                continue;
            };
            if self.watcher.watch(folder, RecursiveMode::Recursive).is_ok() {
                self.watched.push(folder.to_owned());
            }
        }
    }
}

impl File {
    fn reload(&mut self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;

        let Ok(metadata) = fs::metadata(path) else {
            return false;
        };
        let stamp = metadata
            .modified()
            .ok()
            .map(|at| (at, metadata.size(), metadata.ino()));
        if stamp.is_some() && stamp == self.stamp || metadata.size() > FILE_MAX {
            return false;
        }
        let Ok(text) = fs::read_to_string(path) else {
            return false;
        };
        self.stamp = stamp;
        match parse(path, &text) {
            // Half an edit: nobody can tell a broken object from one that was removed.
            Err(_) => false,
            Ok(documents) if documents == self.documents => false,
            Ok(documents) => {
                self.documents = documents;
                true
            }
        }
    }
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let is_manifest = |path: &PathBuf| {
        let name = path
            .file_name()
            .is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
        name && path
            .extension()
            .is_some_and(|of| of == "yaml" || of == "yml" || of == "json")
    };
    if root.is_file() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| is_manifest(path) && path.is_file())
        .collect();
    files.sort();
    files
}

/// The documents of a file; an error as soon as one of them cannot be read.
fn parse(path: &Path, text: &str) -> io::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for (line, chunk) in chunks(text) {
        let value: Value = serde_saphyr::from_str(chunk).map_err(io::Error::other)?;
        let origin = Origin {
            file: Some(path.display().to_string()),
            line,
        };
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                let items = list
                    .get_mut("items")
                    .and_then(Value::as_array_mut)
                    .map(std::mem::take);
                let items = items.unwrap_or_default().into_iter();
                documents.extend(items.map(|value| Document {
                    value,
                    origin: origin.clone(),
                }));
            }
            value => documents.push(Document { value, origin }),
        }
    }
    Ok(documents)
}

/// The text between `---` lines, each with its first line's number, from 1.
fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (number, line) in (1_u32..).zip(text.split_inclusive('\n')) {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim().is_empty() || rest.starts_with(' '));
        if is_marker {
            chunks.push((start_line, text.get(start..offset)));
            (start, start_line) = (offset + line.len(), number + 1);
        }
        offset += line.len();
    }
    chunks.push((start_line, text.get(start..)));
    let has_content = |text: &str| {
        text.lines()
            .any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
    };
    chunks
        .into_iter()
        .filter_map(|(line, text)| Some((line, text.filter(|text| has_content(text))?)))
        .collect()
}

#[cfg(test)]
mod tests;
