//! The forms that texts must have, by name.

use std::sync::LazyLock;

use regex::Regex;

/// A form of text.
#[derive(Debug)]
pub struct Pattern {
    /// What people should write, to follow "write".
    pub description: &'static str,
    regex: LazyLock<Option<Regex>>,
}

impl Pattern {
    /// Whether `text` has this form.
    pub fn fits(&self, text: &str) -> bool {
        self.regex
            .as_ref()
            .is_some_and(|regex| regex.is_match(text))
    }
}

macro_rules! patterns {
    ($($(#[$doc:meta])* $name:ident: $regex:literal, $description:literal;)*) => {
        $(
            $(#[$doc])*
            pub(super) static $name: Pattern = Pattern {
                description: $description,
                regex: LazyLock::new(|| Regex::new($regex).ok()),
            };
        )*

        #[cfg(test)]
        pub(super) static ALL: &[&Pattern] = &[$(&$name),*];
    };
}

patterns! {
    /// RFC 1123 label, at most 63 characters.
    DNS_LABEL: r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        "at most 63 lower case letters, digits and inner hyphens (RFC 1123)";
    /// RFC 1123 subdomain; length is another rule.
    DNS_SUBDOMAIN: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "lower case letters, digits, hyphens and dots (RFC 1123)";
    /// A name that becomes a part of a URL path; a few old kinds and rbac allow the rest.
    PATH_SEGMENT: r"^[^/%]+$", "a name without '/' and '%'";
    /// Gateway API `Hostname`.
    HOSTNAME: r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "a host name in lower case, which may begin with '*.'";
    /// Gateway API `PreciseHostname`.
    PRECISE_HOSTNAME: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "a host name in lower case without '*'";
    /// Gateway API `Group`.
    GROUP: r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "an API group, empty for core kinds";
    /// Gateway API `Kind`.
    KIND: r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", "a kind such as Service";
    /// RFC 9110 field name.
    HEADER_NAME: r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$", "a header name (RFC 9110)";
    /// RFC 9110 field value, visible ASCII.
    HEADER_VALUE: r"^[!-~]+([\t ]?[!-~]+)*$", "a header value of visible ASCII characters";
    /// Gateway API `Duration`, GEP-2257.
    DURATION: r"^([0-9]{1,5}(h|m|s|ms)){1,4}$", "a duration such as 10s, 1m30s or 500ms";
    /// Gateway API path of an HTTP match.
    URL_PATH: r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$",
        "a path of URL characters, others as %XX";
    /// Gateway API `ProtocolType`.
    PROTOCOL: r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]+$",
        "a protocol such as HBONE or HTTP";
    /// Gateway API `AddressType`.
    ADDRESS_TYPE: r"^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$",
        "IPAddress or Hostname";
    /// Gateway API `GatewayController`.
    CONTROLLER: r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$",
        "a domain and a path, such as istio.io/mesh-controller";
    /// Gateway API origin of a cross-origin request.
    ORIGIN: r"(^\*$)|(^(http(s)?)://(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)",
        "an origin such as https://example.com, or *";
    /// Kubernetes qualified name: label and annotation keys.
    QUALIFIED_NAME: r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)$",
        "an optional domain and '/', then at most 63 letters, digits, '-', '_' and '.'";
    /// Kubernetes label value.
    LABEL_VALUE: r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$",
        "at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends";
    /// Port name (`IANA_SVC_NAME`): at most 15 characters, at least one letter.
    PORT_NAME: r"^[a-z0-9]+(-[a-z0-9]+)*$", "at most 15 lower case letters, digits and hyphens";
    /// 64 hex digits, or nothing.
    SHA256: r"^$|^[a-f0-9]{64}$", "64 lower case hexadecimal digits";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in ALL {
            assert!(pattern.regex.is_some(), "{}", pattern.description);
        }
    }

    #[test]
    fn patterns_take_what_their_sources_take() {
        for (pattern, good, bad) in [
            (
                &DNS_LABEL,
                &["a", "0a-b"][..],
                &["", "-a", "a-", "A", "a.b", "a_b"][..],
            ),
            (
                &DNS_SUBDOMAIN,
                &["a", "a.b-c.d"],
                &["", ".a", "a.", "a..b", "A"],
            ),
            (
                &HOSTNAME,
                &["*.example.com", "a"],
                &["", "*", "a.*", "*.*.a", "A.com"],
            ),
            (
                &DURATION,
                &["0s", "1h2m3s4ms", "99999h"],
                &["", "1", "1.5s", "-1s", "1us", "100000s"],
            ),
            (
                &HEADER_VALUE,
                &["a", "a b\tc"],
                &["", " a", "a ", "a\n", "ä"],
            ),
            (
                &PROTOCOL,
                &["HBONE", "istio.io/PROXY", "HTTP"],
                &["", "-", "istio.io/"],
            ),
            (
                &QUALIFIED_NAME,
                &["a", "istio.io/rev", "A_b.c"],
                &["", "/a", "a/", "-a", "a/b/c"],
            ),
            (&LABEL_VALUE, &["", "a", "A.b_c-d"], &["-a", "a/b", "a b"]),
            (
                &ORIGIN,
                &["*", "https://*.a.com:80", "http://*"],
                &["", "a.com", "ftp://a"],
            ),
        ] {
            for text in good {
                assert!(pattern.fits(text), "{text:?} is {}", pattern.description);
            }
            for text in bad {
                assert!(
                    !pattern.fits(text),
                    "{text:?} is no {}",
                    pattern.description
                );
            }
        }
    }
}
