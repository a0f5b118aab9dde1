//! A stream that exists in memory only, for tests of logic.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::stream::{Side, Stream};

/// One request and its response.
#[derive(Debug, Default)]
pub struct Fake {
    /// Headers of the request.
    pub request: RefCell<Vec<(String, Vec<u8>)>>,
    /// Headers of the response.
    pub response: RefCell<Vec<(String, Vec<u8>)>>,
    /// Properties by their path, joined with dots.
    pub properties: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Nanoseconds since 1970.
    pub now: Cell<u64>,
}

impl Fake {
    /// A `GET` of a target from `shop`.
    pub fn get(target: &str) -> Self {
        Self::default()
            .with(":method", "GET")
            .with(":path", target)
            .with(":authority", "shop")
    }

    /// Adds a request header.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.add(Side::Request, name, value.as_bytes());
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn answering(self, name: &str, value: &str) -> Self {
        self.add(Side::Response, name, value.as_bytes());
        self
    }

    /// Sets a property.
    #[must_use]
    pub fn knowing(self, path: &str, value: impl AsRef<[u8]>) -> Self {
        self.properties
            .borrow_mut()
            .insert(path.to_owned(), value.as_ref().to_vec());
        self
    }

    /// Returns the values of a header as one text, joined by ` | `.
    pub fn shown(&self, side: Side, name: &str) -> Option<String> {
        let values = self.values(side, name);
        let texts: Vec<_> = values.iter().map(|v| String::from_utf8_lossy(v)).collect();
        (!texts.is_empty()).then(|| texts.join(" | "))
    }

    fn map(&self, side: Side) -> &RefCell<Vec<(String, Vec<u8>)>> {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }
}

impl Stream for Fake {
    fn header(&self, side: Side, name: &str) -> Option<Vec<u8>> {
        let map = self.map(side).borrow();
        map.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    fn headers(&self, side: Side) -> Vec<(String, Vec<u8>)> {
        self.map(side).borrow().clone()
    }

    fn set(&self, side: Side, name: &str, value: &[u8]) {
        self.remove(side, name);
        self.add(side, name, value);
    }

    fn add(&self, side: Side, name: &str, value: &[u8]) {
        let entry = (name.to_owned(), value.to_vec());
        self.map(side).borrow_mut().push(entry);
    }

    fn remove(&self, side: Side, name: &str) {
        self.map(side).borrow_mut().retain(|(n, _)| n != name);
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        self.properties.borrow().get(&path.join(".")).cloned()
    }

    fn now(&self) -> u64 {
        self.now.get()
    }
}
