//! Where in a JSON document: JSON pointers (RFC 6901) with two wildcards.
//!
//! `*` stands for every member or item of one level, `**` for any number of levels, none included.

use kit::config::{Field, Result};
use kit::json::Json;

/// A pointer below the whole document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pointer {
    parents: Vec<Step>,
    last: Last,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Name(String),
    Any,
    Deep,
}

/// The last step: what an operation acts on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Last {
    Name(String),
    Any,
}

impl Pointer {
    pub(crate) fn read(field: &Field<'_>, may_be_deep: bool) -> Result<Self> {
        const ALLOWED: &str =
            "a JSON pointer such as \"/user/email\", \"/items/*/price\" or \"/**/password\"";
        let text = field.text()?;
        let steps = text.strip_prefix('/').ok_or_else(|| field.wrong(ALLOWED))?;
        let mut parents = Vec::new();
        for step in steps.split('/') {
            parents.push(match step {
                "*" => Step::Any,
                "**" => Step::Deep,
                name => Step::Name(name.replace("~1", "/").replace("~0", "~")),
            });
        }
        let deep = parents.iter().filter(|step| **step == Step::Deep).count();
        if deep > 1 {
            return Err(field.wrong("a pointer with one `**` at most"));
        }
        if deep == 1 && !may_be_deep {
            return Err(field.wrong("a pointer without `**`, which would set it everywhere"));
        }
        let last = match parents.pop() {
            Some(Step::Name(name)) => Last::Name(name),
            Some(Step::Any) => Last::Any,
            _ => return Err(field.wrong("a pointer that does not end with `**`")),
        };
        Ok(Self { parents, last })
    }

    /// Returns whether the last step is a name.
    pub(crate) fn ends_with_name(&self) -> bool {
        matches!(self.last, Last::Name(_))
    }

    /// Shows every object and list in which the last step is to be looked for. With `create`,
    /// objects that are missing on the way are made.
    pub(crate) fn each(
        &self,
        json: &mut Json,
        create: bool,
        act: &mut dyn FnMut(&mut Json, &Last),
    ) {
        walk(json, &self.parents, create, &mut |parent| {
            act(parent, &self.last);
        });
    }
}

fn walk(json: &mut Json, steps: &[Step], create: bool, act: &mut dyn FnMut(&mut Json)) {
    let Some((step, rest)) = steps.split_first() else {
        return act(json);
    };
    match step {
        Step::Any => {
            for child in children(json) {
                walk(child, rest, create, act);
            }
        }
        Step::Deep => {
            for child in children(json) {
                walk(child, steps, create, act);
            }
            walk(json, rest, create, act);
        }
        Step::Name(name) => match json {
            // Every member of that name: a reader could take any of them.
            Json::Object(members) => {
                if create && !members.iter().any(|(n, _)| n == name) {
                    members.push((name.clone(), Json::Object(Vec::new())));
                }
                for (_, child) in members.iter_mut().filter(|(n, _)| n == name) {
                    walk(child, rest, create, act);
                }
            }
            Json::List(items) => {
                if let Some(child) = index(name).and_then(|index| items.get_mut(index)) {
                    walk(child, rest, create, act);
                }
            }
            _ => {}
        },
    }
}

fn children(json: &mut Json) -> Box<dyn Iterator<Item = &mut Json> + '_> {
    match json {
        Json::Object(members) => Box::new(members.iter_mut().map(|(_, child)| child)),
        Json::List(items) => Box::new(items.iter_mut()),
        _ => Box::new(std::iter::empty()),
    }
}

/// Reads an index: digits without a leading zero.
pub(crate) fn index(name: &str) -> Option<usize> {
    let plain = name == "0" || (!name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit()));
    plain.then(|| name.parse().ok()).flatten()
}
