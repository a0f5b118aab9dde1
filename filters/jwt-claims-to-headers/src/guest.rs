//! The adapter to proxy-wasm: the proxy checks signatures.

use std::rc::Rc;

use kit::guest::{Filter, Live, answer, run};
use log::{info, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::{Check, Config, Denied};

proxy_wasm::main! {{
    run::<Config>();
}}

impl Filter for Config {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        Self::parse(configuration)
    }

    fn summary(&self) -> String {
        self.summary()
    }

    fn stream(this: &Rc<Self>, _: u32) -> Box<dyn HttpContext> {
        Box::new(Request(Rc::clone(this)))
    }
}

struct Request(Rc<Config>);

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Err(Denied(why)) = self.0.apply(&Live, &verify) else {
            return Action::Continue;
        };
        info!("denied: {why}");
        let challenge = if why == "there is no token" {
            "Bearer"
        } else {
            "Bearer error=\"invalid_token\""
        };
        let headers = [("www-authenticate".to_owned(), challenge.to_owned())];
        answer(401, &headers, format!("{why}\n").as_bytes());
        Action::Pause
    }
}

fn verify(check: &Check<'_>) -> Result<bool, String> {
    let result = hostcalls::call_foreign_function("verify_signature", Some(&check.arguments()));
    let result = result
        .map_err(|status| format!("verify_signature: {status:?}"))
        .and_then(|answer| Check::answer(&answer.unwrap_or_default()));
    if let Err(why) = &result {
        warn!("no signature can be checked: {why}");
    }
    result
}
