//! What a filter reads and changes of one request: the seam between logic and proxy.

/// Which headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Those of the request.
    Request,
    /// Those of the response.
    Response,
}

/// One request and its response. Names are in lower case; values are bytes, because nothing says
/// that a client sends text.
pub trait Stream {
    /// Returns the first value of a header.
    fn header(&self, side: Side, name: &str) -> Option<Vec<u8>>;

    /// Returns every header in order, pseudo-headers first.
    fn headers(&self, side: Side) -> Vec<(String, Vec<u8>)>;

    /// Replaces every value of a header.
    fn set(&self, side: Side, name: &str, value: &[u8]);

    /// Adds one more value of a header.
    fn add(&self, side: Side, name: &str, value: &[u8]);

    /// Removes every value of a header.
    fn remove(&self, side: Side, name: &str);

    /// Returns a property of the proxy, in its form on the wire.
    fn property(&self, path: &[&str]) -> Option<Vec<u8>>;

    /// Returns nanoseconds since 1970.
    fn now(&self) -> u64;

    /// Returns every value of a header, in order.
    fn values(&self, side: Side, name: &str) -> Vec<Vec<u8>> {
        // Nearly always there is none, and asking for that is cheap.
        if self.header(side, name).is_none() {
            return Vec::new();
        }
        let all = self.headers(side).into_iter();
        all.filter(|(n, _)| n == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// Returns a property that is text and not empty.
    fn text(&self, path: &[&str]) -> Option<String> {
        let bytes = self.property(path).filter(|bytes| !bytes.is_empty())?;
        String::from_utf8(bytes).ok()
    }

    /// Returns a property that is a whole number or a duration in nanoseconds.
    fn number(&self, path: &[&str]) -> Option<i64> {
        let bytes: [u8; 8] = self.property(path)?.try_into().ok()?;
        Some(i64::from_le_bytes(bytes))
    }

    /// Returns the SPIFFE identity of the caller, if the connection proved one.
    fn peer(&self) -> Option<String> {
        self.text(&["connection", "uri_san_peer_certificate"])
    }

    /// Returns the target of the request: path and query.
    fn target(&self) -> Vec<u8> {
        self.header(Side::Request, ":path").unwrap_or_default()
    }
}

/// The parts of a SPIFFE identity as this mesh writes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity<'a> {
    /// Whose certificates vouch for it.
    pub trust_domain: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The service account.
    pub service_account: &'a str,
}

impl<'a> Identity<'a> {
    /// Reads `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    pub fn parse(id: &'a str) -> Option<Self> {
        let mut parts = id.strip_prefix("spiffe://")?.split('/');
        let trust_domain = parts.next()?;
        let ("ns", namespace) = (parts.next()?, parts.next()?) else {
            return None;
        };
        let ("sa", service_account) = (parts.next()?, parts.next()?) else {
            return None;
        };
        parts.next().is_none().then_some(Self {
            trust_domain,
            namespace,
            service_account,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn every_value_of_a_header_is_found() {
        let fake = Fake::get("/")
            .with("x-a", "1")
            .with("x-b", "2")
            .with("x-a", "3");
        assert_eq!(fake.values(Side::Request, "x-a"), [b"1", b"3"]);
        assert!(fake.values(Side::Request, "x-c").is_empty());
    }

    #[test]
    fn an_identity_has_three_parts() {
        let id = Identity::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap();
        assert_eq!(
            (id.trust_domain, id.namespace, id.service_account),
            ("cluster.local", "shop", "web")
        );
        for other in [
            "",
            "spiffe://a/ns/b",
            "spiffe://a/ns/b/sa/c/d",
            "https://a/ns/b/sa/c",
        ] {
            assert_eq!(Identity::parse(other), None, "{other}");
        }
    }
}
