//! Allows, denies and logs requests by rules in CEL.
//!
//! ```json
//! {
//!   "rules": [
//!     { "name": "health", "if": "request.url_path == '/health'", "then": "allow" },
//!     { "name": "admin", "if": "request.url_path.startsWith('/admin/') && peer.namespace != 'ops'",
//!       "then": "deny", "status": 403, "body": "not for you\n" },
//!     { "name": "odd", "if": "request.method in ['TRACE', 'TRACK']", "then": "log" }
//!   ],
//!   "otherwise": "allow"
//! }
//! ```
//!
//! The first rule that allows or denies decides; rules that log go on. An expression without a
//! value (a missing key, a text compared with a number, too many steps) denies, unless `onError`
//! says otherwise. Everything is compiled when the filter is configured, unknown names included.
//! `docs/guide/filters/cel-rules.md` describes every field, attribute and function.

mod attribute;
mod compile;
mod eval;
mod function;
#[cfg(target_family = "wasm")]
mod guest;
#[cfg(test)]
mod tests;
mod value;

use kit::Stream;
use kit::config::{Field, Object, Result, parse};

use compile::{Node, compile};
use eval::Evaluation;

/// Steps all rules together take for one request, unless told otherwise.
const MAX_STEPS: u32 = 10_000;

/// What the filter does.
#[derive(Clone, Debug)]
pub struct Config {
    rules: Vec<Rule>,
    allow_otherwise: bool,
    deny: Denial,
    on_error: OnError,
    max_steps: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OnError {
    Deny,
    Skip,
}

#[derive(Clone, Debug)]
struct Rule {
    name: String,
    condition: Node,
    then: Then,
}

#[derive(Clone, Debug)]
enum Then {
    Allow,
    Deny(Denial),
    Log,
}

/// The answer to a request that is denied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The status.
    pub status: u32,
    /// The body.
    pub body: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
}

/// What becomes of a request.
#[derive(Debug, Eq, PartialEq)]
pub struct Decision<'a> {
    /// The answer, if it is denied.
    pub denied: Option<&'a Denial>,
    /// The rule that decided; none if that was `otherwise`.
    pub by: Option<&'a str>,
    /// Why the rule that decided had no value.
    pub error: Option<&'static str>,
}

impl Config {
    /// Reads a configuration and compiles its rules.
    ///
    /// # Errors
    /// The field that is wrong and what is allowed there.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = parse(bytes)?;
        let mut root = Object::root(&json)?;
        let config = Self {
            rules: root.each("rules", Rule::read)?,
            allow_otherwise: root
                .need("otherwise")?
                .one_of(&[("allow", true), ("deny", false)])?,
            deny: root.get_or("deny", Denial::default(), |field| {
                let mut object = field.object()?;
                let denial = Denial::read_in(&mut object)?;
                object.finish()?;
                Ok(denial)
            })?,
            on_error: root.get_or("onError", OnError::Deny, |field| {
                field.one_of(&[("deny", OnError::Deny), ("skip", OnError::Skip)])
            })?,
            max_steps: root.get_or("maxSteps", MAX_STEPS, |field| field.whole(10, 50_000))?,
        };
        if config.rules.is_empty() {
            return Err(
                "`rules` is empty or absent; allowed is a list of at least one rule".to_owned(),
            );
        }
        root.finish()?;
        Ok(config)
    }

    /// Returns how many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Decides about a request; tells `log` the names of rules that log it.
    pub fn decide<'a>(&'a self, stream: &dyn Stream, log: &mut dyn FnMut(&'a str)) -> Decision<'a> {
        let mut evaluation = Evaluation::new(stream, self.max_steps);
        for rule in &self.rules {
            let by = Some(rule.name.as_str());
            match (evaluation.holds(&rule.condition), &rule.then) {
                (Ok(false), _) => {}
                (Ok(true), Then::Log) => log(&rule.name),
                (Ok(true), Then::Allow) => {
                    return Decision {
                        denied: None,
                        by,
                        error: None,
                    };
                }
                (Ok(true), Then::Deny(denial)) => {
                    return Decision {
                        denied: Some(denial),
                        by,
                        error: None,
                    };
                }
                // What only logs decides nothing, and running out of steps is never skipped.
                (Err(error), Then::Log) if error != eval::TOO_MANY_STEPS => {}
                (Err(error), then) => {
                    if self.on_error == OnError::Deny || error == eval::TOO_MANY_STEPS {
                        let denial = match then {
                            Then::Deny(denial) => denial,
                            _ => &self.deny,
                        };
                        return Decision {
                            denied: Some(denial),
                            by,
                            error: Some(error),
                        };
                    }
                }
            }
        }
        Decision {
            denied: (!self.allow_otherwise).then_some(&self.deny),
            by: None,
            error: None,
        }
    }
}

impl Rule {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let source = object.need("if")?;
        let condition = compile(source.some_text()?)
            .map_err(|why| format!("`{}` is {}; {why}", source.path(), source.json()))?;
        let then = match object
            .need("then")?
            .one_of(&[("allow", 0), ("deny", 1), ("log", 2)])?
        {
            0 => Then::Allow,
            1 => Then::Deny(Denial::read_in(&mut object)?),
            _ => Then::Log,
        };
        let name = object
            .get_or("name", field.path(), Field::some_text)?
            .to_owned();
        object.finish()?;
        Ok(Self {
            name,
            condition,
            then,
        })
    }
}

impl Default for Denial {
    fn default() -> Self {
        Self {
            status: 403,
            body: String::new(),
            headers: Vec::new(),
        }
    }
}

impl Denial {
    fn read_in(object: &mut Object<'_>) -> Result<Self> {
        Ok(Self {
            status: object.get_or("status", 403, Field::status)?,
            body: object.get_or("body", "", Field::text)?.to_owned(),
            headers: object.each("headers", |field| {
                let mut object = field.object()?;
                let name = object.need("name")?.header_name()?;
                let value = object.need("value")?.header_value()?.to_owned();
                object.finish()?;
                Ok((name, value))
            })?,
        })
    }
}
