//! Sets of HTTP statuses, such as `["5xx", 404]`.

use crate::config::{Field, Result};
use crate::stream::{Side, Stream};

/// Statuses and classes of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Statuses(Vec<(u32, u32)>);

impl Statuses {
    /// Reads a list of statuses and classes.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn read(field: &Field<'_>) -> Result<Self> {
        let read = |field: &Field<'_>| match field.json().text() {
            Some(text) => class(text).ok_or_else(|| field.wrong("a status, or \"1xx\" to \"5xx\"")),
            None => field.whole(100, 599).map(|status| (status, status)),
        };
        field
            .list()?
            .iter()
            .map(read)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Returns whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a status is one of them.
    pub fn contain(&self, status: u32) -> bool {
        self.0
            .iter()
            .any(|(least, most)| (*least..=*most).contains(&status))
    }
}

fn class(text: &str) -> Option<(u32, u32)> {
    let first = text.strip_suffix("xx")?.parse::<u32>().ok()?;
    (1..=5)
        .contains(&first)
        .then_some((first * 100, first * 100 + 99))
}

/// Returns the status of the response, if there is one yet.
pub fn of(stream: &dyn Stream) -> Option<u32> {
    let header = stream.header(Side::Response, ":status");
    let text = header.and_then(|value| String::from_utf8(value).ok());
    let number = text.and_then(|text| text.parse().ok());
    number.or_else(|| u32::try_from(stream.number(&["response", "code"])?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Object, parse};
    use crate::fake::Fake;

    fn read(text: &str) -> Result<Statuses> {
        let json = parse(text.as_bytes())?;
        Object::root(&json)?.get_or("status", Statuses::default(), Statuses::read)
    }

    #[test]
    fn classes_and_statuses_are_told_apart() {
        let statuses = read(r#"{"status": ["5xx", 404]}"#).unwrap();
        let found: Vec<u32> = [200, 404, 405, 500, 599]
            .into_iter()
            .filter(|s| statuses.contain(*s))
            .collect();
        assert_eq!(found, [404, 500, 599]);
        for wrong in ["6xx", "xx", "5x", "200"] {
            let error = read(&format!(r#"{{"status": ["{wrong}"]}}"#)).unwrap_err();
            assert!(error.starts_with("`status[0]` is"), "{error}");
        }
    }

    #[test]
    fn a_status_is_that_of_the_header_or_of_the_proxy() {
        assert_eq!(of(&Fake::get("/")), None);
        assert_eq!(of(&Fake::get("/").answering(":status", "204")), Some(204));
        assert_eq!(
            of(&Fake::get("/").knowing("response.code", 503_i64.to_le_bytes())),
            Some(503)
        );
    }
}
