//! A filter that greets.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use serde::Deserialize;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Plugin::default()) });
}}

/// What a user configures, as JSON.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    greeting: String,
}

/// The filter with one configuration; it makes a `Request` for each request.
#[derive(Default)]
struct Plugin {
    config: Config,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        match serde_json::from_slice(&bytes) {
            Ok(config) => {
                self.config = config;
                true
            }
            Err(why) => {
                // The proxy does not use a filter that says false here.
                log::error!("the configuration cannot be used: {why}");
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request {
            config: self.config.clone(),
        }))
    }
}

/// One request and its answer.
struct Request {
    config: Config,
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let header = |name| self.get_http_request_header(name).unwrap_or_default();
        let path = header(":path");
        log::info!("{} {path}", header(":method"));
        if path.starts_with("/forbidden") {
            self.send_http_response(403, vec![], Some(b"not for you\n"));
            return Action::Pause;
        }
        self.set_http_request_header("x-greeting", Some(&self.config.greeting));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.set_http_response_header("x-filter", Some("{{name}}"));
        Action::Continue
    }
}
