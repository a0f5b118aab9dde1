//! One change of a JSON document.

use kit::config::{Field, Result};
use kit::json::Json;
use kit::{Stream, Template};

use crate::pointer::{Last, Pointer, index};

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    at: Pointer,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Set(Value),
    Redact(Value),
    Remove,
    Rename(String),
}

#[derive(Clone, Debug)]
enum Value {
    Fixed(Json),
    Made(Template),
}

impl Operation {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self> {
        let mut object = field.object()?;
        let fields = [
            object.get("set"),
            object.get("remove"),
            object.get("rename"),
            object.get("redact"),
        ];
        if fields.iter().flatten().count() != 1 {
            return Err(field.wrong("an object with one of set, remove, rename, redact"));
        }
        let [set, remove, rename, redact] = fields;
        let operation = if let Some(at) = set {
            Self {
                at: Pointer::read(&at, false)?,
                action: Action::Set(Value::read(
                    &object
                        .get_or_null("value")
                        .ok_or_else(|| object.missing("value"))?,
                )?),
            }
        } else if let Some(at) = remove {
            Self {
                at: Pointer::read(&at, true)?,
                action: Action::Remove,
            }
        } else if let Some(at) = rename {
            let pointer = Pointer::read(&at, true)?;
            if !pointer.ends_with_name() {
                return Err(at.wrong("a pointer that ends with a name"));
            }
            Self {
                at: pointer,
                action: Action::Rename(object.need("to")?.text()?.to_owned()),
            }
        } else {
            let at = redact.ok_or_else(|| field.wrong("an operation"))?;
            let with = object
                .get_or_null("with")
                .map(|field| Value::read(&field))
                .transpose()?;
            Self {
                at: Pointer::read(&at, true)?,
                action: Action::Redact(
                    with.unwrap_or_else(|| Value::Fixed(Json::Text("[redacted]".to_owned()))),
                ),
            }
        };
        object.finish()?;
        Ok(operation)
    }

    /// Carries it out; returns whether anything changed.
    pub(crate) fn apply(&self, json: &mut Json, stream: &dyn Stream) -> bool {
        let mut changed = false;
        match &self.action {
            Action::Set(value) => {
                if let Some(value) = value.make(stream) {
                    self.at.each(json, true, &mut |parent, last| {
                        changed |= set(parent, last, &value);
                    });
                }
            }
            Action::Redact(value) => {
                // What cannot be made must not leave what was to be hidden.
                let value = value.make(stream).unwrap_or(Json::Null);
                self.at.each(json, false, &mut |parent, last| {
                    for found in found(parent, last) {
                        *found = value.clone();
                        changed = true;
                    }
                });
            }
            Action::Remove => {
                self.at.each(json, false, &mut |parent, last| {
                    changed |= remove(parent, last);
                });
            }
            Action::Rename(to) => {
                self.at.each(json, false, &mut |parent, last| {
                    changed |= rename(parent, last, to);
                });
            }
        }
        changed
    }
}

impl Value {
    fn read(field: &Field<'_>) -> Result<Self> {
        match field.json().text() {
            Some(text) if text.contains("%{") => {
                let template = Template::parse(text)
                    .map_err(|why| format!("`{}` is {}; {why}", field.path(), field.json()))?;
                Ok(Self::Made(template))
            }
            _ => Ok(Self::Fixed(field.json().clone())),
        }
    }

    fn make(&self, stream: &dyn Stream) -> Option<Json> {
        match self {
            Self::Fixed(json) => Some(json.clone()),
            Self::Made(template) => {
                let text = String::from_utf8(template.render(stream)?).ok()?;
                Some(Json::Text(text))
            }
        }
    }
}

/// Yields every value a last step stands for.
fn found<'a>(parent: &'a mut Json, last: &'a Last) -> Box<dyn Iterator<Item = &'a mut Json> + 'a> {
    match (parent, last) {
        (Json::Object(members), Last::Any) => Box::new(members.iter_mut().map(|(_, value)| value)),
        (Json::Object(members), Last::Name(name)) => Box::new(
            members
                .iter_mut()
                .filter(move |(n, _)| n == name)
                .map(|(_, value)| value),
        ),
        (Json::List(items), Last::Any) => Box::new(items.iter_mut()),
        (Json::List(items), Last::Name(name)) => Box::new(
            index(name)
                .and_then(|index| items.get_mut(index))
                .into_iter(),
        ),
        _ => Box::new(std::iter::empty()),
    }
}

fn set(parent: &mut Json, last: &Last, value: &Json) -> bool {
    let mut there = false;
    for found in found(parent, last) {
        *found = value.clone();
        there = true;
    }
    match (parent, last) {
        (Json::Object(members), Last::Name(name)) if !there => {
            members.push((name.clone(), value.clone()));
            true
        }
        (Json::List(items), Last::Name(name)) if name == "-" => {
            items.push(value.clone());
            true
        }
        _ => there,
    }
}

fn remove(parent: &mut Json, last: &Last) -> bool {
    match (parent, last) {
        (Json::Object(members), Last::Any) => !std::mem::take(members).is_empty(),
        (Json::List(items), Last::Any) => !std::mem::take(items).is_empty(),
        (Json::Object(members), Last::Name(name)) => {
            let before = members.len();
            members.retain(|(n, _)| n != name);
            members.len() < before
        }
        (Json::List(items), Last::Name(name)) => match index(name) {
            Some(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// Gives members another name; who had it before goes.
fn rename(parent: &mut Json, last: &Last, to: &str) -> bool {
    let (Json::Object(members), Last::Name(from)) = (parent, last) else {
        return false;
    };
    if from == to || !members.iter().any(|(n, _)| n == from) {
        return false;
    }
    members.retain(|(n, _)| n != to);
    for (name, _) in members.iter_mut().filter(|(n, _)| n == from) {
        to.clone_into(name);
    }
    true
}
