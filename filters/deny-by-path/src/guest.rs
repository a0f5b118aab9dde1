//! The adapter to proxy-wasm: reads the configuration, sends the answer.

use std::rc::Rc;

use log::{error, info};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use crate::Config;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Debug, Default)]
struct Root {
    /// Present once the filter is configured; the proxy sends no request before.
    config: Option<Rc<Config>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_vm_start(&mut self, _: usize) -> bool {
        proxy_wasm::set_log_level(hostcalls::get_log_level().unwrap_or(LogLevel::Info));
        true
    }

    fn on_configure(&mut self, _: usize) -> bool {
        match Config::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                info!(
                    "denies {} paths with status {}",
                    config.paths.len(),
                    config.status
                );
                self.config = Some(Rc::new(config));
                true
            }
            Err(why) => {
                error!("{why}");
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let config = Rc::clone(self.config.as_ref()?);
        Some(Box::new(Stream { config }))
    }
}

#[derive(Debug)]
struct Stream {
    config: Rc<Config>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        // As bytes: the SDK's text accessor stops the whole filter at a byte that is not UTF-8.
        let target = self
            .get_http_request_header_bytes(":path")
            .unwrap_or_default();
        let Some(by) = self.config.denies(&target) else {
            return Action::Continue;
        };
        info!("denied {:?} by {by:?}", String::from_utf8_lossy(&target));
        let status = u32::from(self.config.status);
        self.send_http_response(status, vec![], Some(self.config.body.as_bytes()));
        Action::Pause
    }
}
