//! Conditions on a request: the `when` of every filter here.
//!
//! ```json
//! {
//!   "path":   [{ "prefix": "/api" }, { "exact": "/health" }, { "suffix": ".png" }],
//!   "method": ["GET", "HEAD"],
//!   "host":   [{ "suffix": ".example.org" }],
//!   "peer":   [{ "prefix": "spiffe://cluster.local/ns/shop/" }],
//!   "headers": [{ "name": "x-tier", "exact": "gold" }, { "name": "x-debug", "absent": true }],
//!   "query":  [{ "name": "v", "exact": "2" }],
//!   "not":    { "path": [{ "exact": "/api/open" }] }
//! }
//! ```
//!
//! All fields that are given must hold. Of `path`, `method`, `host` and `peer` one entry is enough;
//! of `headers` and `query` every entry must hold, and holds when any value of that name does. No
//! field at all holds for every request. There are no regular expressions: their engine would be
//! larger than all else, and a guest has ten milliseconds.

use crate::config::{Field, Object, Result};
use crate::query;
use crate::stream::{Side, Stream};

/// How a text is compared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Match {
    /// Equal, byte by byte.
    Exact(String),
    /// Begins so. Of a path: whole elements, as in an `HTTPRoute`.
    Prefix(String),
    /// Ends so.
    Suffix(String),
    /// Has it somewhere.
    Contains(String),
}

/// A condition on a named value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    name: String,
    test: Test,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Test {
    Present,
    Absent,
    Is(Match),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct When {
    paths: Vec<Match>,
    methods: Vec<String>,
    hosts: Vec<Match>,
    peers: Vec<Match>,
    headers: Vec<Named>,
    query: Vec<Named>,
    not: Option<Box<When>>,
}

impl Match {
    /// Reads `{"exact": …}`, `{"prefix": …}`, `{"suffix": …}` or `{"contains": …}`.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let found = Self::read_in(&mut object)?;
        let found = found.ok_or_else(|| field.wrong(Self::ALLOWED))?;
        object.finish()?;
        Ok(found)
    }

    const ALLOWED: &str = "an object with one of exact, prefix, suffix, contains";

    fn read_in(object: &mut Object<'_>) -> Result<Option<Self>> {
        type Make = fn(String) -> Match;
        let kinds: [(&'static str, Make); 4] = [
            ("exact", Self::Exact),
            ("prefix", Self::Prefix),
            ("suffix", Self::Suffix),
            ("contains", Self::Contains),
        ];
        let mut found = None;
        for (name, make) in kinds {
            if let Some(field) = object.get(name) {
                if found.is_some() {
                    return Err(
                        object.wrong("has more than one of exact, prefix, suffix, contains")
                    );
                }
                // An empty prefix holds for everything, which nobody means.
                let text = match name {
                    "exact" => field.text()?,
                    _ => field.some_text()?,
                };
                found = Some(make(text.to_owned()));
            }
        }
        Ok(found)
    }

    /// Returns whether a text is as wanted.
    pub fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::Contains(part) => contains(text, part.as_bytes()),
        }
    }

    fn holds_for_path(&self, path: &[u8]) -> bool {
        let Self::Prefix(prefix) = self else {
            return self.holds(path);
        };
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix).as_bytes();
        path.strip_prefix(prefix)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

/// Returns whether bytes have a part.
pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

impl Named {
    /// Reads a condition on a header.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn header(field: &Field<'_>) -> Result<Self> {
        Self::read(field, true)
    }

    /// Returns the name it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn read(field: &Field<'_>, is_header: bool) -> Result<Self> {
        let mut object = field.object()?;
        let name = object.need("name")?;
        let name = if is_header {
            name.header_name()?
        } else {
            name.some_text()?.to_owned()
        };
        let is = Match::read_in(&mut object)?;
        let present = object.get_or("present", false, Field::flag)?;
        let absent = object.get_or("absent", false, Field::flag)?;
        let test = match (is, present, absent) {
            (Some(is), false, false) => Test::Is(is),
            (None, true, false) => Test::Present,
            (None, false, true) => Test::Absent,
            _ => {
                return Err(field.wrong(
                    "a name with one of exact, prefix, suffix, contains, present: true, absent: true",
                ));
            }
        };
        object.finish()?;
        Ok(Self { name, test })
    }

    /// Returns whether it holds for the values there are of that name.
    pub fn holds(&self, values: &[Vec<u8>]) -> bool {
        match &self.test {
            Test::Present => !values.is_empty(),
            Test::Absent => values.is_empty(),
            Test::Is(is) => values.iter().any(|value| is.holds(value)),
        }
    }
}

impl When {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let when = Self::read_in(&mut object, true)?;
        object.finish()?;
        Ok(when)
    }

    /// Reads the fields of a condition that stand among others of an object.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn read_in(object: &mut Object<'_>, may_negate: bool) -> Result<Self> {
        let paths = object.each("path", |field| {
            let is = Match::read(field)?;
            let (Match::Exact(text) | Match::Prefix(text)) = &is else {
                return Ok(is);
            };
            if text.starts_with('/') {
                Ok(is)
            } else {
                Err(field.wrong("a path that begins with `/`"))
            }
        })?;
        let methods = object.each("method", |field| {
            let method = field.some_text()?;
            if method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                Ok(method.to_owned())
            } else {
                Err(field.wrong("a method in capitals"))
            }
        })?;
        let not = match object.get("not") {
            Some(field) if may_negate => {
                let mut inner = field.object()?;
                let not = Self::read_in(&mut inner, false)?;
                inner.finish()?;
                if not == Self::default() {
                    return Err(field.wrong("an object with at least one condition"));
                }
                Some(Box::new(not))
            }
            Some(field) => return Err(field.wrong("no second `not` inside a `not`")),
            None => None,
        };
        Ok(Self {
            paths,
            methods,
            hosts: object.each("host", Match::read)?,
            peers: object.each("peer", Match::read)?,
            headers: object.each("headers", Named::header)?,
            query: object.each("query", |field| Named::read(field, false))?,
            not,
        })
    }

    /// Returns whether this holds for every request.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether it holds for a request.
    pub fn holds(&self, stream: &dyn Stream) -> bool {
        self.holds_for_target(stream)
            && self.holds_for_caller(stream)
            && self
                .headers
                .iter()
                .all(|header| header.holds(&stream.values(Side::Request, &header.name)))
            && !self.not.as_ref().is_some_and(|not| not.holds(stream))
    }

    fn holds_for_target(&self, stream: &dyn Stream) -> bool {
        if self.paths.is_empty() && self.query.is_empty() {
            return true;
        }
        let target = stream.target();
        let (path, query) = query::split(&target);
        let query = query.unwrap_or_default();
        (self.paths.is_empty() || self.paths.iter().any(|is| is.holds_for_path(path)))
            && self
                .query
                .iter()
                .all(|wanted| wanted.holds(&query::values(query, &wanted.name)))
    }

    fn holds_for_caller(&self, stream: &dyn Stream) -> bool {
        let header = |name| stream.header(Side::Request, name).unwrap_or_default();
        if !self.methods.is_empty() {
            let method = header(":method");
            if !self.methods.iter().any(|m| m.as_bytes() == method) {
                return false;
            }
        }
        if !self.hosts.is_empty() {
            let host = host_name(&header(":authority"));
            if !self.hosts.iter().any(|is| is.holds(&host)) {
                return false;
            }
        }
        if !self.peers.is_empty() {
            // Who proved no identity is nobody's peer.
            let Some(peer) = stream.peer() else {
                return false;
            };
            if !self.peers.iter().any(|is| is.holds(peer.as_bytes())) {
                return false;
            }
        }
        true
    }
}

/// Returns the name of an authority, in lower case and without a port.
fn host_name(authority: &[u8]) -> Vec<u8> {
    let end = match authority.iter().rposition(|b| *b == b':') {
        Some(colon) if authority.last() != Some(&b']') => colon,
        _ => authority.len(),
    };
    authority
        .get(..end)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::fake::Fake;

    fn read(text: &str) -> Result<When> {
        let json = parse(text.as_bytes())?;
        let mut object = Object::root(&json)?;
        let when = When::read_in(&mut object, true)?;
        object.finish()?;
        Ok(when)
    }

    #[track_caller]
    fn holds(text: &str, fake: &Fake) -> bool {
        read(text).unwrap().holds(fake)
    }

    #[test]
    fn a_prefix_of_a_path_covers_whole_elements() {
        let when = r#"{"path": [{"prefix": "/admin"}, {"exact": "/x"}, {"suffix": ".png"}]}"#;
        for (target, expected) in [
            ("/admin", true),
            ("/admin/users?x=1", true),
            ("/admin?x", true),
            ("/administrator", false),
            ("/x", true),
            ("/x/y", false),
            ("/a.png?size=1", true),
            ("/?next=/admin", false),
        ] {
            assert_eq!(holds(when, &Fake::get(target)), expected, "{target}");
        }
    }

    #[test]
    fn every_field_must_hold() {
        let when = r#"{"method": ["GET", "HEAD"], "host": [{"exact": "shop"}],
                       "headers": [{"name": "X-Tier", "prefix": "go"}, {"name": "x-no", "absent": true}],
                       "query": [{"name": "v", "exact": "2"}]}"#;
        let good = || {
            Fake::get("/?v=1&v=2")
                .with("x-tier", "silver")
                .with("x-tier", "gold")
        };
        assert!(holds(when, &good()));
        assert!(!holds(when, &good().with("x-no", "")));
        assert!(!holds(when, &Fake::get("/?v=2").with("x-tier", "silver")));
        let post = good();
        post.set(Side::Request, ":method", b"POST");
        assert!(!holds(when, &post));
        let elsewhere = good();
        elsewhere.set(Side::Request, ":authority", b"SHOP:8080");
        assert!(holds(when, &elsewhere));
        elsewhere.set(Side::Request, ":authority", b"shop2");
        assert!(!holds(when, &elsewhere));
    }

    #[test]
    fn a_peer_without_identity_is_nobody() {
        let when = r#"{"peer": [{"contains": "/ns/shop/"}]}"#;
        let peer = |id| Fake::get("/").knowing("connection.uri_san_peer_certificate", id);
        assert!(holds(when, &peer("spiffe://cluster.local/ns/shop/sa/web")));
        assert!(!holds(
            when,
            &peer("spiffe://cluster.local/ns/other/sa/web")
        ));
        assert!(!holds(when, &Fake::get("/")));
    }

    #[test]
    fn not_turns_around_all_of_its_conditions() {
        let when = r#"{"path": [{"prefix": "/api"}], "not": {"path": [{"exact": "/api/open"}], "method": ["GET"]}}"#;
        assert!(holds(when, &Fake::get("/api/x")));
        assert!(!holds(when, &Fake::get("/api/open")));
        assert!(!holds(when, &Fake::get("/")));
    }

    #[test]
    fn no_condition_holds_always() {
        assert!(holds("{}", &Fake::get("/")));
        assert!(read("{}").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            (r#"{"path": "/x"}"#, "`path` is \"/x\"; allowed is a list"),
            (
                r#"{"path": [{"regex": "."}]}"#,
                "`path[0]` is {\"regex\":\".\"}; allowed is an object with one of exact",
            ),
            (
                r#"{"path": [{"prefix": "x"}]}"#,
                "`path[0]` is {\"prefix\":\"x\"}; allowed is a path that begins with `/`",
            ),
            (
                r#"{"path": [{"exact": "/", "prefix": "/"}]}"#,
                "`path[0]` has more than one of",
            ),
            (
                r#"{"method": ["get"]}"#,
                "`method[0]` is \"get\"; allowed is a method in capitals",
            ),
            (
                r#"{"headers": [{"name": "a b", "present": true}]}"#,
                "`headers[0].name` is \"a b\"; allowed is the name of a header",
            ),
            (
                r#"{"headers": [{"name": "a"}]}"#,
                "`headers[0]` is {\"name\":\"a\"}; allowed is a name with one of",
            ),
            (
                r#"{"headers": [{"name": "a", "exact": "b", "absent": true}]}"#,
                "`headers[0]` is",
            ),
            (
                r#"{"host": [{"prefix": ""}]}"#,
                "`host[0].prefix` is \"\"; allowed is text that is not empty",
            ),
            (
                r#"{"not": {}}"#,
                "`not` is {}; allowed is an object with at least one condition",
            ),
            (r#"{"not": {"not": {"method": ["GET"]}}}"#, "`not.not` is"),
            (
                r#"{"paths": []}"#,
                "the configuration has an unknown field `paths`; allowed are headers, host, method, not, path, peer, query",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }
}
