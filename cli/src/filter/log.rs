//! What filters and the proxy log, for whoever runs a filter here.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// What events of filters are marked with.
const TARGET: &str = "wasm";

/// A line of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// How urgent it is.
    pub level: Level,
    /// The filter it is from or about; `None` when the proxy speaks of itself.
    pub plugin: Option<String>,
    /// What it says.
    pub message: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.as_str().to_ascii_lowercase();
        let who = self.plugin.as_deref().unwrap_or("proxy");
        write!(f, "{level:5} {who}: {}", self.message)
    }
}

/// Sends what is logged in this process from now on to `sink`.
///
/// # Errors
/// When somebody else does so already.
pub fn install(sink: impl Fn(Line) + Send + Sync + 'static) -> anyhow::Result<()> {
    let subscriber = tracing_subscriber::registry().with(Lines(sink));
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(())
}

struct Lines<F>(F);

impl<S: Subscriber, F: Fn(Line) + Send + Sync + 'static> Layer<S> for Lines<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let is_filter = metadata.target() == TARGET;
        // Of the proxy only what somebody has to hear of.
        if !is_filter && *metadata.level() > Level::WARN {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut message = fields.message;
        if !is_filter {
            for (name, value) in fields.others {
                // Writing to a String cannot fail.
                let _ = write!(message, " {name}={value}");
            }
        }
        (self.0)(Line {
            level: *metadata.level(),
            plugin: is_filter.then_some(fields.plugin),
            message,
        });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    plugin: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "plugin" => value.clone_into(&mut self.plugin),
            name => self.others.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            "plugin" => self.plugin = value,
            name => self.others.push((name, value)),
        }
    }
}
