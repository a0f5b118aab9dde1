//! The adapter to proxy-wasm: reads the configuration, carries out the edits.

use std::rc::Rc;

use log::{debug, error, info};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MapType};

use crate::{Config, Edit, Edits};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Debug, Default)]
struct Root {
    config: Rc<Config>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_vm_start(&mut self, _: usize) -> bool {
        // Lines below the proxy's level are then never formatted.
        proxy_wasm::set_log_level(hostcalls::get_log_level().unwrap_or(LogLevel::Info));
        true
    }

    fn on_configure(&mut self, _: usize) -> bool {
        match Config::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                let (request, response) = (config.request.len(), config.response.len());
                info!("edits {request} request and {response} response headers");
                self.config = Rc::new(config);
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
        Some(Box::new(Stream {
            config: Rc::clone(&self.config),
        }))
    }
}

#[derive(Debug)]
struct Stream {
    config: Rc<Config>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        apply(MapType::HttpRequestHeaders, &self.config.request);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        apply(MapType::HttpResponseHeaders, &self.config.response);
        Action::Continue
    }
}

fn apply(map: MapType, edits: &Edits) {
    for edit in edits.iter() {
        let done = match edit {
            Edit::Remove(name) => hostcalls::remove_map_value(map, name),
            Edit::Set(name, value) => hostcalls::set_map_value(map, name, Some(value)),
            Edit::Add(name, value) => hostcalls::add_map_value(map, name, value),
        };
        debug!("{edit:?} of {map:?}: {done:?}");
    }
}
