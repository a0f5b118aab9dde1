//! The folder of objects the runner writes and control reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    path::PathBuf,
};

use serde::Serialize;
use serde_json::Value;

use crate::state::write_atomically;

/// Objects on disk, one file each; only what differs is written.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    written: BTreeMap<String, Value>,
}

impl Store {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            written: BTreeMap::new(),
        }
    }

    /// The objects in the folder.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Value> {
        self.written.values()
    }

    /// Makes the folder hold exactly `objects`.
    pub(super) fn sync(&mut self, objects: &[Value]) -> io::Result<()> {
        let mut present = BTreeSet::new();
        for object in objects {
            let name = file_name(object);
            if self.written.get(&name) != Some(object) {
                write_atomically(
                    &self.folder.join(&name),
                    &serde_json::to_vec_pretty(object)?,
                )?;
                self.written.insert(name.clone(), object.clone());
            }
            present.insert(name);
        }
        let gone: Vec<String> = self
            .written
            .keys()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            match fs::remove_file(self.folder.join(OsString::from(&name))) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => self.written.remove(&name),
            };
        }
        Ok(())
    }
}

/// `kind.namespace.name.json`: sorted by kind, and no two objects share one.
fn file_name(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let kind = text("/kind").to_lowercase();
    // A namespace holds no dot, so what follows the second one is the name.
    format!(
        "{kind}.{}.{}.json",
        text("/metadata/namespace"),
        text("/metadata/name")
    )
}

/// An object as JSON.
pub(super) fn json(object: &impl Serialize) -> Value {
    // Maps with text keys always can be written.
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_written_and_what_is_gone_is_removed() {
        let folder = std::env::temp_dir().join(format!("cairn-store-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut store = Store::new(folder.clone());
        let object = |kind: &str, name: &str, x: i32| json!({"kind": kind, "metadata": {"namespace": "default", "name": name}, "x": x});
        store
            .sync(&[object("Pod", "a", 1), object("Pod", "b", 1)])
            .unwrap();
        let inode = |name: &str| fs::metadata(folder.join(name)).map(|metadata| metadata.ino());
        let before = inode("pod.default.a.json").unwrap();

        store
            .sync(&[object("Pod", "a", 1), object("Service", "b", 2)])
            .unwrap();
        assert_eq!(inode("pod.default.a.json").unwrap(), before);
        assert!(inode("pod.default.b.json").is_err());
        let text = fs::read(folder.join("service.default.b.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap()["x"], 2);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(folder).unwrap();
    }
}
