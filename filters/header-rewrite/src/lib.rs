//! Rewrites headers of requests and responses by rules.
//!
//! ```json
//! {
//!   "rules": [{
//!     "when": { "path": [{ "prefix": "/api" }] },
//!     "request": {
//!       "rename": [{ "from": "x-old", "to": "x-new" }],
//!       "remove": ["x-debug"],
//!       "set": [{ "name": "x-caller", "value": "%{peer.namespace}/%{peer.service-account}" }],
//!       "append": [{ "name": "x-hops", "value": "waypoint" }]
//!     }
//!   }, {
//!     "answer": { "status": ["5xx"] },
//!     "response": { "set": [{ "name": "cache-control", "value": "no-store" }] }
//!   }]
//! }
//! ```
//!
//! Every rule whose conditions hold is carried out, in order, and sees what earlier ones did. Within
//! a rule the order is rename, copy, remove, set, append, add. Conditions on the request (`when`)
//! are looked at before any rule changes it. `request` and `response` may also stand at the top, for
//! a single rule without conditions: those are the words of `add-header`, whose configurations work
//! here unchanged. `docs/guide/filters/header-rewrite.md` describes every field.

#[cfg(target_family = "wasm")]
mod guest;
mod rule;
#[cfg(test)]
mod tests;

use kit::config::{Object, Result, parse};
use kit::{Side, Stream};

pub use rule::{Answer, Edits, Rule};

/// What the filter does.
#[derive(Clone, Debug, Default)]
pub struct Config {
    rules: Vec<Rule>,
}

/// Which rules a request meets, one bit each in the order written.
#[derive(Clone, Debug, Default)]
pub struct Chosen(Vec<bool>);

impl Config {
    /// Reads a configuration; none at all changes nothing.
    ///
    /// # Errors
    /// The field that is wrong and what is allowed there.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let json = parse(bytes)?;
        let mut root = Object::root(&json)?;
        let mut rules = root.each("rules", Rule::read)?;
        if let Some(rule) = Rule::read_short(&mut root)? {
            if !rules.is_empty() {
                return Err(
                    "the configuration has `rules` beside `request` or `response`; allowed is \
                            either of the two"
                        .to_owned(),
                );
            }
            rules.push(rule);
        }
        root.finish()?;
        Ok(Self { rules })
    }

    /// Returns how many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Returns whether nothing is ever changed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Finds the rules a request meets.
    pub fn choose(&self, stream: &dyn Stream) -> Chosen {
        Chosen(
            self.rules
                .iter()
                .map(|rule| rule.when.holds(stream))
                .collect(),
        )
    }

    /// Rewrites the request.
    pub fn on_request(&self, chosen: &Chosen, stream: &dyn Stream) {
        for rule in self.chosen(chosen) {
            rule.request.apply(Side::Request, stream);
        }
    }

    /// Rewrites the response.
    pub fn on_response(&self, chosen: &Chosen, stream: &dyn Stream) {
        // All of them look at the response as it came.
        let meets = self.chosen(chosen).filter(|rule| rule.answer.holds(stream));
        for rule in meets.collect::<Vec<_>>() {
            rule.response.apply(Side::Response, stream);
        }
    }

    fn chosen<'a>(&'a self, chosen: &'a Chosen) -> impl Iterator<Item = &'a Rule> {
        let both = self.rules.iter().zip(&chosen.0);
        both.filter_map(|(rule, yes)| yes.then_some(rule))
    }
}
