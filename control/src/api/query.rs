//! The query of a request URI.

use std::collections::BTreeMap;

use http::Uri;
use percent_encoding::percent_decode_str;

/// The parameters of a request, by name; of several with one name the last counts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads `?name=value&…`.
    pub fn of(uri: &Uri) -> Self {
        let pairs = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Self(pairs.map(pair).collect())
    }

    /// The parameter `name`; an empty one counts as missing.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let uri = "/objects?kind=http%52oute&name=&x&namespace=a%2Fb"
            .parse()
            .unwrap();
        let query = Query::of(&uri);
        assert_eq!(query.text("kind"), Some("httpRoute"));
        assert_eq!(query.text("namespace"), Some("a/b"));
        assert_eq!(query.text("name"), None);
        assert_eq!(query.text("y"), None);
    }
}
