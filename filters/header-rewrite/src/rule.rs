//! One rule: when it holds, and what it does.

use kit::config::{Field, Object, Result};
use kit::status::{self, Statuses};
use kit::when::Named;
use kit::{Side, Stream, Template, When};

/// Framing and hop-by-hop headers belong to the proxy: a filter that writes them lets two readers
/// see different messages.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Pseudo-headers a request may be given anew.
const OF_REQUEST: [&str; 3] = [":authority", ":method", ":path"];

/// One rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub(crate) when: When,
    pub(crate) answer: Answer,
    pub(crate) request: Edits,
    pub(crate) response: Edits,
}

/// Conditions on the response.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    statuses: Statuses,
    headers: Vec<Named>,
}

/// Edits of the headers of one side.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    rename: Vec<(String, String)>,
    copy: Vec<(String, String)>,
    remove: Vec<String>,
    set: Vec<(String, Template)>,
    append: Vec<(String, Template, String)>,
    add: Vec<(String, Template)>,
}

impl Rule {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let when = object.get_or("when", When::default(), When::read)?;
        let answer = object.get_or("answer", Answer::default(), Answer::read)?;
        let Some(mut rule) = Self::read_short(&mut object)? else {
            return Err(object.wrong("changes nothing; it needs `request` or `response`"));
        };
        object.finish()?;
        if !answer.is_empty() && !rule.request.is_empty() {
            return Err(format!(
                "`{}` has `answer` beside `request`; a request is rewritten before there is an answer",
                field.path()
            ));
        }
        rule.when = when;
        rule.answer = answer;
        Ok(rule)
    }

    /// Reads `request` and `response` of an object; `None` when both are absent.
    pub(crate) fn read_short(object: &mut Object<'_>) -> Result<Option<Self>> {
        let request = object.get("request");
        let response = object.get("response");
        if request.is_none() && response.is_none() {
            return Ok(None);
        }
        let edits = |field: Option<Field<'_>>, side| {
            field.map_or_else(|| Ok(Edits::default()), |field| Edits::read(&field, side))
        };
        Ok(Some(Self {
            request: edits(request, Side::Request)?,
            response: edits(response, Side::Response)?,
            ..Self::default()
        }))
    }
}

impl Answer {
    fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let statuses = object.get_or("status", Statuses::default(), Statuses::read)?;
        let headers = object.each("headers", Named::header)?;
        object.finish()?;
        Ok(Self { statuses, headers })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.statuses.is_empty() && self.headers.is_empty()
    }

    pub(crate) fn holds(&self, stream: &dyn Stream) -> bool {
        let status_holds = self.statuses.is_empty()
            || status::of(stream).is_some_and(|status| self.statuses.contain(status));
        status_holds
            && self
                .headers
                .iter()
                .all(|header| header.holds(&stream.values(Side::Response, header.name())))
    }
}

impl Edits {
    fn read(field: &Field<'_>, side: Side) -> Result<Self> {
        let mut object = field.object()?;
        let written = |field: &Field<'_>| name_to_write(field, side);
        let edits = Self {
            rename: object.each("rename", |field| pair(field, plain_name))?,
            copy: object.each("copy", |field| pair(field, written))?,
            remove: object.each("remove", plain_name)?,
            set: object.each("set", |field| value(field, written))?,
            append: object.each("append", |field| {
                let mut object = field.object()?;
                let name = plain_name(&object.need("name")?)?;
                let value = Template::read(&object.need("value")?)?;
                let separator = object
                    .get_or("separator", ", ", Field::header_value)?
                    .to_owned();
                object.finish()?;
                Ok((name, value, separator))
            })?,
            add: object.each("add", |field| value(field, plain_name))?,
        };
        object.finish()?;
        Ok(edits)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rename.is_empty()
            && self.copy.is_empty()
            && self.remove.is_empty()
            && self.set.is_empty()
            && self.append.is_empty()
            && self.add.is_empty()
    }

    /// Carries the edits out.
    pub(crate) fn apply(&self, side: Side, stream: &dyn Stream) {
        for (from, to) in &self.rename {
            if put_copy(side, stream, from, to) {
                stream.remove(side, from);
            }
        }
        for (from, to) in &self.copy {
            put_copy(side, stream, from, to);
        }
        for name in &self.remove {
            stream.remove(side, name);
        }
        for (name, value) in &self.set {
            match value.render(stream) {
                Some(value) => stream.set(side, name, &value),
                // What a client sent must not stand where our value should.
                None if !name.starts_with(':') => stream.remove(side, name),
                None => {}
            }
        }
        for (name, value, separator) in &self.append {
            let Some(value) = value.render(stream) else {
                continue;
            };
            let mut values = stream.values(side, name);
            values.push(value);
            stream.set(side, name, &values.join(separator.as_bytes()));
        }
        for (name, value) in &self.add {
            if let Some(value) = value.render(stream) {
                stream.add(side, name, &value);
            }
        }
    }
}

/// Puts every value of one header under another name; returns whether there was one.
fn put_copy(side: Side, stream: &dyn Stream, from: &str, to: &str) -> bool {
    let values = stream.values(side, from);
    let Some((first, more)) = values.split_first() else {
        return false;
    };
    stream.set(side, to, first);
    for value in more {
        stream.add(side, to, value);
    }
    true
}

fn pair(
    field: &Field<'_>,
    read_from: impl FnOnce(&Field<'_>) -> Result<String>,
) -> Result<(String, String)> {
    let mut object = field.object()?;
    let from = read_from(&object.need("from")?)?;
    let to = plain_name(&object.need("to")?)?;
    object.finish()?;
    if from == to {
        return Err(field.wrong("two different names"));
    }
    Ok((from, to))
}

fn value(
    field: &Field<'_>,
    read_name: impl FnOnce(&Field<'_>) -> Result<String>,
) -> Result<(String, Template)> {
    let mut object = field.object()?;
    let name = read_name(&object.need("name")?)?;
    let value = Template::read(&object.need("value")?)?;
    object.finish()?;
    Ok((name, value))
}

/// Reads the name of a header this filter may write.
fn plain_name(field: &Field<'_>) -> Result<String> {
    let name = field.header_name()?;
    if FRAMING.contains(&name.as_str()) {
        return Err(field.wrong(
            "any header but those the proxy frames messages with (`:authority` is the host)",
        ));
    }
    Ok(name)
}

/// As [`plain_name`], or a pseudo-header that side can be given anew.
fn name_to_write(field: &Field<'_>, side: Side) -> Result<String> {
    let name = field.text()?;
    if !name.starts_with(':') {
        return plain_name(field);
    }
    match side {
        Side::Request if OF_REQUEST.contains(&name) => Ok(name.to_owned()),
        Side::Request => Err(field.wrong("of pseudo-headers :authority, :method and :path")),
        Side::Response if name == ":status" => Ok(name.to_owned()),
        Side::Response => Err(field.wrong("of pseudo-headers :status")),
    }
}
