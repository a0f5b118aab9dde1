//! What is in a module, whether the proxy can load it, and what that means.

use std::fmt::Write as _;

use anyhow::Context;
use serde_json::{Value, json};
use wasm_host::{Callback, Host, HostSettings};
use wasmparser::{KnownCustom, Name, Parser, Payload, TypeRef};

/// A size of memory in WebAssembly.
const PAGE: u64 = 64 << 10;

/// What was found in a module.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Bytes.
    pub size: usize,
    /// Digest in hexadecimal; empty when it is no module.
    pub sha256: String,
    /// The version of the ABI it follows.
    pub abi_version: Option<String>,
    /// Memory pages at the start, and at most.
    pub memory: Option<(u64, Option<u64>)>,
    /// How many functions have names that a crash can tell.
    pub named_functions: usize,
    /// Functions in it.
    pub functions: usize,
    /// What the proxy will call, in the order of the ABI.
    pub callbacks: Vec<&'static str>,
    /// What it wants of the proxy.
    pub imports: Vec<Import>,
    /// What it exports besides callbacks.
    pub exports: Vec<String>,
    /// Why the proxy refuses it.
    pub refused: Option<String>,
    /// What works, and may surprise.
    pub remarks: Vec<String>,
}

/// Something a module wants of the proxy.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Import {
    /// `env`, or a version of WASI.
    pub module: String,
    /// The function.
    pub name: String,
    /// Whether the proxy has it.
    pub known: bool,
}

/// Looks into a module and tries to load it.
///
/// # Errors
/// When there can be no host on this machine; what is wrong with the module is in the answer.
pub fn inspect(bytes: &[u8]) -> anyhow::Result<Inspection> {
    let host = Host::new(HostSettings {
        parallel_compilation: true,
        cache: super::build::cache().map(|cache| cache.join("filter-code")),
        ..HostSettings::default()
    })
    .context("start the host")?;
    let mut found = Inspection {
        size: bytes.len(),
        sha256: super::sha256(bytes),
        ..Inspection::default()
    };
    if bytes.starts_with(b"\0asm") {
        // What cannot be read on is told by the host, in words.
        let _ = read(bytes, &host, &mut found);
    }
    match host.compile(bytes) {
        Ok(module) => found.abi_version = Some(module.abi_version().to_string()),
        Err(why) => found.refused = Some(runtime::report(&why)),
    }
    found.remark();
    Ok(found)
}

fn read(bytes: &[u8], host: &Host, found: &mut Inspection) -> wasmparser::Result<()> {
    let mut exported = vec![];
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    let is_wasi = import.module.starts_with("wasi_");
                    let known = matches!(import.ty, TypeRef::Func(_))
                        && (is_wasi || host.function(import.module, import.name).is_some());
                    found.imports.push(Import {
                        module: import.module.to_owned(),
                        name: import.name.to_owned(),
                        known,
                    });
                }
            }
            Payload::FunctionSection(section) => found.functions = section.count() as usize,
            Payload::MemorySection(section) => {
                let memory = section.into_iter().next().transpose()?;
                found.memory = memory.map(|memory| (memory.initial, memory.maximum));
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exported.push(export?.name.to_owned());
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    for name in names {
                        if let Name::Function(names) = name? {
                            found.named_functions = names.count() as usize;
                        }
                    }
                }
            }
            _ => {}
        }
    }
    // Go imports some functions twice.
    found.imports.sort_unstable();
    found.imports.dedup();
    let is_callback = |name: &String| Callback::ALL.iter().any(|known| known.name() == name);
    found.callbacks = Callback::ALL
        .iter()
        .map(|callback| callback.name())
        .filter(|name| exported.iter().any(|export| export == name))
        .collect();
    exported.retain(|name| !is_callback(name));
    exported.sort_unstable();
    found.exports = exported;
    Ok(())
}

impl Inspection {
    fn has(&self, callback: &str) -> bool {
        self.callbacks.contains(&callback)
    }

    /// Notes what works and may surprise.
    fn remark(&mut self) {
        const HTTP: [&str; 6] = [
            "proxy_on_request_headers",
            "proxy_on_request_body",
            "proxy_on_request_trailers",
            "proxy_on_response_headers",
            "proxy_on_response_body",
            "proxy_on_response_trailers",
        ];
        const TCP: [&str; 3] = [
            "proxy_on_new_connection",
            "proxy_on_downstream_data",
            "proxy_on_upstream_data",
        ];
        let mut remarks: Vec<String> = vec![];
        let looks_at = |names: &[&str]| names.iter().any(|name| self.has(name));
        match (looks_at(&HTTP), looks_at(&TCP)) {
            (false, false) => remarks.push(
                "it has no callback for requests or connections, so it never sees traffic"
                    .to_owned(),
            ),
            (false, true) => remarks.push(
                "it looks at connections only: a WasmPlugin needs `type: NETWORK`".to_owned(),
            ),
            _ => {}
        }
        if !self.has("proxy_on_context_create") && looks_at(&HTTP) {
            remarks.push(
                "it has no proxy_on_context_create: it cannot tell one request from another"
                    .to_owned(),
            );
        }
        if self.functions > 0 && self.named_functions == 0 {
            remarks.push(
                "it has no name section: a crash will tell numbers instead of functions; build \
                 without stripping names"
                    .to_owned(),
            );
        }
        if let Some((initial, _)) = self.memory
            && initial * PAGE > 64 << 20
        {
            remarks.push(format!(
                "it takes {} of memory at the start, on each worker",
                size(initial * PAGE)
            ));
        }
        self.remarks = remarks;
    }

    /// In one line, after a build.
    pub fn line(&self) -> String {
        let abi = self.abi_version.as_deref().unwrap_or("?");
        match &self.refused {
            Some(why) => format!("{}, cannot be loaded: {why}", size(self.size as u64)),
            None => format!(
                "{}, proxy-wasm {abi}, {} callbacks, {} imports",
                size(self.size as u64),
                self.callbacks.len(),
                self.imports.len()
            ),
        }
    }

    /// All of it, for people.
    pub fn text(&self, name: &str) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(name, &mut text);
        text.truncate(text.trim_end().len());
        text
    }

    fn write(&self, name: &str, text: &mut String) -> std::fmt::Result {
        match &self.refused {
            None => writeln!(text, "{name} can be loaded")?,
            Some(why) => writeln!(text, "{name} cannot be loaded: {why}")?,
        }
        let abi = self.abi_version.as_deref().unwrap_or("unknown");
        writeln!(text, "  abi        {abi}")?;
        writeln!(text, "  size       {}", size(self.size as u64))?;
        writeln!(text, "  sha256     {}", self.sha256)?;
        if let Some((initial, maximum)) = self.memory {
            let initial = size(initial * PAGE);
            match maximum {
                Some(maximum) => writeln!(
                    text,
                    "  memory     {initial} at the start, at most {}",
                    size(maximum * PAGE)
                )?,
                None => writeln!(text, "  memory     {initial} at the start")?,
            }
        }
        let named = match (self.functions, self.named_functions) {
            (0, _) => "none".to_owned(),
            (_, 0) => format!("{}, without names", self.functions),
            _ => format!("{}, with names", self.functions),
        };
        writeln!(text, "  functions  {named}")?;
        list(text, "callbacks", self.callbacks.iter().copied())?;
        let import = |import: &Import| format!("{}.{}", import.module, import.name);
        let of = |known: bool| {
            let imports = self.imports.iter().filter(move |it| it.known == known);
            imports.map(import).collect::<Vec<_>>()
        };
        list(text, "imports", of(true).iter().map(String::as_str))?;
        list(
            text,
            "unknown imports",
            of(false).iter().map(String::as_str),
        )?;
        list(
            text,
            "other exports",
            self.exports.iter().map(String::as_str),
        )?;
        for remark in &self.remarks {
            writeln!(text, "note: {remark}")?;
        }
        Ok(())
    }

    /// All of it, for programs.
    pub fn json(&self) -> Value {
        json!({
            "loadable": self.refused.is_none(),
            "reason": self.refused,
            "abiVersion": self.abi_version,
            "size": self.size,
            "sha256": self.sha256,
            "memory": self.memory.map(|(initial, maximum)| json!({
                "initialBytes": initial * PAGE,
                "maximumBytes": maximum.map(|maximum| maximum * PAGE),
            })),
            "functions": self.functions,
            "namedFunctions": self.named_functions,
            "callbacks": self.callbacks,
            "imports": self.imports.iter().map(|import| json!({
                "module": import.module,
                "name": import.name,
                "known": import.known,
            })).collect::<Vec<_>>(),
            "exports": self.exports,
            "notes": self.remarks,
        })
    }
}

fn list<'a>(
    text: &mut String,
    title: &str,
    words: impl Iterator<Item = &'a str>,
) -> std::fmt::Result {
    for (index, word) in words.enumerate() {
        if index == 0 {
            writeln!(text, "  {title}")?;
        }
        writeln!(text, "    {word}")?;
    }
    Ok(())
}

/// A number of bytes as people read it.
pub fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let of = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", of(1 << 10)),
        _ => format!("{:.1} MiB", of(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_told_what_it_is_instead() {
        let found = inspect(b"<html>").unwrap();
        assert!(found.refused.unwrap().contains("web page"));
    }

    #[test]
    fn sizes_are_read_by_people() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 20), "3.0 MiB");
    }
}
