//! A header map as a plain list.

use std::borrow::Cow;

use super::{HeaderMap, Refused};

/// Headers in the order they were added; names are kept in lower case.
///
/// For local responses, callouts, tests, and proxies that have no map of their own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// Returns no headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Yields the entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Adds one more value of `name`, which is not checked.
    pub fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_ascii_lowercase(), value.into()));
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

impl IntoIterator for Headers {
    type Item = (String, Vec<u8>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl HeaderMap for Headers {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| Cow::Borrowed(value))
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.iter() {
            visit(name.as_bytes(), value);
        }
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let Some(first) = self.0.iter().position(|(n, _)| n == name) else {
            return self.add(name, value);
        };
        let mut at = 0;
        self.0.retain(|(n, _)| {
            at += 1;
            n != name || at - 1 == first
        });
        if let Some(entry) = self.0.get_mut(first) {
            value.clone_into(&mut entry.1);
        }
        Ok(())
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.push(name, value);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        self.0.retain(|(n, _)| n != name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_replaces_every_value_in_the_place_of_the_first() {
        let mut headers: Headers = [("a", "1"), ("B", "2"), ("c", "3"), ("b", "4")]
            .into_iter()
            .collect();
        headers.set("b", b"5").unwrap();
        assert_eq!(
            headers,
            [("a", "1"), ("b", "5"), ("c", "3")].into_iter().collect()
        );
        headers.set("d", b"6").unwrap();
        assert_eq!(headers.get("d").as_deref(), Some(&b"6"[..]));
        headers.remove("b").unwrap();
        assert_eq!(headers.len(), 3);
        assert_eq!(headers.get("b"), None);
    }
}
