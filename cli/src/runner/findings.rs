//! What the runner has to say about objects, in the shape control says it.
//!
//! `cairn status` shows both lists as one, so the fields are those of control's findings.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Severity {
    /// An object, or a part of it, is refused.
    Error,
    /// Everything given is in effect, but not as its author may think.
    Warning,
}

/// The object a finding is about.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ObjectName {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for kinds that have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One thing that is wrong: where, what, what it does, and what to do about it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file the object is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1; 0 if unknown.
    #[serde(default)]
    pub line: u32,
    /// The object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectName>,
    /// The field, as `spec.template.spec.containers[0].command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What that does now.
    pub effect: String,
    /// What to do about it; empty if that is plain.
    #[serde(default)]
    pub remedy: String,
}

impl Finding {
    /// Reads a list of findings; what cannot be read has none.
    pub fn read_all(path: &Path) -> Vec<Self> {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// `FILE:LINE Kind NS/NAME field.path: what, effect, what to do`; unknown parts are left out.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.file.as_ref().map(|file| match self.line {
            0 => file.clone(),
            line => format!("{file}:{line}"),
        });
        let object = self.object.as_ref().map(ToString::to_string);
        let place: Vec<String> = [place, object, self.field.clone()]
            .into_iter()
            .flatten()
            .collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(" "))?;
        }
        f.write_str(&self.what)?;
        let rest = [&self.effect, &self.remedy]
            .into_iter()
            .filter(|part| !part.is_empty());
        rest.into_iter().try_for_each(|part| write!(f, ", {part}"))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_sentence_and_survives_the_file() {
        let finding = Finding {
            file: Some("shop.yaml".to_owned()),
            line: 12,
            object: Some(ObjectName {
                kind: "Deployment".to_owned(),
                namespace: "default".to_owned(),
                name: "reviews".to_owned(),
            }),
            field: Some("spec.template.spec.containers[0].command".to_owned()),
            severity: Severity::Error,
            what: "is required".to_owned(),
            effect: "no pod is started".to_owned(),
            remedy: "name the program to run".to_owned(),
        };
        assert_eq!(
            finding.to_string(),
            "shop.yaml:12 Deployment default/reviews spec.template.spec.containers[0].command: is required, \
             no pod is started, name the program to run"
        );
        let text = serde_json::to_vec(&[finding.clone()]).unwrap();
        assert_eq!(
            serde_json::from_slice::<Vec<Finding>>(&text).unwrap(),
            [finding]
        );
    }
}
