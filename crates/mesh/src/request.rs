//! An HTTP request, as routes and policies see it: borrowed, normalised, without a body.

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

/// The head of a request after normalisation.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Method, case-sensitive.
    pub method: &'a str,
    /// Normalised path, without the query.
    pub path: &'a str,
    /// Query, as sent, without the `?`.
    pub query: Option<&'a str>,
    /// Host the client wrote, with its port if it wrote one.
    pub host: &'a str,
    /// Header fields.
    pub headers: &'a dyn Headers,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold secrets.
        write!(f, "{} {} of {}", self.method, self.path, self.host)
    }
}

/// Header fields by case-insensitive name.
pub trait Headers {
    /// Shows `visit` every value of a header, in the order sent.
    fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8]));
}

impl dyn Headers + '_ {
    /// Every value of a header, in the order sent.
    pub fn values<'a>(&'a self, name: &str) -> SmallVec<[&'a [u8]; 4]> {
        let mut values = SmallVec::new();
        self.each(name, &mut |value| values.push(value));
        values
    }

    /// The value of a header, several lines joined with a comma; `None` when it is missing.
    pub fn joined<'a>(&'a self, name: &str) -> Option<Cow<'a, [u8]>> {
        let values = self.values(name);
        match values.as_slice() {
            [] => None,
            [value] => Some(Cow::Borrowed(value)),
            several => Some(Cow::Owned(several.join(&b","[..]))),
        }
    }
}

/// Written-out headers, for explanations and tests.
impl Headers for Vec<(String, String)> {
    fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        for (key, value) in self {
            if key.eq_ignore_ascii_case(name) {
                visit(value.as_bytes());
            }
        }
    }
}
