//! Why a request did not get an upstream answer.

use std::fmt;

use mesh::authz::Denied;

/// Any cause; only shown, never branched on.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request did not get an upstream answer.
///
/// `kind` decides the response; `source` is for humans only and never reaches the wire.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) kind: Kind,
    pub(crate) source: Option<BoxError>,
}

/// Alphabetical; a variant without a row in the one `match` of `respond` fails to compile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The request is malformed, or of a kind no proxy passes on.
    BadRequest(&'static str),
    /// The body is larger than a plugin's buffer.
    BodyTooLarge,
    /// No connection to an endpoint could be made.
    ConnectFailed,
    /// A policy says no.
    Denied(Denied),
    /// The client went away, or broke its own body.
    Disconnected,
    /// The client expects something else than `100-continue`.
    Expectation,
    /// The rule or backend cannot be honoured.
    InvalidBackend,
    /// The service has no endpoint that may be used.
    NoEndpoint,
    /// No rule matches, or the service is gone.
    NoRoute,
    /// Plugins hold back as much of bodies as they may, all together.
    Overload,
    /// A plugin cannot run, and must.
    Plugin,
    /// A plugin closed the stream.
    PluginReset,
    /// The endpoint broke the protocol.
    Protocol,
    /// The endpoint closed the connection before it answered.
    Reset,
    /// The answer's body is larger than a plugin's buffer.
    ResponseTooLarge,
    /// Time ran out before the answer began.
    Timeout,
    /// The request has too many headers, or too long ones.
    TooLarge,
}

impl Error {
    /// An error of which the kind says everything.
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, source: None }
    }

    /// An error with its cause.
    pub(crate) fn caused(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::new(Kind::Denied(denied))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::BadRequest(why) => why,
            Kind::BodyTooLarge => "the body is larger than a plugin's buffer",
            Kind::ConnectFailed => "no connection to an endpoint",
            Kind::Denied(denied) => return denied.fmt(f),
            Kind::Disconnected => "the client went away",
            Kind::Expectation => "the expectation cannot be met",
            Kind::InvalidBackend => "the route's backend cannot be used",
            Kind::NoEndpoint => "no endpoint can be used",
            Kind::NoRoute => "no route matches",
            Kind::Overload => {
                "plugins hold back as much of bodies as they may (WASM_MAX_HELD_BYTES)"
            }
            Kind::Plugin => "a plugin cannot run",
            Kind::PluginReset => "a plugin closed the stream",
            Kind::Protocol => "the endpoint broke the protocol",
            Kind::Reset => "the endpoint closed the connection",
            Kind::ResponseTooLarge => "the answer's body is larger than a plugin's buffer",
            Kind::Timeout => "no answer in time",
            Kind::TooLarge => "the request head is too large",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
