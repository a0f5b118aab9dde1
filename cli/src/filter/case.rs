//! A test case as people write it, and what is to be sent for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::client::Sent;
use super::compare::Expected;
use super::server::Message;

/// What may be written in a file of cases; shown by `cairn filter test --help`.
pub const HELP: &str = "\
A file holds a list of cases. Each sends one request through a real proxy with the filter in it.

  - name: what must hold                  # required
    config: {…} or text                   # default: that of filter.yaml
    environment: {NAME: value}            # of the guest
    fail_strategy: close|open|reload      # default: close
    request:                              # default: GET /
      method, path, host, headers, trailers
      body: text   or   chunks: [a, b]    # a body in pieces
      http: 1 or 2                        # default: 2 if there are trailers, else 1
    upstream:                             # what the service answers; default: 200, empty
      status, headers, body, chunks, trailers
      or: refused (nobody listens), timeout (it never answers), hangup (it closes)
    calls:                                # what callouts are answered with, each once
      - upstream: auth.default:8080       # as the filter names it
        match: {method, path, headers, body}
        respond: {status, headers, body, trailers} or timeout, refused, hangup
    expect:
      refused: text                       # the configuration is not accepted, for this reason
      action: continue|respond|reset      # reached the service, was answered before, was cut off
      status: 200
      request: {method, path, headers, body, trailers}    # as the service saw it
      request_headers: {…}, request_body: text            # the same, in short
      response: {status, headers, body, trailers}
      logs: [text, {matches: regex}, {absent: text}]      # contained in a line, LEVEL TEXT
      metrics: {name: value}              # the filter's own
      calls: 1   or   [{upstream, method, path, headers, body}]
    wait: 2s                              # how long logs, metrics and calls may take

Where a text is expected: text is equal to it; null or {absent: true} is not there;
{contains: text}, {matches: regex}, {present: true}; a list is all values of a header.";

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What must hold.
    pub name: String,
    /// Another configuration than the project's.
    #[serde(default, deserialize_with = "given")]
    pub config: Option<Value>,
    /// The guest's environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What happens when the filter cannot run.
    #[serde(default)]
    pub fail_strategy: FailStrategy,
    #[serde(default)]
    request: RequestSpec,
    #[serde(default)]
    upstream: AnswerSpec,
    #[serde(default)]
    calls: Vec<CallSpec>,
    /// What must hold, in detail.
    #[serde(default)]
    pub expect: Expected,
    #[serde(default)]
    wait: Option<String>,
}

/// `failStrategy` of a plugin.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailStrategy {
    /// Requests are refused.
    #[default]
    Close,
    /// They pass.
    Open,
    /// They are refused, and the filter starts anew at once.
    Reload,
}

impl From<FailStrategy> for waypoint::local::FailStrategy {
    fn from(strategy: FailStrategy) -> Self {
        match strategy {
            FailStrategy::Close => Self::Close,
            FailStrategy::Open => Self::Open,
            FailStrategy::Reload => Self::Reload,
        }
    }
}

/// Tells `config: null`, which is no configuration, from none that is given.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RequestSpec {
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    headers: BTreeMap<String, Value>,
    trailers: BTreeMap<String, Value>,
    body: Option<String>,
    chunks: Option<Vec<String>>,
    http: Option<u8>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum AnswerSpec {
    Word(String),
    Message(MessageSpec),
}

impl Default for AnswerSpec {
    fn default() -> Self {
        Self::Message(MessageSpec::default())
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MessageSpec {
    status: Option<u16>,
    headers: BTreeMap<String, Value>,
    body: Option<String>,
    chunks: Option<Vec<String>>,
    trailers: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallSpec {
    upstream: String,
    #[serde(default, rename = "match")]
    wanted: super::compare::Request,
    #[serde(default)]
    respond: AnswerSpec,
}

/// What somebody answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This.
    Message(Box<Message>),
    /// Nobody is there.
    Refused,
    /// Nothing, ever.
    Timeout,
    /// Nothing: the connection is closed.
    Hangup,
}

/// A callout that is answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// The upstream as the filter names it.
    pub upstream: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Which requests are meant.
    pub wanted: super::compare::Request,
    /// What is answered.
    pub answer: Answer,
}

/// A file's cases, with where each stands.
pub fn read(path: &Path) -> anyhow::Result<Vec<Case>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let shown = path.display();
    let cases: Vec<Case> =
        serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
    for case in &cases {
        case.check()
            .with_context(|| format!("{shown}: case {:?}", case.name))?;
    }
    Ok(cases)
}

/// The files of cases that a path names: itself, or those in a folder, by name.
pub fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        ensure!(path.exists(), "{} is not there", path.display());
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![];
    for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
        let path = entry?.path();
        let extension = path.extension().unwrap_or_default();
        if extension == "yaml" || extension == "yml" {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

impl Case {
    fn check(&self) -> anyhow::Result<()> {
        self.sent()?.check().context("request")?;
        self.answer()?;
        self.calls()?;
        self.wait()?;
        self.expect.check().context("expect")
    }

    /// The request.
    pub fn sent(&self) -> anyhow::Result<Sent> {
        let spec = &self.request;
        let method = spec.method.as_deref().unwrap_or("GET");
        let trailers = headers(&spec.trailers).context("request.trailers")?;
        let host = spec
            .host
            .clone()
            .unwrap_or_else(|| "demo.example".to_owned());
        let http2 = match spec.http {
            Some(1) => false,
            Some(2) => true,
            Some(other) => bail!("request.http: {other} is neither 1 nor 2"),
            None => !trailers.is_empty() || self.upstream.has_trailers(),
        };
        Ok(Sent {
            method: Method::from_bytes(method.as_bytes())
                .with_context(|| format!("request.method: {method:?} is none"))?,
            path: spec.path.clone().unwrap_or_else(|| "/".to_owned()),
            host,
            headers: headers(&spec.headers).context("request.headers")?,
            pieces: pieces(spec.body.as_deref(), spec.chunks.as_deref()).context("request")?,
            trailers,
            http2,
        })
    }

    /// What the service answers.
    pub fn answer(&self) -> anyhow::Result<Answer> {
        self.upstream.answer().context("upstream")
    }

    /// What callouts are answered with.
    pub fn calls(&self) -> anyhow::Result<Vec<Call>> {
        let calls: anyhow::Result<Vec<Call>> = self.calls.iter().map(CallSpec::call).collect();
        let calls = calls.context("calls")?;
        let refused = |call: &&Call| matches!(call.answer, Answer::Refused);
        for call in calls.iter().filter(refused) {
            let others = calls.iter().filter(|other| other.upstream == call.upstream);
            ensure!(
                others.into_iter().all(|other| refused(&other)),
                "calls: {} refuses connections, so it cannot answer as well",
                call.upstream
            );
        }
        Ok(calls)
    }

    /// How long what happens behind the request may take.
    pub fn wait(&self) -> anyhow::Result<Duration> {
        let Some(text) = &self.wait else {
            return Ok(Duration::from_secs(2));
        };
        crate::command::duration(text).map_err(|why| anyhow::anyhow!("wait: {why}"))
    }
}

impl CallSpec {
    fn call(&self) -> anyhow::Result<Call> {
        let (host, port) = upstream(&self.upstream)
            .with_context(|| format!("{:?} is no upstream", self.upstream))?;
        self.wanted.check().context("match")?;
        Ok(Call {
            upstream: self.upstream.clone(),
            host,
            port,
            wanted: self.wanted.clone(),
            answer: self.respond.answer().context("respond")?,
        })
    }
}

/// Host and port of an upstream as filters name it: `outbound|80||host`, `host:port` or `host`.
pub fn upstream(text: &str) -> Option<(String, u16)> {
    let (host, port) = if text.contains('|') {
        let parts: Vec<&str> = text.split('|').collect();
        let [_, port, _, host] = parts.as_slice() else {
            return None;
        };
        (*host, port.parse().ok()?)
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, 80),
        }
    };
    (!host.is_empty() && port != 0).then(|| (host.to_owned(), port))
}

impl AnswerSpec {
    fn has_trailers(&self) -> bool {
        matches!(self, Self::Message(message) if !message.trailers.is_empty())
    }

    fn answer(&self) -> anyhow::Result<Answer> {
        let spec = match self {
            Self::Message(spec) => spec,
            Self::Word(word) => {
                return match word.as_str() {
                    "refused" => Ok(Answer::Refused),
                    "timeout" => Ok(Answer::Timeout),
                    "hangup" => Ok(Answer::Hangup),
                    other => bail!("{other:?} is none of refused, timeout, hangup"),
                };
            }
        };
        let status = spec.status.unwrap_or(200);
        let pieces = pieces(spec.body.as_deref(), spec.chunks.as_deref())?;
        Ok(Answer::Message(Box::new(Message {
            status: StatusCode::from_u16(status).with_context(|| format!("status: {status}"))?,
            headers: headers(&spec.headers).context("headers")?,
            pieces,
            trailers: headers(&spec.trailers).context("trailers")?,
            ..Message::default()
        })))
    }
}

fn pieces(body: Option<&str>, chunks: Option<&[String]>) -> anyhow::Result<Vec<bytes::Bytes>> {
    match (body, chunks) {
        (Some(_), Some(_)) => bail!("body and chunks exclude each other"),
        (Some(body), None) => Ok(vec![body.to_owned().into()]),
        (None, Some(chunks)) => Ok(chunks.iter().map(|chunk| chunk.clone().into()).collect()),
        (None, None) => Ok(vec![]),
    }
}

/// Header lines as written: a text, a number, or a list of them.
fn headers(from: &BTreeMap<String, Value>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in from {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .with_context(|| format!("{name:?} is no header name"))?;
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let text = scalar(value).with_context(|| format!("{name}: {value} is no text"))?;
            let value = HeaderValue::from_str(&text)
                .with_context(|| format!("{name}: {text:?} is no header value"))?;
            headers.append(parsed.clone(), value);
        }
    }
    Ok(headers)
}

/// A text, or what YAML takes for something else.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(text: &str) -> anyhow::Result<Case> {
        let case: Case = serde_saphyr::from_str(text)?;
        case.check()?;
        Ok(case)
    }

    #[test]
    fn a_name_is_a_case() {
        let sent = case("name: x").unwrap().sent().unwrap();
        assert_eq!((sent.method, sent.path.as_str()), (Method::GET, "/"));
        assert!(!sent.http2);
    }

    #[test]
    fn no_configuration_differs_from_none_given() {
        assert_eq!(case("name: x").unwrap().config, None);
        assert_eq!(
            case("{name: x, config: null}").unwrap().config,
            Some(Value::Null)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("{name: x, request: {http: 3}}", "request.http"),
            ("{name: x, request: {methud: GET}}", "methud"),
            ("{name: x, request: {path: 'a b'}}", "path"),
            ("{name: x, request: {headers: {'a b': c}}}", "a b"),
            ("{name: x, upstream: gone}", "gone"),
            ("{name: x, wait: long}", "wait"),
            ("{name: x, expect: {action: maybe}}", "action"),
            ("{name: x, expect: {logs: [{matches: '('}]}}", "logs"),
            ("{name: x, calls: [{upstream: 'a:b'}]}", "upstream"),
            (
                "{name: x, calls: [{upstream: a, respond: refused}, {upstream: a}]}",
                "refuses",
            ),
        ] {
            let error = format!("{:#}", case(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn upstreams_are_named_as_filters_do() {
        assert_eq!(upstream("a.b:81"), Some(("a.b".to_owned(), 81)));
        assert_eq!(upstream("outbound|82||a.b"), Some(("a.b".to_owned(), 82)));
        assert_eq!(upstream("a"), Some(("a".to_owned(), 80)));
        assert_eq!(upstream(""), None);
    }
}
