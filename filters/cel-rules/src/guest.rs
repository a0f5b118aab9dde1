//! The adapter to proxy-wasm.

use std::rc::Rc;

use kit::guest::{Filter, Live, answer, run, shown};
use kit::{Side, Stream as _};
use log::{info, warn};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::{Config, Decision};

proxy_wasm::main! {{
    run::<Config>();
}}

impl Filter for Config {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        Self::parse(configuration)
    }

    fn summary(&self) -> String {
        format!("decides by {} rules", self.rules())
    }

    fn stream(this: &Rc<Self>, _: u32) -> Box<dyn HttpContext> {
        Box::new(Request(Rc::clone(this)))
    }
}

struct Request(Rc<Config>);

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let target = || {
            let method = Live.header(Side::Request, ":method").unwrap_or_default();
            format!("{} {}", shown(&method), shown(&Live.target()))
        };
        let mut log = |rule: &str| info!("rule {rule:?} holds for {}", target());
        let Decision { denied, by, error } = self.0.decide(&Live, &mut log);
        let by = by.unwrap_or("otherwise");
        if let Some(error) = error {
            warn!("rule {by:?} has no value for {}: {error}", target());
        }
        let Some(denial) = denied else {
            return Action::Continue;
        };
        info!("denied {} by {by:?}", target());
        answer(denial.status, &denial.headers, denial.body.as_bytes());
        Action::Pause
    }
}
