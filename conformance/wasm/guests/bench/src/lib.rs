//! The four filters whose cost is compared: the configuration is `noop`, `header`, `calls`,
//! `body`, or `loop`, which never returns for requests that ask for it.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root { kind: Kind::Noop }));
}}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Noop,
    Header,
    Calls,
    Body,
    Loop,
}

struct Root {
    kind: Kind,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        self.kind = match self.get_plugin_configuration().as_deref() {
            None | Some(b"noop") => Kind::Noop,
            Some(b"header") => Kind::Header,
            Some(b"calls") => Kind::Calls,
            Some(b"body") => Kind::Body,
            Some(b"loop") => Kind::Loop,
            Some(_) => return false,
        };
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { kind: self.kind }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    kind: Kind,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        match self.kind {
            Kind::Calls => {
                for name in [":path", ":method", ":authority", "user-agent", "x-none"] {
                    std::hint::black_box(self.get_http_request_header(name));
                }
                for path in [["request", "path"], ["source", "address"], ["request", "protocol"]] {
                    std::hint::black_box(self.get_property(path.to_vec()));
                }
                self.set_http_request_header("x-bench-request", Some("one"));
            }
            Kind::Loop if self.get_http_request_header("x-loop").is_some() => loop {
                std::hint::black_box(0);
            },
            _ => {}
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        match self.kind {
            Kind::Header | Kind::Calls => self.add_http_response_header("x-bench", "yes"),
            // The body keeps its length, and so its header.
            Kind::Noop | Kind::Body | Kind::Loop => {}
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if self.kind != Kind::Body {
            return Action::Continue;
        }
        if !end {
            return Action::Pause;
        }
        if let Some(body) = self.get_http_response_body(0, size) {
            self.set_http_response_body(0, size, &body.to_ascii_uppercase());
        }
        Action::Continue
    }
}
