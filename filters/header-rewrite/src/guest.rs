//! The adapter to proxy-wasm.

use std::rc::Rc;

use kit::guest::{Filter, Live, run};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::{Chosen, Config};

proxy_wasm::main! {{
    run::<Config>();
}}

impl Filter for Config {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        Self::parse(configuration)
    }

    fn summary(&self) -> String {
        format!("rewrites headers by {} rules", self.len())
    }

    fn stream(this: &Rc<Self>, _: u32) -> Box<dyn HttpContext> {
        Box::new(Exchange {
            config: Rc::clone(this),
            chosen: None,
        })
    }
}

struct Exchange {
    config: Rc<Config>,
    /// The rules met, once somebody looked; another filter may answer before this one is asked.
    chosen: Option<Chosen>,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let chosen = self.chosen.insert(self.config.choose(&Live));
        self.config.on_request(chosen, &Live);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let config = &self.config;
        let chosen = self.chosen.get_or_insert_with(|| config.choose(&Live));
        config.on_response(chosen, &Live);
        Action::Continue
    }
}
