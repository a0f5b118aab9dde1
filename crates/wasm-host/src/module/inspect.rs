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
        let not_wasm = |e: wasmparser::BinaryReaderError| Error::NotWasm { why: e.to_string() };
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
                .find(|name| name.starts_with("proxy_abi_version_"))
                .map(str::to_owned),
        })
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
        [b'<', ..] => "it looks like a web page",
        [b'(', ..] => "it looks like WebAssembly text; convert it with wat2wasm",
        [0x7f, b'E', b'L', b'F', ..] => "it is a program for this machine, not for WebAssembly",
        _ => "it does not begin with \\0asm",
    }
}
