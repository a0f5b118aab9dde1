//! Annotations of a plugin: what Istio has no fields for.
//!
//! A value that cannot be read is left out and told; one that is out of range becomes the nearest
//! that is not. Of what a plugin may call, nothing that cannot be read is allowed.

use std::time::Duration;

use proto::cairn::waypoint::{PluginLimits, Upstream, Upstreams};

use crate::index::SERVICE;
use crate::object::{Key, Object};
use crate::translate::names;
use crate::translate::view::View;

/// Memory of one machine, in bytes.
pub(crate) const MEMORY: (u64, u64) = (1 << 20, 512 << 20);
/// Time of one callback, in microseconds.
pub(crate) const CALLBACK: (u64, u64) = (1_000, 1_000_000);
/// Body bytes held for one direction of a stream.
pub(crate) const BUFFER: (u64, u64) = (64 << 10, 64 << 20);

/// What annotations say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    pub(super) allowed_upstreams: Option<Upstreams>,
    pub(super) limits: Option<PluginLimits>,
    pub(super) allow_on_headers_stop_iteration: bool,
    pub(super) problems: Vec<Problem>,
}

/// An annotation that does not say what its author thinks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    /// Which annotation.
    pub(crate) annotation: &'static str,
    /// What is wrong.
    pub(crate) fault: Fault,
}

/// What can be wrong with an annotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It is no amount of bytes.
    Bytes(String),
    /// It is no duration.
    Duration(String),
    /// It is neither `true` nor `false`.
    Bool(String),
    /// It is out of range; what counts, and the range, in words.
    Range {
        written: String,
        counts: String,
        range: String,
    },
    /// A part of it names no destination.
    Upstream(String),
}

impl Settings {
    pub(super) fn read(view: &View<'_>, object: &Object) -> Self {
        let mut settings = Self::default();
        let allowed = object.annotation(names::ALLOWED_UPSTREAMS);
        settings.allowed_upstreams = allowed.map(|text| settings.upstreams(view, object, text));
        let bytes = |text: &str| parse_bytes(text).ok_or(Fault::Bytes(text.to_owned()));
        let micros = |text: &str| parse_micros(text).ok_or(Fault::Duration(text.to_owned()));
        let memory = settings.limit(object, names::MEMORY_LIMIT, bytes, MEMORY, show_bytes);
        let callback = settings.limit(
            object,
            names::CALLBACK_BUDGET,
            micros,
            CALLBACK,
            show_micros,
        );
        let buffer = settings.limit(object, names::BUFFER_LIMIT, bytes, BUFFER, show_bytes);
        let limits = PluginLimits {
            memory_bytes: memory.unwrap_or_default(),
            callback: callback.and_then(|micros| Duration::from_micros(micros).try_into().ok()),
            buffer_bytes: buffer.unwrap_or_default(),
        };
        settings.limits = Some(limits).filter(|limits| *limits != PluginLimits::default());
        if let Some(text) = object.annotation(names::STOP_ITERATION) {
            let given = names::parse_bool(text);
            settings.allow_on_headers_stop_iteration = given.unwrap_or_default();
            if given.is_none() {
                settings.note(names::STOP_ITERATION, Fault::Bool(text.to_owned()));
            }
        }
        settings
    }

    fn note(&mut self, annotation: &'static str, fault: Fault) {
        self.problems.push(Problem { annotation, fault });
    }

    fn limit(
        &mut self,
        object: &Object,
        annotation: &'static str,
        parse: impl Fn(&str) -> Result<u64, Fault>,
        (least, most): (u64, u64),
        show: fn(u64) -> String,
    ) -> Option<u64> {
        let text = object.annotation(annotation)?;
        match parse(text.trim()) {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            Ok(value) => {
                let counts = value.clamp(least, most);
                let fault = Fault::Range {
                    written: text.to_owned(),
                    counts: show(counts),
                    range: format!("{} to {}", show(least), show(most)),
                };
                self.note(annotation, fault);
                Some(counts)
            }
            Err(fault) => {
                self.note(annotation, fault);
                None
            }
        }
    }

    /// Reads `HOST[:PORT], …`; an empty text is a list of nothing.
    fn upstreams(&mut self, view: &View<'_>, object: &Object, text: &str) -> Upstreams {
        let mut list = Vec::new();
        let written = text.split(',').map(str::trim);
        for part in written.filter(|part| !part.is_empty()) {
            match upstream(view, &object.key.namespace, part) {
                Some(upstream) => list.push(upstream),
                None => self.note(names::ALLOWED_UPSTREAMS, Fault::Upstream(part.to_owned())),
            }
        }
        Upstreams { list }
    }
}

fn upstream(view: &View<'_>, namespace: &str, text: &str) -> Option<Upstream> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => (text, 0),
    };
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_letter);
    if host.len() > 253 || !host.split('.').all(is_label) {
        return None;
    }
    Some(Upstream {
        host: whole_name(view, namespace, &host.to_ascii_lowercase()),
        port: port.into(),
    })
}

/// A Service may be named as pods do: alone within the namespace, with its namespace, or whole.
fn whole_name(view: &View<'_>, namespace: &str, host: &str) -> String {
    let settings = view.settings;
    match host.split('.').collect::<Vec<_>>().as_slice() {
        [name] => settings.hostname(namespace, name),
        [name, namespace, "svc"] => settings.hostname(namespace, name),
        // Two labels are as well a name outside.
        [name, namespace] if view.object(&Key::new(SERVICE, namespace, name)).is_some() => {
            settings.hostname(namespace, name)
        }
        _ => host.to_owned(),
    }
}

/// Reads a whole number of bytes as Kubernetes writes them: `64Mi`, `1M`, `65536`.
fn parse_bytes(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads `10ms`, `500us`, `1s`.
fn parse_micros(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn show_bytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{}Mi", bytes >> 20),
        bytes => format!("{}Ki", bytes >> 10),
    }
}

fn show_micros(micros: u64) -> String {
    match micros {
        micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        micros => format!("{}ms", micros / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("64Mi", Some(64 << 20)),
            ("1M", Some(1_000_000)),
            ("65536", Some(65_536)),
            ("2Gi", Some(2 << 30)),
            ("", None),
            ("Mi", None),
            ("1.5Mi", None),
            ("-1", None),
            ("1MB", None),
            ("99999999999Gi", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
        for (text, micros) in [
            ("10ms", Some(10_000)),
            ("500us", Some(500)),
            ("1s", Some(1_000_000)),
            ("10", None),
            ("1m", None),
        ] {
            assert_eq!(parse_micros(text), micros, "{text}");
        }
    }
}
