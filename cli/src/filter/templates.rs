//! Projects to begin with, one for each language. They stand as files in `templates/`, and are part
//! of this program.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use super::project::{Language, MANIFEST};

/// A file of a project: where it goes, and its text.
type File = (&'static str, &'static str);

/// Files that are written as they are.
macro_rules! files {
    ($($to:literal from $from:literal),* $(,)?) => {
        &[$(($to, include_str!(concat!("templates/", $from)))),*]
    };
}

const RUST: &[File] = files! {
    "Cargo.toml" from "rust/project/Cargo.toml",
    "src/lib.rs" from "rust/project/src/lib.rs",
    ".gitignore" from "rust/project/gitignore",
};

const GO: &[File] = files! {
    "go.mod" from "go/project/go.mod.in",
    "main.go" from "go/project/main.go",
    ".gitignore" from "go/project/gitignore",
    "proxywasm/README.md" from "go/proxywasm/README.md",
    "proxywasm/go.mod" from "go/proxywasm/go.mod",
    "proxywasm/calls.go" from "go/proxywasm/calls.go",
    "proxywasm/exports.go" from "go/proxywasm/exports.go",
    "proxywasm/imports.go" from "go/proxywasm/imports.go",
    "proxywasm/memory.go" from "go/proxywasm/memory.go",
    "proxywasm/messages.go" from "go/proxywasm/messages.go",
    "proxywasm/plugin.go" from "go/proxywasm/plugin.go",
    "proxywasm/shared.go" from "go/proxywasm/shared.go",
    "proxywasm/streams.go" from "go/proxywasm/streams.go",
    "proxywasm/types/defaults.go" from "go/proxywasm/types/defaults.go",
    "proxywasm/types/types.go" from "go/proxywasm/types/types.go",
};

const ASSEMBLYSCRIPT: &[File] = files! {
    "package.json" from "assemblyscript/project/package.json",
    "assembly/index.ts" from "assemblyscript/project/assembly/index.ts",
    "assembly/tsconfig.json" from "assemblyscript/project/assembly/tsconfig.json",
    ".gitignore" from "assemblyscript/project/gitignore",
};

const C: &[File] = files! {
    "filter.c" from "c/project/filter.c",
    "proxy_wasm.h" from "c/proxy_wasm.h",
    ".gitignore" from "c/project/gitignore",
};

const SHARED: &[File] = files! {
    "README.md" from "shared/README.md",
    "filter.yaml" from "shared/filter.yaml",
    "tests/greeting.yaml" from "shared/greeting.yaml",
};

/// The file to begin with.
fn source(language: Language) -> &'static str {
    match language {
        Language::Rust => "src/lib.rs",
        Language::Go => "main.go",
        Language::AssemblyScript => "assembly/index.ts",
        Language::C => "filter.c",
    }
}

/// The files of a new project, filled in.
fn project(language: Language, name: &str) -> Vec<(&'static str, String)> {
    let own = match language {
        Language::Rust => RUST,
        Language::Go => GO,
        Language::AssemblyScript => ASSEMBLYSCRIPT,
        Language::C => C,
    };
    let output = format!("build/{name}.wasm");
    let words = [
        ("{{name}}", name),
        ("{{lang}}", language.name()),
        ("{{language}}", language.title()),
        ("{{output}}", &output),
        ("{{source}}", source(language)),
    ];
    let fill = |text: &str| {
        words.iter().fold(text.to_owned(), |text, (word, with)| {
            text.replace(word, with)
        })
    };
    own.iter()
        .chain(SHARED)
        .map(|(path, text)| (*path, fill(text)))
        .collect()
}

/// Writes a new project into `folder`, which must not be there.
///
/// # Errors
/// When the name cannot be used, the folder is there, or cannot be written.
pub fn create(language: Language, name: &str, folder: &Path) -> anyhow::Result<()> {
    check_name(name)?;
    if folder.exists() {
        bail!(
            "{} is there already; choose another name, or remove it",
            folder.display()
        );
    }
    for (path, text) in project(language, name) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    debug_assert!(folder.join(MANIFEST).exists());
    Ok(())
}

/// A name becomes a crate, a module and an object: what all of these allow.
fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    // Names that a compiler has for itself.
    let taken = ["core", "std", "alloc", "test", "proc-macro", "proxywasm"].contains(&name);
    if !fits || !begins || name.ends_with('-') || name.len() > 50 || taken {
        bail!(
            "{name:?} is no name for a filter; use lower-case letters, digits and dashes, \
             beginning with a letter, at most 50, such as add-header"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_open_in_a_new_project() {
        for language in Language::ALL {
            for (path, text) in project(language, "demo") {
                for word in ["{{name", "{{lang", "{{out", "{{source"] {
                    assert!(!text.contains(word), "{path} holds {word}");
                }
            }
        }
    }

    #[test]
    fn every_file_of_the_go_package_is_part_of_a_project() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/filter/templates/go/proxywasm");
        for folder in [folder.clone(), folder.join("types")] {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                assert!(
                    path.is_dir() || GO.iter().any(|(to, _)| to.ends_with(&name)),
                    "{name} is missing"
                );
            }
        }
    }

    #[test]
    fn a_name_is_one_that_every_language_allows() {
        for good in ["demo", "add-header", "a1"] {
            check_name(good).unwrap();
        }
        for bad in ["", "1a", "-a", "a-", "A", "a_b", "a/b", "..", "test", "std"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
