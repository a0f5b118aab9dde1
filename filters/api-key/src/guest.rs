//! The adapter to proxy-wasm: a request waits while the service is asked about its key.

use std::rc::Rc;
use std::time::Duration;

use kit::Stream as _;
use kit::guest::{Filter, Live, answer, run, shown};
use log::{info, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use crate::{Access, Config, Entry, Hash, Service, Verdict, hash, slot};

proxy_wasm::main! {{
    run::<Config>();
}}

impl Filter for Config {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        Self::parse(configuration)
    }

    fn summary(&self) -> String {
        match &self.service {
            Some(service) => format!(
                "knows {} keys and asks {:?} about others",
                self.keys(),
                service.upstream
            ),
            None => format!("knows {} keys", self.keys()),
        }
    }

    fn stream(this: &Rc<Self>, _: u32) -> Box<dyn HttpContext> {
        Box::new(Request {
            config: Rc::clone(this),
            asked: None,
        })
    }
}

struct Request {
    config: Rc<Config>,
    /// The key that is being asked about.
    asked: Option<Hash>,
}

impl Request {
    fn deny(&self, why: &str) -> Action {
        info!("denied: {why}");
        let denial = self.config.denial();
        let headers = match denial.status {
            401 => vec![("www-authenticate".to_owned(), "ApiKey".to_owned())],
            _ => Vec::new(),
        };
        answer(denial.status, &headers, denial.body.as_bytes());
        Action::Pause
    }

    /// Nobody could be asked: the request does not go through, and may be tried again.
    fn fail(why: &str) -> Action {
        warn!("failed closed: {why}");
        answer(503, &[("retry-after".to_owned(), "1".to_owned())], b"");
        Action::Pause
    }

    fn admit(&self, id: &str) -> Action {
        self.config.introduce(id, &Live);
        Action::Continue
    }

    fn ask(&mut self, service: &Service, key: &[u8]) -> Action {
        let hash = hash(key);
        let cached = hostcalls::get_shared_data(&slot(&hash))
            .ok()
            .and_then(|(bytes, _)| bytes);
        match cached.and_then(|bytes| Entry::read(&bytes, &hash, Live.now())) {
            Some(Verdict::Known(id)) => return self.admit(&id),
            Some(_) => return self.deny("an unknown key"),
            None => {}
        }
        let Some((name, value)) = service.question(key, &hash) else {
            return self.deny("a key no header can hold");
        };
        let headers = vec![
            (":method", "GET"),
            (":path", service.path.as_str()),
            (":authority", service.host.as_str()),
            (name, value.as_str()),
        ];
        let timeout = Duration::from_millis(u64::from(service.timeout));
        match hostcalls::dispatch_http_call(&service.upstream, headers, None, vec![], timeout) {
            Ok(_) => {
                self.asked = Some(hash);
                Action::Pause
            }
            Err(status) => Self::fail(&format!(
                "{:?} cannot be called: {status:?}",
                service.upstream
            )),
        }
    }
}

/// Keeps an answer for a while. Another worker may keep one at the same time; either will do.
fn remember(hash: Hash, id: Option<String>, seconds: u32) {
    if seconds == 0 {
        return;
    }
    let until = Live
        .now()
        .saturating_add(u64::from(seconds) * 1_000_000_000);
    let entry = Entry { hash, until, id };
    // Not kept is asked again.
    let _ = hostcalls::set_shared_data(&slot(&hash), Some(&entry.write()), None);
}

impl Context for Request {
    fn on_http_call_response(&mut self, _: u32, _: usize, size: usize, _: usize) {
        let config = Rc::clone(&self.config);
        let (Some(hash), Some(service)) = (self.asked.take(), &config.service) else {
            return;
        };
        let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status");
        let status = status.ok().flatten().unwrap_or_default();
        let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size.min(65_536));
        let body = body.ok().flatten().unwrap_or_default();
        match Service::verdict(&status, &body) {
            Verdict::Known(id) => {
                let _ = self.admit(&id);
                remember(hash, Some(id), service.cache);
                let _ = hostcalls::resume_http_request();
            }
            Verdict::Unknown => {
                remember(hash, None, service.cache_denied);
                let _ = self.deny("a key the service does not know");
            }
            Verdict::Failed => {
                let _ = Self::fail(&format!("the service answered {}", shown(&status)));
            }
        }
    }
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let config = Rc::clone(&self.config);
        let access = config.access(&Live);
        // In any case, and before anybody is asked: nothing is left for the service behind.
        config.strip(&Live);
        match access {
            Access::Open => Action::Continue,
            Access::Known(id) => self.admit(&id),
            Access::Denied(why) => self.deny(why),
            Access::Ask(key) => match &config.service {
                Some(service) => self.ask(service, &key),
                None => self.deny("an unknown key"),
            },
        }
    }
}
