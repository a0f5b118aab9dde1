//! Reads a configuration: every mistake is told with the path of its field and what is allowed.

use crate::header::{is_name, is_value};
use crate::json::{Json, Keys};

/// A sentence for whoever wrote the configuration.
pub type Result<T> = std::result::Result<T, String>;

/// Reads the text of a configuration; none at all is an empty object.
///
/// # Errors
/// When it is not JSON, with line and column.
pub fn parse(bytes: &[u8]) -> Result<Json> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Json::Object(Vec::new()));
    }
    crate::json::parse(bytes, Keys::Unique)
        .map_err(|mistake| format!("the configuration is not valid JSON: {mistake}"))
}

/// One field and where it stands.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    path: String,
    value: &'a Json,
}

/// An object whose fields are asked for one by one; what was not asked for is unknown.
#[derive(Debug)]
pub struct Object<'a> {
    path: String,
    members: &'a [(String, Json)],
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// Begins with the whole configuration.
    ///
    /// # Errors
    /// When it is not an object.
    pub fn root(json: &'a Json) -> Result<Self> {
        let field = Field {
            path: String::new(),
            value: json,
        };
        field.object()
    }

    /// Returns a field, unless it is absent or null.
    pub fn get(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.get_or_null(name)
            .filter(|field| *field.value != Json::Null)
    }

    /// Returns a field, unless it is absent.
    pub fn get_or_null(&mut self, name: &'static str) -> Option<Field<'a>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let (_, value) = self.members.iter().find(|(n, _)| n == name)?;
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Some(Field { path, value })
    }

    /// Returns a field that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn need(&mut self, name: &'static str) -> Result<Field<'a>> {
        let found = self.get(name);
        found.ok_or_else(|| self.missing(name))
    }

    /// Says that a field must be there.
    pub fn missing(&self, name: &str) -> String {
        format!("{} needs the field `{name}`", self.shown())
    }

    /// Returns a field read in some way, or something else when it is absent.
    ///
    /// # Errors
    /// What reading it says.
    pub fn get_or<T>(
        &mut self,
        name: &'static str,
        otherwise: T,
        read: impl FnOnce(&Field<'a>) -> Result<T>,
    ) -> Result<T> {
        self.get(name).map_or(Ok(otherwise), |field| read(&field))
    }

    /// Returns the items of a list, none when it is absent.
    ///
    /// # Errors
    /// When it is not a list, and what reading an item says.
    pub fn each<T>(
        &mut self,
        name: &'static str,
        read: impl FnMut(&Field<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        match self.get(name) {
            Some(field) => field.list()?.iter().map(read).collect(),
            None => Ok(Vec::new()),
        }
    }

    /// Refuses a field that nothing asked for.
    ///
    /// # Errors
    /// The first such field and the names there are.
    pub fn finish(mut self) -> Result<()> {
        let Some((name, _)) = self
            .members
            .iter()
            .find(|(n, _)| !self.known.contains(&n.as_str()))
        else {
            return Ok(());
        };
        self.known.sort_unstable();
        let known = self.known.join(", ");
        Err(format!(
            "{} has an unknown field `{name}`; allowed are {known}",
            self.shown()
        ))
    }

    /// Says that the object as a whole makes no sense.
    pub fn wrong(&self, why: &str) -> String {
        format!("{} {why}", self.shown())
    }

    /// Returns the path of a field that need not be there.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn shown(&self) -> String {
        if self.path.is_empty() {
            "the configuration".to_owned()
        } else {
            format!("`{}`", self.path)
        }
    }
}

impl<'a> Field<'a> {
    /// Returns where it stands, such as `rules[0].when.path`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what stands there.
    pub fn json(&self) -> &'a Json {
        self.value
    }

    /// Says that the value is not one of those allowed.
    pub fn wrong(&self, allowed: &str) -> String {
        let mut shown = self.value.to_string();
        if shown.chars().count() > 60 {
            shown = shown.chars().take(59).collect();
            shown.push('…');
        }
        match self.path.as_str() {
            "" => format!("the configuration is {shown}; allowed is {allowed}"),
            path => format!("`{path}` is {shown}; allowed is {allowed}"),
        }
    }

    /// As [`Field::wrong`], for what may be a secret and must not stand in a log.
    pub fn wrong_secret(&self, allowed: &str) -> String {
        format!("`{}` is not valid; allowed is {allowed}", self.path)
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When it is something else; as for every reader here.
    pub fn object(&self) -> Result<Object<'a>> {
        match self.value {
            Json::Object(members) => Ok(Object {
                path: self.path.clone(),
                members,
                known: Vec::new(),
            }),
            _ => Err(self.wrong("an object")),
        }
    }

    /// Reads a list.
    pub fn list(&self) -> Result<Vec<Field<'a>>> {
        let Json::List(items) = self.value else {
            return Err(self.wrong("a list"));
        };
        let fields = items.iter().enumerate().map(|(n, value)| Field {
            path: format!("{}[{n}]", self.path),
            value,
        });
        Ok(fields.collect())
    }

    /// Reads text.
    pub fn text(&self) -> Result<&'a str> {
        self.value.text().ok_or_else(|| self.wrong("text"))
    }

    /// Reads text that is not empty.
    pub fn some_text(&self) -> Result<&'a str> {
        match self.text()? {
            "" => Err(self.wrong("text that is not empty")),
            text => Ok(text),
        }
    }

    /// Reads `true` or `false`.
    pub fn flag(&self) -> Result<bool> {
        match self.value {
            Json::Bool(flag) => Ok(*flag),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// Reads a whole number within bounds.
    pub fn whole(&self, least: u32, most: u32) -> Result<u32> {
        // Numbers of a Kubernetes object may arrive as 1.0 or 1e3.
        let number = self.value.number().filter(|number| {
            number.fract() == 0.0 && (f64::from(least)..=f64::from(most)).contains(number)
        });
        match number {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is whole and between two u32"
            )]
            Some(number) => Ok(number as u32),
            None => Err(self.wrong(&format!("a whole number from {least} to {most}"))),
        }
    }

    /// Reads a percentage, fractions included.
    pub fn percent(&self) -> Result<f64> {
        self.value
            .number()
            .filter(|number| (0.0..=100.0).contains(number))
            .ok_or_else(|| self.wrong("a number from 0 to 100"))
    }

    /// Reads the status of an answer the filter makes.
    pub fn status(&self) -> Result<u32> {
        self.whole(200, 599)
    }

    /// Reads one of some words.
    pub fn one_of<T: Clone>(&self, words: &[(&str, T)]) -> Result<T> {
        let found = self
            .value
            .text()
            .and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
            let words: Vec<_> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            self.wrong(&words.join(" or "))
        })
    }

    /// Reads the name of a header, in lower case; no pseudo-header.
    pub fn header_name(&self) -> Result<String> {
        let name = self.text()?;
        if !is_name(name) {
            return Err(self.wrong("the name of a header: letters, digits and !#$%&'*+-.^_`|~"));
        }
        Ok(name.to_ascii_lowercase())
    }

    /// Reads the value of a header.
    pub fn header_value(&self) -> Result<&'a str> {
        let value = self.text()?;
        if !is_value(value.as_bytes()) {
            return Err(self.wrong("visible ASCII characters, spaces and tabs"));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, read: impl FnOnce(&mut Object<'_>) -> Result<T>) -> Result<T> {
        let json = parse(text.as_bytes())?;
        let mut object = Object::root(&json)?;
        let value = read(&mut object)?;
        object.finish()?;
        Ok(value)
    }

    #[test]
    fn nothing_at_all_is_an_empty_object() {
        for nothing in ["", " \n", "{}", r#"{"a": null}"#] {
            let found = with(nothing, |o| Ok(o.get("a").is_some())).unwrap();
            assert!(!found, "{nothing:?}");
        }
    }

    #[test]
    fn whole_numbers_may_come_as_doubles() {
        for number in ["403", "403.0", "4.03e2"] {
            let text = format!(r#"{{"status": {number}}}"#);
            assert_eq!(with(&text, |o| o.need("status")?.status()), Ok(403));
        }
    }

    #[test]
    fn a_mistake_names_the_field_and_what_is_allowed() {
        let deep = r#"{"rules": [{}, {"status": 99}]}"#;
        let error = with(deep, |o| {
            o.each("rules", |rule| {
                let mut rule = rule.object()?;
                rule.get_or("status", 403, Field::status)
            })
        });
        assert_eq!(
            error.unwrap_err(),
            "`rules[1].status` is 99; allowed is a whole number from 200 to 599"
        );
        for (text, says) in [
            ("[]", "the configuration is []; allowed is an object"),
            (
                "{",
                "the configuration is not valid JSON: expected the name of a member in quotes at line 1 column 2",
            ),
            (
                r#"{"b": 1, "a": "x"}"#,
                "the configuration has an unknown field `b`; allowed are a",
            ),
            ("{}", "the configuration needs the field `a`"),
            (r#"{"a": 3}"#, "`a` is 3; allowed is text"),
            (
                r#"{"a": ""}"#,
                "`a` is \"\"; allowed is text that is not empty",
            ),
        ] {
            let error = with(text, |o| o.need("a")?.some_text().map(str::to_owned));
            assert_eq!(error.unwrap_err(), says, "{text}");
        }
        let error = with(r#"{"a": "c"}"#, |o| {
            o.need("a")?.one_of(&[("x", 1), ("y", 2)])
        });
        assert_eq!(error.unwrap_err(), r#"`a` is "c"; allowed is "x" or "y""#);
    }
}
