//! What is wrong with the objects people gave us, said in one form everywhere.
//!
//! A [`Finding`] is a value; [`Finding`]'s `Display` is the only place where it becomes a sentence,
//! so status conditions, `cairn status`, logs and pages say the same. [`Board`] is the list of all
//! findings that hold right now, one section per part that finds things.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::object::Key;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Severity {
    /// A document or an object is refused.
    Error,
    /// Everything given is in effect, but not as its author may think.
    Warning,
}

/// One thing that is wrong: where, what, what it does to traffic, and what to do about it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file as its path was given, if the object came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1; 0 if unknown.
    #[serde(default)]
    pub line: u32,
    /// Column in the line, from 1; 0 if unknown.
    #[serde(default)]
    pub column: u32,
    /// The object, if the document could be read that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectName>,
    /// The field, as `spec.rules[0].name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong with the field.
    pub what: String,
    /// What that does to the object or to traffic now.
    pub effect: String,
    /// What to do about it; empty if that is plain.
    pub remedy: String,
}

/// The name of an object in a finding.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ObjectName {
    /// Kind, as in the manifest.
    pub kind: String,
    /// Namespace, empty for an object without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl From<&Key> for ObjectName {
    fn from(key: &Key) -> Self {
        Self {
            kind: key.kind.name().to_owned(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// `FILE:LINE Kind NS/NAME field.path: what, effect, what to do`; parts that are unknown are left
/// out.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.file.as_ref().map(|file| match self.line {
            0 => file.clone(),
            line => format!("{file}:{line}"),
        });
        let object = self.object.as_ref().map(ToString::to_string);
        let where_ = [place, object, self.field.clone()];
        let where_: Vec<String> = where_.into_iter().flatten().collect();
        if !where_.is_empty() {
            write!(f, "{}: ", where_.join(" "))?;
        }
        f.write_str(&self.what)?;
        for part in [&self.effect, &self.remedy] {
            if !part.is_empty() {
                write!(f, ", {part}")?;
            }
        }
        Ok(())
    }
}

/// All findings that hold now. Each part of control owns one section and replaces it whole.
#[derive(Debug)]
pub struct Board {
    sections: RwLock<BTreeMap<&'static str, Arc<[Finding]>>>,
    changed: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            sections: RwLock::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Replaces the findings of one section. Nothing happens if they are the same as before.
    pub fn set(&self, section: &'static str, findings: Vec<Finding>) {
        let mut sections = self.sections.write();
        if sections.get(section).map_or(&[][..], |old| old) == findings {
            return;
        }
        sections.insert(section, findings.into());
        drop(sections);
        self.changed.send_modify(|version| *version += 1);
    }

    /// All findings, ordered by file, line and object.
    pub fn all(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> = self
            .sections
            .read()
            .values()
            .flat_map(|section| section.iter().cloned())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// A number that changes whenever the findings do.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            file: Some("shop/routes.yaml".to_owned()),
            line: 12,
            column: 9,
            object: Some(ObjectName {
                kind: "HTTPRoute".to_owned(),
                namespace: "default".to_owned(),
                name: "reviews".to_owned(),
            }),
            field: Some("spec.rules[0].matches[1].path.value".to_owned()),
            severity: Severity::Error,
            what: "does not begin with '/'".to_owned(),
            effect: "the object is refused".to_owned(),
            remedy: "write \"/reviews\"".to_owned(),
        }
    }

    #[test]
    fn is_worded_place_object_field_what_effect_remedy() {
        assert_eq!(
            finding().to_string(),
            "shop/routes.yaml:12 HTTPRoute default/reviews spec.rules[0].matches[1].path.value: \
             does not begin with '/', the object is refused, write \"/reviews\""
        );
    }

    #[test]
    fn unknown_parts_are_left_out() {
        let mut finding = finding();
        finding.object = None;
        finding.field = None;
        finding.line = 0;
        finding.remedy = String::new();
        assert_eq!(
            finding.to_string(),
            "shop/routes.yaml: does not begin with '/', the object is refused"
        );
        finding.file = None;
        assert_eq!(
            finding.to_string(),
            "does not begin with '/', the object is refused"
        );
    }

    #[test]
    fn an_object_without_namespace_is_named_alone() {
        let name = ObjectName {
            kind: "Namespace".to_owned(),
            namespace: String::new(),
            name: "shop".to_owned(),
        };
        assert_eq!(name.to_string(), "Namespace shop");
    }

    #[test]
    fn the_board_tells_of_changes_only() {
        let board = Board::default();
        let mut changes = board.subscribe();
        board.set("a", vec![finding()]);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        board.set("a", vec![finding()]);
        board.set("b", vec![]);
        assert!(!changes.has_changed().unwrap());
        let mut earlier = finding();
        earlier.file = Some("a.yaml".to_owned());
        board.set("b", vec![earlier.clone()]);
        assert_eq!(board.all(), [earlier, finding()]);
        board.set("a", vec![]);
        assert_eq!(board.all().len(), 1);
    }
}
