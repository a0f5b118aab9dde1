//! What a process shows and takes over HTTP: its state and its switches ([`Admin`]), its metrics
//! ([`stats`]), whether it is ready ([`ready`]).
//!
//! All three run on the runtime that opens them, which is not one that serves traffic. They are
//! small on purpose: HTTP/1.1, few connections, no request bodies.

mod logging;
pub mod ready;
mod reply;
mod server;
pub mod stats;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::log::Levels;
use crate::tasks::TaskSet;

pub use reply::{Query, Reply};
pub use server::Listen;
use server::{Answer, Asked};

type Handler = Box<dyn Fn(Query) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// The admin endpoint of a process.
///
/// Answers only to its own host: a request must name `localhost` or a loopback address, and one
/// that a web page makes (it carries an `Origin`) is refused. Reading is GET, changing is POST.
pub struct Admin {
    component: &'static str,
    endpoints: BTreeMap<&'static str, Endpoint>,
}

struct Endpoint {
    method: Method,
    about: &'static str,
    handler: Handler,
}

impl Admin {
    /// An admin endpoint that has nothing but its index yet.
    pub fn new(component: &'static str) -> Self {
        Self {
            component,
            endpoints: BTreeMap::new(),
        }
    }

    /// Adds something to read.
    #[must_use]
    pub fn get<H, F>(self, path: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Fn(Query) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        self.endpoint(Method::GET, path, about, handler)
    }

    /// Adds something to read that is a JSON document.
    #[must_use]
    pub fn json<H>(self, path: &'static str, about: &'static str, document: H) -> Self
    where
        H: Fn() -> Value + Send + Sync + 'static,
    {
        self.get(path, about, move |_| {
            std::future::ready(Reply::json(&document()))
        })
    }

    /// Adds something to do.
    #[must_use]
    pub fn post<H, F>(self, path: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Fn(Query) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        self.endpoint(Method::POST, path, about, handler)
    }

    /// Adds `/logging`, which shows and changes what is logged.
    #[must_use]
    pub fn logging(self, levels: Levels) -> Self {
        let about = "what is logged; change it with ?level= and ?reset";
        self.post("/logging", about, move |query| {
            std::future::ready(logging::answer(&levels, &query))
        })
    }

    /// Adds `/quitquitquit`, which ends the process by calling `quit`.
    #[must_use]
    pub fn quit(self, quit: impl Fn() + Send + Sync + 'static) -> Self {
        self.post("/quitquitquit", "end the process", move |_| {
            quit();
            std::future::ready(Reply::text("shutting down now\n"))
        })
    }

    /// Opens the endpoint and returns where. Must be called inside a runtime.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn serve(self, listen: impl Into<Listen>, tasks: &TaskSet) -> io::Result<Vec<SocketAddr>> {
        let answer: Arc<dyn Answer> = Arc::new(self);
        server::serve("admin", listen.into(), tasks, &answer)
    }

    fn endpoint<H, F>(
        mut self,
        method: Method,
        path: &'static str,
        about: &'static str,
        handler: H,
    ) -> Self
    where
        H: Fn(Query) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let endpoint = Endpoint {
            method,
            about,
            handler: Box::new(move |query| Box::pin(handler(query))),
        };
        self.endpoints.insert(path, endpoint);
        self
    }

    fn index(&self) -> Reply {
        let component = self.component;
        let mut page = format!("<!doctype html><title>{component}</title><h1>{component}</h1><ul>");
        for (path, Endpoint { method, about, .. }) in &self.endpoints {
            let name = match *method {
                Method::GET => format!("<a href=\"{path}\">{path}</a>"),
                _ => format!("{method} {path}"),
            };
            // Writing to a string cannot fail.
            let _ = write!(page, "<li>{name}: {about}</li>");
        }
        page.push_str("</ul>\n");
        Reply::html(page)
    }
}

impl Answer for Admin {
    fn answer(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        let reply = |reply| -> Pin<Box<dyn Future<Output = Reply> + Send>> {
            Box::pin(std::future::ready(reply))
        };
        if !is_own_host(&asked.headers) {
            let why = "the admin endpoint answers only to localhost, and to no web page\n";
            return reply(Reply::status(StatusCode::FORBIDDEN, why));
        }
        if asked.path == "/" {
            return reply(match asked.only(&Method::GET) {
                Ok(()) => self.index(),
                Err(wrong) => wrong,
            });
        }
        let Some(endpoint) = self.endpoints.get(asked.path.as_str()) else {
            return reply(Reply::not_found());
        };
        match asked.only(&endpoint.method) {
            Ok(()) => (endpoint.handler)(asked.query),
            Err(wrong) => reply(wrong),
        }
    }
}

/// Returns whether the request comes from this host's own tools. A web page that made a name point
/// to 127.0.0.1 still sends that name as its host.
fn is_own_host(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    });
    let own = ["localhost", "127.0.0.1", "[::1]"];
    let known = name.is_some_and(|name| own.iter().any(|own| own.eq_ignore_ascii_case(name)));
    known && !headers.contains_key(ORIGIN)
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("component", &self.component)
            .field("endpoints", &self.endpoints.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests;
