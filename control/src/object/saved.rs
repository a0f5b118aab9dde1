//! What of the store outlives a restart of control: the objects, their lives and their statuses.
//!
//! One JSON file, replaced as a whole; a file that cannot be read is no reason not to start.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, Life, Objects};
use crate::admission;
use crate::source::lines::{LineTable, Position};
use crate::source::{Document, Origin, Root, Scope};

/// The file's format.
const FORMAT: u32 = 1;

/// A store that can be written down.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Saved {
    #[serde(default)]
    format: u32,
    pub(super) revision: u64,
    pub(super) ages: Vec<Age>,
    pub(super) objects: Vec<SavedObject>,
}

/// Since when a scope has had objects.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Age {
    pub(super) scope: SavedScope,
    pub(super) since: Timestamp,
}

/// A scope without its place among the others: that is decided by how control is started.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct SavedScope {
    root: SavedRoot,
    name: Arc<str>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum SavedRoot {
    Written(PathBuf),
    Recorded(PathBuf),
    Generated,
    Builtin,
}

impl From<&Root> for SavedRoot {
    fn from(root: &Root) -> Self {
        match root {
            Root::Written { path, .. } => Self::Written(path.to_path_buf()),
            Root::Recorded { path, .. } => Self::Recorded(path.to_path_buf()),
            Root::Generated => Self::Generated,
            Root::Builtin => Self::Builtin,
        }
    }
}

impl SavedScope {
    /// The scope, if its root is still one of `roots`.
    pub(super) fn find(&self, roots: &[Root]) -> Option<Scope> {
        let root = roots
            .iter()
            .find(|root| SavedRoot::from(*root) == self.root)?;
        Some(Scope {
            root: root.clone(),
            name: self.name.clone(),
        })
    }
}

impl From<&Scope> for SavedScope {
    fn from(scope: &Scope) -> Self {
        Self {
            root: SavedRoot::from(&scope.root),
            name: scope.name.clone(),
        }
    }
}

/// One object of a [`Saved`] store.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SavedObject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<SavedScope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<Arc<str>>,
    line: u32,
    #[serde(flatten)]
    pub(super) life: Life,
    pub(super) value: Arc<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Arc<Value>>,
}

impl SavedObject {
    /// The object with its name; `None` if it has none.
    pub(super) fn keyed(self) -> Option<(Key, Self)> {
        let key = admission::key_of(&self.document()).ok()?;
        Some((key, self))
    }

    /// The object as its source would give it.
    pub(super) fn document(&self) -> Document {
        let start = Position {
            line: self.line,
            column: 0,
        };
        let lines = LineTable::starting_at(start);
        let origin = Origin {
            file: self.file.clone(),
            lines,
        };
        Document {
            value: self.value.as_ref().clone(),
            origin,
        }
    }
}

impl Saved {
    pub(super) fn new(
        revision: u64,
        ages: &BTreeMap<Scope, Timestamp>,
        objects: &Objects,
        scope_of: impl Fn(&Key) -> Option<Scope>,
    ) -> Self {
        let age = |(scope, since): (&Scope, &Timestamp)| Age {
            scope: scope.into(),
            since: *since,
        };
        let objects = objects.iter().map(|object| SavedObject {
            scope: scope_of(&object.key).as_ref().map(SavedScope::from),
            file: object.origin.file.clone(),
            line: object.origin.lines.start().line,
            life: object.life.clone(),
            value: object.value.clone(),
            status: object.status.clone(),
        });
        Self {
            format: FORMAT,
            revision,
            ages: ages.iter().map(age).collect(),
            objects: objects.collect(),
        }
    }

    /// Reads what was saved in `file`; nothing, if there is no such file.
    ///
    /// # Errors
    /// The file exists and cannot be read, or is of another format.
    pub fn load(file: &Path) -> io::Result<Self> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let saved: Self = serde_json::from_slice(&text)?;
        if saved.format != FORMAT {
            let what = format!("saved objects have format {}, not {FORMAT}", saved.format);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(saved)
    }

    /// Replaces `file`, at once and whole, readable by its owner only: Secrets are objects too.
    ///
    /// # Errors
    /// The file cannot be written; then the former one stays.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;

        let text = serde_json::to_vec(self)?;
        let draft = file.with_extension("json.new");
        let mut options = std::fs::OpenOptions::new();
        let mut writer = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        writer.write_all(&text)?;
        writer.sync_all()?;
        std::fs::rename(&draft, file)
    }
}
