//! Delays and aborts a share of the requests, to see how callers take it.
//!
//! ```json
//! {
//!   "rules": [{
//!     "when": { "path": [{ "prefix": "/checkout" }] },
//!     "delay": { "percent": 10, "milliseconds": 500, "jitterMilliseconds": 200 },
//!     "abort": { "percent": 5, "status": 503, "body": "injected\n" }
//!   }]
//! }
//! ```
//!
//! The first rule whose conditions hold decides. A delayed request waits without holding anything
//! up: the filter pauses it and a timer lets it go on. A request can be delayed and then aborted.
//! Callers choose faults by headers only where `headers` is configured, and those headers never
//! reach the service. `docs/guide/filters/fault-injection.md` describes every field.

#[cfg(target_family = "wasm")]
mod guest;
#[cfg(test)]
mod tests;
mod waiting;

use kit::chance::Chance;
use kit::config::{Field, Object, Result, parse};
use kit::{Side, Stream, When};

pub use waiting::Waiting;

/// No request waits longer, however it is configured.
const LONGEST: u32 = 300_000;

/// What the filter does.
#[derive(Clone, Debug)]
pub struct Config {
    rules: Vec<Rule>,
    headers: Option<Headers>,
    /// Requests that may wait at once; one more goes on without its delay.
    pub most_waiting: usize,
    /// How often the timer runs while requests wait.
    pub tick_milliseconds: u32,
}

#[derive(Clone, Debug)]
struct Rule {
    when: When,
    delay: Option<Delay>,
    abort: Option<(f64, Abort)>,
}

#[derive(Clone, Copy, Debug)]
struct Delay {
    percent: f64,
    milliseconds: u32,
    jitter: u32,
}

/// An answer instead of the service's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Abort {
    /// The status.
    pub status: u32,
    /// A status for callers that speak gRPC.
    pub grpc_status: Option<u32>,
    /// The body.
    pub body: String,
}

/// Headers by which callers choose a fault.
#[derive(Clone, Debug)]
struct Headers {
    when: When,
    delay: Option<String>,
    abort: Option<String>,
    longest: u32,
}

/// What happens to a request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fault {
    /// Milliseconds it waits first.
    pub delay: Option<u32>,
    /// What it is answered then, instead of going on.
    pub abort: Option<Abort>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The field that is wrong and what is allowed there.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = parse(bytes)?;
        let mut root = Object::root(&json)?;
        let config = Self {
            rules: root.each("rules", Rule::read)?,
            headers: match root.get("headers") {
                Some(field) => Some(Headers::read(&field)?),
                None => None,
            },
            most_waiting: root.get_or("maxWaiting", 1000, |field| field.whole(1, 100_000))?
                as usize,
            tick_milliseconds: root.get_or("tickMilliseconds", 10, |field| field.whole(1, 1000))?,
        };
        if config.rules.is_empty() && config.headers.is_none() {
            return Err(root.wrong("injects nothing; it needs `rules` or `headers`"));
        }
        root.finish()?;
        Ok(config)
    }

    /// Returns how many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Decides about a request, and takes away the headers that are for this filter only.
    pub fn decide(&self, stream: &dyn Stream, chance: &Chance) -> Fault {
        if let Some(headers) = &self.headers {
            let asked = headers.asked(stream);
            headers.strip(stream);
            if asked != Fault::default() {
                return asked;
            }
        }
        let rule = self.rules.iter().find(|rule| rule.when.holds(stream));
        rule.map_or_else(Fault::default, |rule| rule.draw(chance))
    }
}

impl Rule {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let rule = Self {
            when: object.get_or("when", When::default(), When::read)?,
            delay: match object.get("delay") {
                Some(field) => Some(Delay::read(&field)?),
                None => None,
            },
            abort: match object.get("abort") {
                Some(field) => Some(Abort::read(&field)?),
                None => None,
            },
        };
        if rule.delay.is_none() && rule.abort.is_none() {
            return Err(object.wrong("injects nothing; it needs `delay` or `abort`"));
        }
        object.finish()?;
        Ok(rule)
    }

    fn draw(&self, chance: &Chance) -> Fault {
        let delay = self.delay.filter(|delay| chance.percent(delay.percent));
        let delay = delay.map(|delay| delay.milliseconds + chance.up_to(delay.jitter));
        let abort = self
            .abort
            .as_ref()
            .filter(|(percent, _)| chance.percent(*percent));
        Fault {
            delay: delay.filter(|milliseconds| *milliseconds > 0),
            abort: abort.map(|(_, abort)| abort.clone()),
        }
    }
}

impl Delay {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let delay = Self {
            percent: object.get_or("percent", 100.0, Field::percent)?,
            milliseconds: object.need("milliseconds")?.whole(0, LONGEST)?,
            jitter: object.get_or("jitterMilliseconds", 0, |field| field.whole(0, LONGEST))?,
        };
        object.finish()?;
        Ok(delay)
    }
}

impl Abort {
    fn read(field: &Field<'_>) -> Result<(f64, Self)> {
        let mut object = field.object()?;
        let percent = object.get_or("percent", 100.0, Field::percent)?;
        let status = object
            .get("status")
            .map(|field| field.status())
            .transpose()?;
        let grpc_status = object
            .get("grpcStatus")
            .map(|field| field.whole(0, 16))
            .transpose()?;
        if status.is_none() && grpc_status.is_none() {
            return Err(object.wrong("needs `status` or `grpcStatus`"));
        }
        let body = object.get_or("body", "", Field::text)?.to_owned();
        object.finish()?;
        let abort = Self {
            status: status.unwrap_or(200),
            grpc_status,
            body,
        };
        Ok((percent, abort))
    }
}

impl Headers {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let name = |field: Option<Field<'_>>| field.map(|field| field.header_name()).transpose();
        let headers = Self {
            when: object.get_or("when", When::default(), When::read)?,
            delay: name(object.get("delay"))?,
            abort: name(object.get("abort"))?,
            longest: object.get_or("maxMilliseconds", 10_000, |field| field.whole(1, LONGEST))?,
        };
        if headers.delay.is_none() && headers.abort.is_none() {
            return Err(object.wrong("needs `delay` or `abort`, the name of a header"));
        }
        object.finish()?;
        Ok(headers)
    }

    /// Reads what a caller asked for; what cannot be read is not asked for.
    fn asked(&self, stream: &dyn Stream) -> Fault {
        if !self.when.holds(stream) {
            return Fault::default();
        }
        let number = |name: &Option<String>| -> Option<u32> {
            let value = stream.header(Side::Request, name.as_deref()?)?;
            std::str::from_utf8(&value).ok()?.trim().parse().ok()
        };
        let status = number(&self.abort).filter(|status| (200..=599).contains(status));
        Fault {
            delay: number(&self.delay)
                .filter(|n| *n > 0)
                .map(|n| n.min(self.longest)),
            abort: status.map(|status| Abort {
                status,
                grpc_status: None,
                body: String::new(),
            }),
        }
    }

    /// Takes the headers away, also from those who may not use them.
    fn strip(&self, stream: &dyn Stream) {
        for name in [&self.delay, &self.abort].into_iter().flatten() {
            stream.remove(Side::Request, name);
        }
    }
}
