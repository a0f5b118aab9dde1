//! A checked, compiled module, ready to become VMs on any worker.

mod inspect;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::{ExternType, FuncType, InstancePre, Linker, ValType};

use crate::abi::AbiVersion;
use crate::callback::{Callback, Callbacks};
use crate::error::Error;
use crate::host;
use crate::hostcalls::{HostFunctions, wasi};
use crate::module::inspect::Inspection;
use crate::vm::State;
use crate::vm::exports::ALLOCATORS;

/// A compiled filter. Clones are the same module; it may cross threads.
#[derive(Clone, Debug)]
pub struct Module(Arc<Compiled>);

impl From<Compiled> for Module {
    fn from(compiled: Compiled) -> Self {
        Self(Arc::new(compiled))
    }
}

impl Module {
    /// Returns the version of the ABI the module follows, the newest if it names several.
    pub fn abi_version(&self) -> AbiVersion {
        self.0.abi_version
    }

    /// Returns the SHA-256 of the bytes it was compiled from, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// Returns the number of bytes it was compiled from.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Returns the callbacks it exports.
    pub fn callbacks(&self) -> Callbacks {
        self.0.callbacks
    }

    /// Returns whether its code was compiled earlier ([`HostSettings::cache`]).
    ///
    /// [`HostSettings::cache`]: crate::HostSettings::cache
    pub fn from_cache(&self) -> bool {
        self.0.from_cache
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.0
    }
}

/// The inside of a [`Module`].
pub(crate) struct Compiled {
    pub(crate) host: Arc<host::Inner>,
    pub(crate) instance: InstancePre<State>,
    abi_version: AbiVersion,
    callbacks: Callbacks,
    sha256: String,
    size: usize,
    from_cache: bool,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            abi_version,
            sha256,
            size,
            ..
        } = self;
        f.debug_struct("Compiled")
            .field("sha256", sha256)
            .field("abi_version", abi_version)
            .field("size", size)
            .finish_non_exhaustive()
    }
}

impl Compiled {
    /// Checks what can be told without compiling, compiles, and links.
    pub(crate) fn new(host: Arc<host::Inner>, bytes: &[u8]) -> Result<Self, Error> {
        let limit = host.settings.module_bytes;
        if bytes.len() > limit {
            return Err(Error::TooLarge {
                size: bytes.len(),
                limit,
            });
        }
        let inspection = Inspection::of(bytes)?;
        let limit = host.settings.module_functions;
        if inspection.functions > limit {
            return Err(Error::TooManyFunctions {
                count: inspection.functions,
                limit,
            });
        }
        let abi_version = inspection.abi_version()?;
        inspection.require_exports()?;
        let unknown = inspection.imports_unknown_to(&host.functions);
        if !unknown.is_empty() {
            return Err(Error::UnknownImports(unknown));
        }
        let sha256 = hexadecimal(&Sha256::digest(bytes));
        let cached = host
            .cache
            .as_ref()
            .and_then(|cache| cache.load(&host.engine, &sha256));
        let from_cache = cached.is_some();
        let module = match cached {
            Some(module) => module,
            None => wasmtime::Module::from_binary(&host.engine, bytes)
                .map_err(|e| Error::Compile(e.into()))?,
        };
        if let Some(cache) = host.cache.as_ref().filter(|_| !from_cache) {
            cache.store(&sha256, &module);
        }
        check_callbacks(&module)?;
        let linker = link(&host, &module)?;
        let instance = linker
            .instantiate_pre(&module)
            .map_err(|e| Error::Compile(e.into()))?;
        Ok(Self {
            host,
            instance,
            abi_version,
            callbacks: Callback::ALL
                .iter()
                .copied()
                .filter(|callback| module.get_export_index(callback.name()).is_some())
                .collect(),
            sha256,
            size: bytes.len(),
            from_cache,
        })
    }

    /// Returns enough of the digest to recognise the module in a log.
    pub(crate) fn short_sha256(&self) -> String {
        self.sha256.chars().take(12).collect()
    }
}

/// Checks that callbacks have the types they will be called with.
fn check_callbacks(module: &wasmtime::Module) -> Result<(), Error> {
    for callback in Callback::ALL {
        let Some(export) = module.get_export(callback.name()) else {
            continue;
        };
        let found = describe(&export);
        if !callback.types().contains(&found.as_str()) {
            return Err(Error::WrongType {
                name: format!("export {callback}"),
                found,
                expected: callback.types().join(" or "),
            });
        }
    }
    for allocator in ALLOCATORS {
        let Some(export) = module.get_export(allocator) else {
            continue;
        };
        let (found, expected) = (describe(&export), "(i32) -> i32");
        if found != expected {
            let (name, expected) = (format!("export {allocator}"), expected.to_owned());
            return Err(Error::WrongType {
                name,
                found,
                expected,
            });
        }
    }
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => Ok(()),
        other => Err(Error::WrongType {
            name: "export memory".to_owned(),
            found: other.as_ref().map_or_else(String::new, describe),
            expected: "a memory".to_owned(),
        }),
    }
}

/// Chooses the host functions for a module: the common table, and what this module needs besides.
fn link(host: &host::Inner, module: &wasmtime::Module) -> Result<Linker<State>, Error> {
    let mut linker = host.functions.linker().clone();
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let ExternType::Func(wanted) = import.ty() else {
            continue;
        };
        let found = describe(&import.ty());
        match host.functions.signature(from, name) {
            Some(offered) if offered == found => {}
            // SDKs of 2020 import these without a result, as the specification had it.
            Some("() -> i32") if found == "() -> ()" => {
                HostFunctions::define_without_result(&mut linker, name)
                    .map_err(|e| Error::Compile(e.into()))?;
            }
            Some(offered) => {
                return Err(Error::WrongType {
                    name: format!("import {from}.{name}"),
                    found,
                    expected: offered.to_owned(),
                });
            }
            None => wasi::define_stub(&mut linker, from, name, &wanted)
                .map_err(|e| Error::Compile(e.into()))?,
        }
    }
    Ok(linker)
}

/// Writes a type the way the tables of this crate do, such as `(i32, i32) -> i32`.
fn describe(of: &ExternType) -> String {
    match of {
        ExternType::Func(func) => describe_func(func),
        ExternType::Global(_) => "a global".to_owned(),
        ExternType::Table(_) => "a table".to_owned(),
        ExternType::Memory(_) => "a memory".to_owned(),
        ExternType::Tag(_) => "a tag".to_owned(),
    }
}

fn describe_func(func: &FuncType) -> String {
    let list = |types: &mut dyn Iterator<Item = ValType>| {
        types
            .map(|ty| ty.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let params = list(&mut func.params());
    let results = list(&mut func.results());
    if func.results().len() == 1 {
        format!("({params}) -> {results}")
    } else {
        format!("({params}) -> ({results})")
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
