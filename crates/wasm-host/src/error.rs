//! Why a module is not loaded, or a plugin not started.

use std::sync::Arc;

use crate::trap::Trap;

/// Why bytes do not become a [`Module`](crate::Module).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine cannot run on this machine.
    #[error("the WebAssembly engine cannot start")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The module is larger than allowed.
    #[error("the module has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Bytes of the module.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The module has more functions than allowed.
    #[error("the module has {count} functions, more than the {limit} allowed")]
    TooManyFunctions {
        /// Functions of the module.
        count: usize,
        /// Functions allowed.
        limit: usize,
    },
    /// The bytes are no WebAssembly module.
    #[error("not a WebAssembly module: {why}")]
    NotWasm {
        /// What they are instead, or where reading stopped.
        why: String,
    },
    /// The bytes are a component, which is something else than a module.
    #[error(
        "a WebAssembly component: proxy-wasm filters are core modules (for Rust, target wasm32-unknown-unknown or wasm32-wasip1)"
    )]
    Component,
    /// The module does not say which version of the ABI it follows.
    #[error("not a proxy-wasm filter of a known version: it exports none of proxy_abi_version_0_1_0, _0_2_0, _0_2_1{}{}", other_marker(.found.as_deref()), because(*.instead))]
    NoAbiVersion {
        /// A marker export of a version not known here.
        found: Option<String>,
        /// What the module seems to be, and what to do.
        instead: Option<&'static str>,
    },
    /// The module lacks exports the host cannot do without.
    #[error("the module does not export {}", .0.join(" and "))]
    MissingExports(Vec<&'static str>),
    /// The module imports what no host of this ABI offers.
    #[error("the module imports what this host does not offer: {}; it uses an extension of another proxy, or a function that its linker did not find", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// A known import or callback has another type than the ABI says.
    #[error("{name} has type {found}; the ABI says {expected}")]
    WrongType {
        /// The import or export.
        name: String,
        /// Its type in the module.
        found: String,
        /// Its type in the ABI.
        expected: String,
    },
    /// The engine does not accept the module.
    #[error("the module does not compile")]
    Compile(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn other_marker(found: Option<&str>) -> String {
    found.map_or_else(String::new, |marker| format!(" (but {marker})"))
}

/// Why a plugin did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The guest trapped while starting.
    #[error("the filter did not start")]
    Trapped(#[source] Arc<Trap>),
    /// The guest trapped when it was told of its root context.
    #[error(
        "the filter does not begin with root id {root_id:?}; one that is registered under a name needs it as root id, which is `pluginName` in a WasmPlugin"
    )]
    NoRoot {
        /// The root id the plugin gives.
        root_id: String,
        /// How it ended.
        #[source]
        trap: Arc<Trap>,
    },
    /// The guest trapped when it was told of its first stream, as examples do that only run in the
    /// background.
    #[error(
        "the filter makes no context for a request or connection with root id {root_id:?}: it only works in the background (in Rust, get_type and create_http_context are missing; in Go, NewHttpContext), or it is registered under a name, which is `pluginName` in a WasmPlugin"
    )]
    NoStream {
        /// The root id the plugin gives.
        root_id: String,
        /// How it ended.
        #[source]
        trap: Arc<Trap>,
    },
    /// `proxy_on_vm_start` returned false.
    #[error("the filter refused to start{}", because(.said.as_deref()))]
    StartRefused {
        /// The last line it logged as a warning or error.
        said: Option<String>,
    },
    /// `proxy_on_configure` returned false.
    #[error("the filter refused its configuration{}", because(.said.as_deref()))]
    ConfigurationRefused {
        /// The last line it logged as a warning or error.
        said: Option<String>,
    },
}

fn because(said: Option<&str>) -> String {
    said.map_or_else(String::new, |line| format!(": {line}"))
}
