//! What can be told about a module without compiling it, for errors that name things.

use wasmparser::{Encoding, ExternalKind, Parser, Payload, TypeRef};

use crate::abi::AbiVersion;
use crate::error::Error;
use crate::hostcalls::{HostFunctions, wasi};
use crate::vm::exports::ALLOCATORS;

/// The names in a module.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    imports: Vec<Import>,
    exports: Vec<(String, ExternalKind)>,
    pub(super) functions: usize,
}

#[derive(Debug)]
struct Import {
    module: String,
    name: String,
    is_function: bool,
}

/// More imports or exports than this are not read: no filter has a tenth of it.
const MAX_NAMES: usize = 10_000;

impl Inspection {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Error> {
        let not_wasm = |e: wasmparser::BinaryReaderError| Error::NotWasm {
            why: format!("{e}; the file is damaged or not whole"),
        };
        if !bytes.starts_with(b"\0asm") {
            return Err(Error::NotWasm {
                why: what_instead(bytes).to_owned(),
            });
        }
        let mut this = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(not_wasm)? {
                Payload::Version {
                    encoding: Encoding::Component,
                    ..
                } => return Err(Error::Component),
                Payload::FunctionSection(section) => {
                    this.functions = usize::try_from(section.count()).unwrap_or(usize::MAX);
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports().take(MAX_NAMES) {
                        let import = import.map_err(not_wasm)?;
                        this.imports.push(Import {
                            module: import.module.to_owned(),
                            name: import.name.to_owned(),
                            is_function: matches!(import.ty, TypeRef::Func(_)),
                        });
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section.into_iter().take(MAX_NAMES) {
                        let export = export.map_err(not_wasm)?;
                        this.exports.push((export.name.to_owned(), export.kind));
                    }
                }
                _ => {}
            }
        }
        Ok(this)
    }

    /// The newest version the module names; several happen when SDKs are linked twice.
    pub(super) fn abi_version(&self) -> Result<AbiVersion, Error> {
        let known = self
            .functions_exported()
            .filter_map(AbiVersion::from_marker)
            .max();
        known.ok_or_else(|| Error::NoAbiVersion {
            found: self
                .functions_exported()
                .find(|name| name.starts_with("proxy_abi_"))
                .map(str::to_owned),
            instead: self.instead(),
        })
    }

    /// What a module without a version seems to be, and what to do.
    fn instead(&self) -> Option<&'static str> {
        let imports_of = |from: &str| self.imports.iter().any(|import| import.module == from);
        let exports = |start: &str| {
            self.functions_exported()
                .any(|name| name.starts_with(start))
        };
        if imports_of("http_handler") {
            Some("it is made for http-wasm (Traefik, Dapr); build it with an SDK of proxy-wasm")
        } else if imports_of("extism:host/env") {
            Some("it is made for Extism; build it with an SDK of proxy-wasm")
        } else if imports_of("gojs") || imports_of("go") || imports_of("__wbindgen_placeholder__") {
            Some("it is made for browsers; build it with an SDK of proxy-wasm (Go: GOOS=wasip1)")
        } else if exports("proxy_on_") {
            Some("its SDK is older than that; build it with a current one")
        } else if exports("_start") || exports("_initialize") {
            Some("it is a program or library, but no filter; build it with an SDK of proxy-wasm")
        } else {
            None
        }
    }

    pub(super) fn require_exports(&self) -> Result<(), Error> {
        let mut missing = Vec::new();
        if !self
            .exports
            .iter()
            .any(|(name, kind)| name == "memory" && *kind == ExternalKind::Memory)
        {
            missing.push("memory");
        }
        if !self
            .functions_exported()
            .any(|name| ALLOCATORS.contains(&name))
        {
            missing.push("proxy_on_memory_allocate (or malloc)");
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Error::MissingExports(missing))
        }
    }

    /// Names every import that cannot be satisfied, once each.
    pub(super) fn imports_unknown_to(&self, functions: &HostFunctions) -> Vec<String> {
        let mut unknown: Vec<String> = Vec::new();
        for Import {
            module,
            name,
            is_function,
        } in &self.imports
        {
            let known = *is_function
                && (functions.signature(module, name).is_some() || wasi::is_module(module));
            let full = format!("{module}.{name}");
            if !known && !unknown.contains(&full) {
                unknown.push(full);
            }
        }
        unknown
    }

    fn functions_exported(&self) -> impl Iterator<Item = &str> {
        let functions = self
            .exports
            .iter()
            .filter(|(_, kind)| *kind == ExternalKind::Func);
        functions.map(|(name, _)| name.as_str())
    }
}

/// Guesses what bytes are that should have been a module.
fn what_instead(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "it is empty",
        [0x1f, 0x8b, ..] => "it is compressed with gzip",
        [b'P', b'K', 3, 4, ..] => "it is a zip archive; take the .wasm file out of it",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd",
        [0xde, 0xc0, 0x17, 0x0b, ..] | [b'B', b'C', 0xc0, 0xde, ..] => {
            "it is bitcode of LLVM, which has yet to be linked"
        }
        [b'M', b'Z', ..] => "it is a program for Windows",
        [b'{', ..] => "it looks like JSON",
        _ if bytes.starts_with(b"version https://git-lfs") => {
            "it is a pointer of Git LFS; get the file itself with git lfs pull"
        }
        [b'<', ..] => "it looks like a web page",
        [b'(', ..] => "it looks like WebAssembly text; convert it with wat2wasm",
        [0x7f, b'E', b'L', b'F', ..] => "it is a program for this machine, not for WebAssembly",
        _ => "it does not begin with \\0asm",
    }
}
