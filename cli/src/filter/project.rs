//! A filter's folder and its `filter.yaml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::Value;

/// Where a folder says that it is a filter.
pub const MANIFEST: &str = "filter.yaml";

/// What a filter is written in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Rust, with the crate `proxy-wasm`.
    Rust,
    /// Go 1.24 or newer, with a package that has the names of the official SDK.
    Go,
    /// AssemblyScript, with `@solo-io/proxy-runtime`.
    #[value(name = "assemblyscript")]
    AssemblyScript,
    /// C or C++, with one header.
    C,
}

impl Language {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Rust, Self::Go, Self::AssemblyScript, Self::C];

    /// Its name on the command line and in `filter.yaml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::AssemblyScript => "assemblyscript",
            Self::C => "c",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Go => "Go",
            Self::AssemblyScript => "AssemblyScript",
            Self::C => "C",
        }
    }
}

/// A `filter.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    lang: Language,
    #[serde(default)]
    build: Option<String>,
    #[serde(default)]
    output: Option<PathBuf>,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    root_id: String,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    allow_on_headers_stop_iteration: bool,
}

/// A filter's folder.
#[derive(Clone, Debug)]
pub struct Project {
    /// The folder.
    pub root: PathBuf,
    /// The filter's name.
    pub name: String,
    /// What it is written in.
    pub language: Language,
    /// The command that builds it, if it has its own.
    pub build: Option<String>,
    /// Where its module is written.
    pub output: PathBuf,
    /// What it is configured with.
    pub configuration: Vec<u8>,
    /// Chooses among several filters of the module.
    pub root_id: String,
    /// The guest's environment.
    pub environment: BTreeMap<String, String>,
    /// Whether a guest that stops at headers still gets the body.
    pub body_while_headers_wait: bool,
}

impl Project {
    /// Reads the project in `folder`.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let manifest: Manifest = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let root = folder
            .canonicalize()
            .with_context(|| format!("find {}", folder.display()))?;
        let output = manifest
            .output
            .unwrap_or_else(|| PathBuf::from(format!("build/{}.wasm", manifest.name)));
        Ok(Self {
            output: root.join(output),
            root,
            name: manifest.name,
            language: manifest.lang,
            build: manifest.build,
            configuration: configuration(&manifest.config)?,
            root_id: manifest.root_id,
            environment: manifest.environment,
            body_while_headers_wait: manifest.allow_on_headers_stop_iteration,
        })
    }

    /// Finds the project that `folder` is in.
    pub fn find(folder: &Path) -> anyhow::Result<Option<Self>> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("find {}", folder.display()))?;
        let root = folder
            .ancestors()
            .find(|folder| folder.join(MANIFEST).is_file());
        root.map(Self::read).transpose()
    }

    /// The project that the process is in.
    pub fn here() -> anyhow::Result<Self> {
        match Self::find(Path::new("."))? {
            Some(project) => Ok(project),
            None => bail!(
                "there is no {MANIFEST} here or above; go to a filter's folder, or make one with \
                 cairn filter new NAME"
            ),
        }
    }
}

/// What a guest gets for a configuration: a text as it is, anything else as JSON, as a `WasmPlugin`
/// would.
pub fn configuration(value: &Value) -> anyhow::Result<Vec<u8>> {
    match value {
        Value::Null => Ok(vec![]),
        Value::String(text) => Ok(text.clone().into_bytes()),
        other => Ok(serde_json::to_vec(other)?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_text_or_json() {
        assert_eq!(configuration(&Value::Null).unwrap(), b"");
        assert_eq!(configuration(&json!("hi")).unwrap(), b"hi");
        assert_eq!(configuration(&json!({"a": 1})).unwrap(), b"{\"a\":1}");
    }
}
