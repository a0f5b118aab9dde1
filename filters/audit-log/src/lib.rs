//! Writes a line of JSON about each request, to the log or to a service.
//!
//! ```json
//! {
//!   "when": { "not": { "path": [{ "prefix": "/health" }] } },
//!   "samplePercent": 10,
//!   "always": ["4xx", "5xx"],
//!   "requestHeaders": ["user-agent", "x-tenant"],
//!   "static": { "cluster": "west" },
//!   "ship": { "upstream": "outbound|80||audit.logging.svc.cluster.local", "host": "audit.logging",
//!             "path": "/v1/lines" }
//! }
//! ```
//!
//! The line says who asked (peer, address), for what, what was decided and by whom
//! (`decision`), how long it took and how much went each way. Query strings are left out and
//! headers with secrets are hidden unless the configuration says otherwise by name.
//! `docs/guide/filters/audit-log.md` describes every field.

#[cfg(target_family = "wasm")]
mod guest;
mod line;
mod queue;
#[cfg(test)]
mod tests;

use kit::chance::Chance;
use kit::config::{Field, Object, Result, parse};
use kit::json::Json;
use kit::status::{self, Statuses};
use kit::{Stream, When};

pub use queue::{Batch, Queue};

/// What the filter writes, and where to.
#[derive(Clone, Debug)]
pub struct Config {
    when: When,
    sample: f64,
    always: Statuses,
    query: Query,
    request_headers: Vec<Chosen>,
    response_headers: Vec<Chosen>,
    fixed: Vec<(String, Json)>,
    /// Whether lines go to the proxy's log.
    pub log: bool,
    /// The service lines are sent to.
    pub ship: Option<Ship>,
}

/// What is written of a query string.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Query {
    Drop,
    Names,
    Keep,
}

/// A header that is written, and whether its value is.
#[derive(Clone, Debug)]
struct Chosen {
    name: String,
    revealed: bool,
}

/// Where lines are sent, and how many at once.
#[derive(Clone, Debug)]
pub struct Ship {
    /// The service, as the proxy names it.
    pub upstream: String,
    /// The `:authority` of the calls.
    pub host: String,
    /// The `:path` of the calls.
    pub path: String,
    /// Lines of one call.
    pub batch: usize,
    /// Milliseconds between calls.
    pub every: u32,
    /// Milliseconds a call may take.
    pub timeout: u32,
    /// Lines that may wait; more are dropped and counted.
    pub queue: usize,
    /// How often a batch is sent before it is dropped.
    pub attempts: u32,
}

/// Headers whose values are secrets; written only when `reveal` names them.
const SECRET: [&str; 10] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-forwarded-client-cert",
    "x-goog-iam-authorization-token",
];

impl Config {
    /// Reads a configuration; none at all logs every request.
    ///
    /// # Errors
    /// The field that is wrong and what is allowed there.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = parse(bytes)?;
        let mut root = Object::root(&json)?;
        let reveal = root.each("reveal", Field::header_name)?;
        let redact = root.each("redact", Field::header_name)?;
        let chosen = |field: &Field<'_>| {
            let name = field.header_name()?;
            let secret = SECRET.contains(&name.as_str()) || redact.contains(&name);
            let revealed = !secret || reveal.contains(&name);
            Ok(Chosen { name, revealed })
        };
        let ship = root
            .get("ship")
            .map(|field| Ship::read(&field))
            .transpose()?;
        let config = Self {
            when: root.get_or("when", When::default(), When::read)?,
            sample: root.get_or("samplePercent", 100.0, Field::percent)?,
            always: root.get_or("always", Statuses::default(), Statuses::read)?,
            query: root.get_or("query", Query::Drop, |field| {
                field.one_of(&[
                    ("drop", Query::Drop),
                    ("names", Query::Names),
                    ("keep", Query::Keep),
                ])
            })?,
            request_headers: root.each("requestHeaders", chosen)?,
            response_headers: root.each("responseHeaders", chosen)?,
            fixed: root.get_or("static", Vec::new(), fixed)?,
            log: root.get_or("log", ship.is_none(), Field::flag)?,
            ship,
        };
        if !config.log && config.ship.is_none() {
            return Err(
                "`log` is false and there is no `ship`; allowed is one of the two at least"
                    .to_owned(),
            );
        }
        root.finish()?;
        Ok(config)
    }

    /// Returns whether a request met the conditions, to be asked while it is as it came.
    pub fn concerns(&self, stream: &dyn Stream) -> bool {
        self.when.holds(stream)
    }

    /// Returns whether a finished request is written.
    pub fn chosen(&self, stream: &dyn Stream, chance: &Chance) -> bool {
        let always = || status::of(stream).is_some_and(|status| self.always.contain(status));
        chance.percent(self.sample) || always()
    }
}

/// Reads what is added to every line.
fn fixed(field: &Field<'_>) -> Result<Vec<(String, Json)>> {
    let Json::Object(members) = field.json() else {
        return Err(field.wrong("an object"));
    };
    for (name, value) in members {
        let simple = matches!(value, Json::Text(_) | Json::Number(_) | Json::Bool(_));
        if !simple || line::FIELDS.contains(&name.as_str()) {
            return Err(field.wrong(
                "texts, numbers and flags, under names that are not those of the filter's own fields",
            ));
        }
    }
    Ok(members.clone())
}

impl Ship {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let ship = Self {
            upstream: object.need("upstream")?.some_text()?.to_owned(),
            host: object.need("host")?.some_text()?.to_owned(),
            path: object
                .get_or("path", "/", |field| {
                    let path = field.header_value()?;
                    if path.starts_with('/') {
                        Ok(path)
                    } else {
                        Err(field.wrong("a path that begins with `/`"))
                    }
                })?
                .to_owned(),
            batch: object.get_or("batch", 100, |field| field.whole(1, 1000))? as usize,
            every: object.get_or("everyMilliseconds", 1000, |field| field.whole(10, 60_000))?,
            timeout: object.get_or("timeoutMilliseconds", 2000, |field| field.whole(10, 30_000))?,
            queue: object.get_or("queue", 2000, |field| field.whole(1, 100_000))? as usize,
            attempts: object.get_or("attempts", 3, |field| field.whole(1, 10))?,
        };
        object.finish()?;
        Ok(ship)
    }
}
