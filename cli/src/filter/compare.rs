//! What a case expects, and how what happened differs from it.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use http::HeaderMap;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::case::scalar;
use super::server::Message;

#[cfg(test)]
mod tests;

/// What a case expects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// The configuration is not accepted.
    pub refused: Option<Value>,
    action: Option<Action>,
    status: Option<u16>,
    request: Request,
    request_headers: BTreeMap<String, Value>,
    request_body: Option<Value>,
    response: Response,
    logs: Vec<Value>,
    metrics: BTreeMap<String, Value>,
    calls: Option<Calls>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It reached the service.
    Continue,
    /// It was answered before.
    Respond,
    /// It was cut off.
    Reset,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Respond => "respond",
            Self::Reset => "reset",
        }
    }
}

/// How a request must look.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    method: Option<Value>,
    path: Option<Value>,
    headers: BTreeMap<String, Value>,
    body: Option<Value>,
    trailers: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Response {
    status: Option<u16>,
    headers: BTreeMap<String, Value>,
    body: Option<Value>,
    trailers: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Calls {
    Count(usize),
    List(Vec<ExpectedCall>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedCall {
    upstream: String,
    #[serde(default)]
    method: Option<Value>,
    #[serde(default)]
    path: Option<Value>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    body: Option<Value>,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Happened {
    /// Why the configuration was not accepted.
    pub refused: Option<String>,
    /// The answer the client got, or why it got none.
    pub response: Option<Result<Message, String>>,
    /// What reached the service.
    pub received: Vec<Message>,
    /// What was logged.
    pub logs: Vec<String>,
    /// Metrics, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Callouts: the upstream, and what it got.
    pub calls: Vec<(String, Message)>,
    /// Callouts that no case told an answer for.
    pub unanswered: Vec<String>,
}

/// A difference between what is expected and what happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// Where, as in the case.
    pub field: String,
    /// What the case says.
    pub expected: String,
    /// What was.
    pub was: String,
}

impl Difference {
    fn new(field: impl Into<String>, expected: impl Into<String>, was: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            expected: expected.into(),
            was: was.into(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({"field": self.field, "expected": self.expected, "was": self.was})
    }
}

/// How a text must be.
enum Matcher {
    Equal(String),
    Contains(String),
    Matches(Regex),
    Present,
    Absent,
}

impl Matcher {
    fn read(value: &Value) -> anyhow::Result<Self> {
        if let Some(text) = scalar(value) {
            return Ok(Self::Equal(text));
        }
        let object = match value {
            Value::Null => return Ok(Self::Absent),
            Value::Object(object) => object,
            other => bail!("{other} says nothing about a text"),
        };
        let entry = object.iter().next();
        let text = |value: &Value| scalar(value).with_context(|| format!("{value} is no text"));
        match (
            object.len(),
            entry.map(|(key, value)| (key.as_str(), value)),
        ) {
            (1, Some(("contains", value))) => Ok(Self::Contains(text(value)?)),
            (1, Some(("matches", value))) => {
                let text = text(value)?;
                let regex = Regex::new(&text).with_context(|| format!("{text:?}"))?;
                Ok(Self::Matches(regex))
            }
            (1, Some(("present", Value::Bool(true)))) => Ok(Self::Present),
            (1, Some(("absent", Value::Bool(true)))) => Ok(Self::Absent),
            _ => bail!(
                "{value} is none of {{contains: …}}, {{matches: …}}, {{present: true}}, {{absent: true}}"
            ),
        }
    }

    fn fits(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (Self::Absent, text) => text.is_none(),
            (_, None) => false,
            (Self::Present, Some(_)) => true,
            (Self::Equal(wanted), Some(text)) => text == wanted,
            (Self::Contains(part), Some(text)) => text.contains(part.as_str()),
            (Self::Matches(regex), Some(text)) => regex.is_match(text),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Equal(text) => text.clone(),
            Self::Contains(part) => format!("(contains) {part}"),
            Self::Matches(regex) => format!("(matches) {regex}"),
            Self::Present => "(present)".to_owned(),
            Self::Absent => ABSENT.to_owned(),
        }
    }
}

/// How what is not there is shown.
const ABSENT: &str = "(absent)";

impl Expected {
    /// Says what makes no sense.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(refused) = &self.refused {
            Matcher::read(refused).context("refused")?;
        }
        self.request.check().context("request")?;
        check_headers(&self.request_headers).context("request_headers")?;
        check_text(self.request_body.as_ref()).context("request_body")?;
        check_headers(&self.response.headers).context("response.headers")?;
        check_headers(&self.response.trailers).context("response.trailers")?;
        check_text(self.response.body.as_ref()).context("response.body")?;
        for line in &self.logs {
            log_line(line).context("logs")?;
        }
        for (name, value) in &self.metrics {
            value
                .as_f64()
                .with_context(|| format!("metrics.{name}: {value} is no number"))?;
        }
        if let Some(Calls::List(list)) = &self.calls {
            for call in list {
                call.request().check().context("calls")?;
            }
        }
        Ok(())
    }

    /// Everything in which what happened differs.
    pub fn differences(&self, was: &Happened) -> Vec<Difference> {
        let mut found = vec![];
        match (&self.refused, &was.refused) {
            (Some(wanted), refused) => {
                let shown = refused.as_deref().unwrap_or("it was accepted");
                text("refused", wanted, refused.as_deref(), shown, &mut found);
                return found;
            }
            (None, Some(why)) => {
                found.push(Difference::new(
                    "config",
                    "accepted",
                    format!("refused: {why}"),
                ));
                return found;
            }
            (None, None) => {}
        }
        self.outcome(was, &mut found);
        self.request_seen(was, &mut found);
        self.response.differences(was, &mut found);
        self.logged(was, &mut found);
        for (name, value) in &self.metrics {
            let wanted = value.as_f64().unwrap_or_default();
            let metric = metric(&was.metrics, name);
            if metric != Some(wanted) {
                let shown = metric.map_or_else(|| ABSENT.to_owned(), |value| value.to_string());
                let field = format!("metrics.{name}");
                found.push(Difference::new(field, wanted.to_string(), shown));
            }
        }
        self.called(was, &mut found);
        found
    }

    fn outcome(&self, was: &Happened, found: &mut Vec<Difference>) {
        let action = match &was.response {
            Some(Err(_)) | None => Action::Reset,
            Some(Ok(_)) if was.received.is_empty() => Action::Respond,
            Some(Ok(_)) => Action::Continue,
        };
        if let Some(wanted) = self.action
            && wanted != action
        {
            found.push(Difference::new("action", wanted.name(), action.name()));
        }
        let status = was.response.as_ref();
        let status = status.and_then(|response| response.as_ref().ok());
        let status = status.map(|response| response.status.as_u16());
        if let Some(wanted) = self.status
            && Some(wanted) != status
        {
            found.push(Difference::new(
                "status",
                wanted.to_string(),
                shown_status(was),
            ));
        }
    }

    fn request_seen(&self, was: &Happened, found: &mut Vec<Difference>) {
        let mut wanted = self.request.clone();
        let short = self.request_headers.clone();
        let is_short = !short.is_empty() || self.request_body.is_some();
        wanted.headers.extend(short);
        wanted.body = self.request_body.clone().or(wanted.body);
        if wanted.is_empty() && !is_short {
            return;
        }
        // Tried again, the last is what counts.
        match was.received.last() {
            Some(request) => wanted.differences("request", request, found),
            None => found.push(Difference::new("request", "reaches the service", "did not")),
        }
    }

    fn logged(&self, was: &Happened, found: &mut Vec<Difference>) {
        for line in &self.logs {
            let Ok((matcher, wanted)) = log_line(line) else {
                continue;
            };
            let is = was.logs.iter().any(|line| matcher.fits(Some(line)));
            if is == wanted {
                continue;
            }
            let logged = if was.logs.is_empty() {
                "nothing was logged".to_owned()
            } else {
                was.logs.join("\n")
            };
            let not = if wanted { "" } else { "no line that is " };
            found.push(Difference::new(
                "logs",
                format!("{not}{}", matcher.shown()),
                logged,
            ));
        }
    }

    fn called(&self, was: &Happened, found: &mut Vec<Difference>) {
        for call in &was.unanswered {
            let expected = "an answer told under `calls`";
            found.push(Difference::new(
                "calls",
                expected,
                format!("{call} was called"),
            ));
        }
        let shown = || {
            let calls = was.calls.iter();
            let calls = calls.map(|(to, call)| format!("{to} {} {}", call.method, call.path));
            let calls: Vec<String> = calls.collect();
            if calls.is_empty() {
                "none".to_owned()
            } else {
                calls.join("\n")
            }
        };
        match &self.calls {
            None => {}
            Some(Calls::Count(count)) if *count == was.calls.len() => {}
            Some(Calls::Count(count)) => {
                found.push(Difference::new("calls", count.to_string(), shown()));
            }
            Some(Calls::List(list)) => {
                if list.len() != was.calls.len() {
                    let expected = format!("{} calls", list.len());
                    found.push(Difference::new("calls", expected, shown()));
                    return;
                }
                for (index, (wanted, (to, call))) in list.iter().zip(&was.calls).enumerate() {
                    let field = format!("calls[{index}]");
                    if wanted.upstream != *to {
                        let field = format!("{field}.upstream");
                        found.push(Difference::new(field, &wanted.upstream, to));
                    }
                    wanted.request().differences(&field, call, found);
                }
            }
        }
    }
}

impl ExpectedCall {
    fn request(&self) -> Request {
        Request {
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            trailers: BTreeMap::new(),
        }
    }
}

impl Request {
    /// Says what makes no sense.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> anyhow::Result<()> {
        check_text(self.method.as_ref()).context("method")?;
        check_text(self.path.as_ref()).context("path")?;
        check_headers(&self.headers).context("headers")?;
        check_text(self.body.as_ref()).context("body")?;
        check_headers(&self.trailers).context("trailers")
    }

    /// Whether a request looks so.
    pub fn fits(&self, request: &Message) -> bool {
        let mut found = vec![];
        self.differences("", request, &mut found);
        found.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.method.is_none()
            && self.path.is_none()
            && self.headers.is_empty()
            && self.body.is_none()
            && self.trailers.is_empty()
    }

    fn differences(&self, field: &str, was: &Message, found: &mut Vec<Difference>) {
        let parts = [
            ("method", &self.method, was.method.as_str()),
            ("path", &self.path, was.path.as_str()),
        ];
        for (name, wanted, is) in parts {
            if let Some(wanted) = wanted {
                text(&format!("{field}.{name}"), wanted, Some(is), is, found);
            }
        }
        headers(
            &format!("{field}.headers"),
            &self.headers,
            &was.headers,
            found,
        );
        body(&format!("{field}.body"), self.body.as_ref(), was, found);
        headers(
            &format!("{field}.trailers"),
            &self.trailers,
            &was.trailers,
            found,
        );
    }
}

impl Response {
    fn differences(&self, was: &Happened, found: &mut Vec<Difference>) {
        let wants = self.status.is_some()
            || self.body.is_some()
            || !self.headers.is_empty()
            || !self.trailers.is_empty();
        let Some(Ok(response)) = &was.response else {
            if wants {
                found.push(Difference::new("response", "an answer", shown_status(was)));
            }
            return;
        };
        let status = response.status.as_u16();
        if let Some(wanted) = self.status
            && wanted != status
        {
            let field = "response.status";
            found.push(Difference::new(
                field,
                wanted.to_string(),
                status.to_string(),
            ));
        }
        headers("response.headers", &self.headers, &response.headers, found);
        body("response.body", self.body.as_ref(), response, found);
        headers(
            "response.trailers",
            &self.trailers,
            &response.trailers,
            found,
        );
    }
}

fn shown_status(was: &Happened) -> String {
    match &was.response {
        Some(Ok(response)) => response.status.as_u16().to_string(),
        Some(Err(why)) => format!("no answer: {why}"),
        None => "no answer".to_owned(),
    }
}

fn check_text(value: Option<&Value>) -> anyhow::Result<()> {
    value.map_or(Ok(()), |value| Matcher::read(value).map(drop))
}

fn check_headers(wanted: &BTreeMap<String, Value>) -> anyhow::Result<()> {
    for (name, value) in wanted {
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| check_text(Some(value))),
            one => check_text(Some(one)),
        }
        .with_context(|| name.clone())?;
    }
    Ok(())
}

/// A line that is to be there (or not), contained unless said otherwise.
fn log_line(value: &Value) -> anyhow::Result<(Matcher, bool)> {
    if let Some(text) = scalar(value) {
        return Ok((Matcher::Contains(text), true));
    }
    let absent = value
        .as_object()
        .and_then(|object: &Map<_, _>| object.get("absent"));
    match absent {
        Some(text) => {
            let text = scalar(text).with_context(|| format!("{text} is no text"))?;
            Ok((Matcher::Contains(text), false))
        }
        None => Ok((Matcher::read(value)?, true)),
    }
}

fn text(field: &str, wanted: &Value, is: Option<&str>, shown: &str, found: &mut Vec<Difference>) {
    // Checked when it was read.
    if let Ok(matcher) = Matcher::read(wanted)
        && !matcher.fits(is)
    {
        found.push(Difference::new(field, matcher.shown(), shown));
    }
}

fn body(field: &str, wanted: Option<&Value>, was: &Message, found: &mut Vec<Difference>) {
    let Some(wanted) = wanted else { return };
    let is = String::from_utf8_lossy(&was.body);
    let present = (!is.is_empty() || !wanted.is_null()).then_some(&*is);
    text(field, wanted, present, &is, found);
}

fn headers(
    field: &str,
    wanted: &BTreeMap<String, Value>,
    was: &HeaderMap,
    found: &mut Vec<Difference>,
) {
    for (name, wanted) in wanted {
        let field = format!("{field}.{name}");
        let values = was.get_all(name.to_ascii_lowercase());
        let values = values
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<_> = values.collect();
        let shown = if values.is_empty() {
            ABSENT.to_owned()
        } else {
            values.join(" | ")
        };
        if let Value::Array(list) = wanted {
            let all = list.len() == values.len()
                && list.iter().zip(&values).all(|(wanted, value)| {
                    Matcher::read(wanted).is_ok_and(|matcher| matcher.fits(Some(value)))
                });
            if !all {
                let expected: Vec<String> = list
                    .iter()
                    .filter_map(|wanted| Some(Matcher::read(wanted).ok()?.shown()))
                    .collect();
                found.push(Difference::new(field, expected.join(" | "), shown));
            }
            continue;
        }
        let all = values.join(", ");
        let is = (!values.is_empty()).then_some(all.as_str());
        text(&field, wanted, is, &shown, found);
    }
}

/// A metric by the name the filter gave it, or with the prefix under which it is exported.
fn metric(all: &BTreeMap<String, f64>, name: &str) -> Option<f64> {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let forms = [
        name.to_owned(),
        format!("wasmcustom_{plain}"),
        format!("wasmcustom_{plain}_total"),
    ];
    forms.iter().find_map(|form| all.get(form)).copied()
}
