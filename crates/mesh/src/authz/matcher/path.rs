//! Paths: strings, or templates with `{*}` and `{**}`.

use super::{InvalidPattern, StringMatch};
use crate::Str;

/// How the path of a request must look.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// As a string.
    String(StringMatch),
    /// By segments.
    Template(PathTemplate),
}

impl PathMatch {
    /// Reads a path of a policy: a template if it holds `{*}` or `{**}`.
    ///
    /// # Errors
    /// When it is empty or no valid template.
    pub fn parse(value: &str) -> Result<Self, InvalidPattern> {
        if value.is_empty() {
            return Err(InvalidPattern::new(value, "is empty"));
        }
        if value.contains(ONE) || value.contains(REST) {
            return PathTemplate::parse(value).map(Self::Template);
        }
        if value.contains(['{', '}']) {
            return Err(InvalidPattern::new(
                value,
                "has a brace that is no `{*}` or `{**}`",
            ));
        }
        Ok(Self::String(StringMatch::lenient(value)))
    }

    /// Whether a request's path looks like this.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::String(string) => string.matches(path.as_bytes()),
            Self::Template(template) => template.matches(path),
        }
    }
}

const ONE: &str = "{*}";
const REST: &str = "{**}";

/// A path of which segments are free: `{*}` is one segment that is not empty, `{**}` any text,
/// slashes included. `{**}` is the last operator; literal segments may follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct PathTemplate {
    text: Str,
    /// Segments before `{**}`, or all; `None` is `{*}`.
    head: Vec<Option<Str>>,
    /// What follows `{**}`, from its slash on; `None` without `{**}`.
    tail: Option<Str>,
}

impl PathTemplate {
    fn parse(value: &str) -> Result<Self, InvalidPattern> {
        let invalid = |reason| InvalidPattern::new(value, reason);
        let rest = value
            .strip_prefix('/')
            .ok_or_else(|| invalid("does not begin with `/`"))?;
        let (mut head, mut tail) = (vec![], None::<String>);
        for segment in rest.split('/') {
            match (segment, &mut tail) {
                (ONE | REST, Some(_)) => return Err(invalid("has an operator after `{**}`")),
                (ONE, None) => head.push(None),
                (REST, None) => tail = Some(String::new()),
                (literal, _) if literal.contains(['{', '}', '*']) => {
                    return Err(invalid(
                        "has a segment that is neither an operator nor literal",
                    ));
                }
                (literal, None) => head.push(Some(literal.into())),
                (literal, Some(tail)) => {
                    tail.push('/');
                    tail.push_str(literal);
                }
            }
        }
        Ok(Self {
            text: value.into(),
            head,
            tail: tail.map(Into::into),
        })
    }

    /// As the policy writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches(&self, path: &str) -> bool {
        let Some(mut rest) = path.strip_prefix('/') else {
            return false;
        };
        let mut wanted = self.head.iter().peekable();
        while let Some(segment) = wanted.next() {
            let last = wanted.peek().is_none() && self.tail.is_none();
            let (found, after) = match rest.split_once('/') {
                Some(_) if last => return false,
                Some((found, after)) => (found, after),
                None if last => (rest, ""),
                None => return false,
            };
            let fits = match segment {
                None => !found.is_empty(),
                Some(literal) => found == &**literal,
            };
            if !fits {
                return false;
            }
            rest = after;
        }
        self.tail
            .as_ref()
            .is_none_or(|tail| rest.ends_with(&**tail))
    }
}
