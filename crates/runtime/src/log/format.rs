//! The shape of lines.

mod json;
mod text;

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, span};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::report;

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// Columns between tabs.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How much a line matters, most first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Someone must act.
    Error,
    /// Degraded, but serving.
    Warn,
    /// The life of the process, and what people want to know of each connection.
    Info,
    /// Each connection.
    Debug,
    /// Each frame.
    Trace,
}

impl Level {
    pub(super) const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

/// A line being written outside of the machinery of events.
pub(super) struct Line {
    format: Format,
    text: String,
}

impl Line {
    pub(super) fn new(format: Format, level: Level, target: &str, message: &str) -> Self {
        let mut text = String::with_capacity(512);
        // Writing to a string cannot fail.
        let _ = match format {
            Format::Text => text::head(&mut text, level, target)
                .and_then(|()| text::message(&mut text, message)),
            Format::Json => json::head(&mut text, level, target)
                .and_then(|()| json::text(&mut text, "message", message)),
        };
        Self { format, text }
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        let _ = match self.format {
            Format::Text => write!(self.text, "\t{key}={value}"),
            Format::Json => json::raw(&mut self.text, key, value),
        };
    }

    /// Adds fields written as text: `key=value` pairs between blanks.
    pub(super) fn pairs(&mut self, write: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
        match self.format {
            Format::Text => {
                self.text.push('\t');
                write(&mut self.text)
            }
            Format::Json => {
                let mut pairs = String::with_capacity(512);
                write(&mut pairs)?;
                json::pairs(&mut self.text, &pairs)
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.format == Format::Json {
            self.text.push('}');
        }
        self.text.push('\n');
        self.text.into_bytes()
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let level = Level::from(*meta.level());
        match self {
            Self::Text => text::head(&mut writer, level, meta.target())?,
            Self::Json => json::head(&mut writer, level, meta.target())?,
        }
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>();
            let fields = fields.map_or("", |fields| fields.fields.as_str());
            match self {
                Self::Text => text::span(&mut writer, span.name(), fields)?,
                Self::Json => json::span(&mut writer, span.name(), fields)?,
            }
        }
        let mut fields = Fields::new(*self, &mut writer);
        fields.separator = if *self == Self::Text { "\t" } else { "," };
        event.record(&mut fields);
        fields.result?;
        writer.write_str(if *self == Self::Text { "\n" } else { "}\n" })
    }
}

/// Fields of a span, kept for the lines in it.
impl<'w> FormatFields<'w> for Format {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Fields::new(*self, &mut writer);
        fields.record(&mut visitor);
        visitor.result
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &span::Record<'_>,
    ) -> fmt::Result {
        if !current.fields.is_empty() {
            current.fields.push_str(self.separator());
        }
        self.format_fields(current.as_writer(), fields)
    }
}

impl Format {
    /// What stands between two fields.
    fn separator(self) -> &'static str {
        match self {
            Self::Text => " ",
            Self::Json => ",",
        }
    }
}

/// Writes fields one after the other. The message, if there is one, comes first: the macros of
/// `tracing` see to that.
struct Fields<'a, W> {
    format: Format,
    writer: &'a mut W,
    /// What goes before the next field.
    separator: &'static str,
    result: fmt::Result,
}

impl<'a, W: fmt::Write> Fields<'a, W> {
    fn new(format: Format, writer: &'a mut W) -> Self {
        Self {
            format,
            writer,
            separator: "",
            result: Ok(()),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut W) -> fmt::Result) {
        if self.result.is_err() {
            return;
        }
        self.result = self
            .writer
            .write_str(self.separator)
            .and_then(|()| write(self.writer));
        self.separator = self.format.separator();
    }

    /// Numbers and booleans: never quoted.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        let key = field.name();
        match self.format {
            Format::Text => self.write(|w| write!(w, "{key}={value}")),
            Format::Json => self.write(|w| write!(w, "{key:?}:{value}")),
        }
    }

    fn message(&mut self, message: &str) {
        match self.format {
            Format::Text => {
                self.write(|w| text::escaped(w, message));
                self.separator = "\t";
            }
            Format::Json => self.write(|w| json::member(w, "message", message)),
        }
    }
}

impl<W: fmt::Write> Visit for Fields<'_, W> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match (field.name(), self.format) {
            ("message", _) => self.message(value),
            (key, Format::Text) => self.write(|w| write!(w, "{key}={value:?}")),
            (key, Format::Json) => self.write(|w| json::member(w, key, value)),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &report(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.plain(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.plain(field, value);
    }

    /// What has no type of its own here, addresses for example: as it prints itself, unless that
    /// would break the line or run into the next field.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match (field.name(), self.format) {
            ("message", _) => self.message(&value),
            (key, Format::Text) => self.write(|w| text::bare(w, key, &value)),
            (key, Format::Json) => self.write(|w| json::member(w, key, &value)),
        }
    }
}
