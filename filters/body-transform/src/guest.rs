//! The adapter to proxy-wasm.

use std::rc::Rc;

use kit::guest::{Filter, Live, answer, run};
use log::warn;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType};

use crate::{Begin, Config, Refusal, Step, Transform, Work};

proxy_wasm::main! {{
    run::<Config>();
}}

impl Filter for Config {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        Self::parse(configuration)
    }

    fn summary(&self) -> String {
        match (&self.request, &self.response) {
            (Some(_), Some(_)) => "changes bodies of requests and responses",
            (Some(_), None) => "changes bodies of requests",
            _ => "changes bodies of responses",
        }
        .to_owned()
    }

    fn stream(this: &Rc<Self>, _: u32) -> Box<dyn HttpContext> {
        Box::new(Exchange {
            config: Rc::clone(this),
            request: None,
            response: None,
            concerned: None,
            refused: false,
        })
    }
}

struct Exchange {
    config: Rc<Config>,
    request: Option<Work>,
    response: Option<Work>,
    /// Whether the response is concerned, decided when the request came.
    concerned: Option<bool>,
    /// Our own answer passes through here as well, and is not for us.
    refused: bool,
}

impl Exchange {
    fn begin(&mut self, transform: &Transform) -> Option<Work> {
        match transform.begin(&Live) {
            Begin::Pass => None,
            Begin::Work(work) => Some(work),
            Begin::Refuse(refusal) => {
                self.refuse(refusal);
                None
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        warn!("refused with {}: {}", refusal.status, refusal.why);
        self.refused = true;
        answer(refusal.status, &[], format!("{}\n", refusal.why).as_bytes());
    }

    fn act(&mut self, step: Step, buffer: BufferType, size: usize) -> Action {
        match step {
            Step::Continue => Action::Continue,
            Step::Wait => Action::Pause,
            Step::Replace { bytes, wait } => {
                // Anything but OK has ended the filter in the SDK, and with it the stream.
                let _ = hostcalls::set_buffer(buffer, 0, size, &bytes);
                if wait {
                    Action::Pause
                } else {
                    Action::Continue
                }
            }
            Step::Refuse(refusal) => {
                self.refuse(refusal);
                Action::Pause
            }
        }
    }
}

fn read(buffer: BufferType, size: usize) -> Vec<u8> {
    hostcalls::get_buffer(buffer, 0, size)
        .ok()
        .flatten()
        .unwrap_or_default()
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let config = Rc::clone(&self.config);
        if let Some(transform) = &config.response {
            let concerned = transform.concerns(&Live);
            self.concerned = Some(concerned);
            if concerned {
                Transform::ask_plainly(&Live);
            }
        }
        if let Some(transform) = &config.request {
            if !end_of_stream && transform.concerns(&Live) {
                self.request = self.begin(transform);
            }
        }
        if self.refused {
            Action::Pause
        } else {
            Action::Continue
        }
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let config = Rc::clone(&self.config);
        let (Some(transform), Some(work)) = (&config.request, &mut self.request) else {
            return Action::Continue;
        };
        let buffer = BufferType::HttpRequestBody;
        let step = transform.step(work, (size, end_of_stream), &Live, || read(buffer, size));
        self.act(step, buffer, size)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        let config = Rc::clone(&self.config);
        let (Some(transform), Some(work)) = (&config.request, &mut self.request) else {
            return Action::Continue;
        };
        let buffer = BufferType::HttpRequestBody;
        let bytes = read(buffer, usize::MAX);
        let size = bytes.len();
        let step = transform.trailers(work, &Live, bytes);
        self.act(step, buffer, size)
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if self.refused {
            return Action::Continue;
        }
        let config = Rc::clone(&self.config);
        let Some(transform) = &config.response else {
            return Action::Continue;
        };
        let concerned = self.concerned.unwrap_or_else(|| transform.concerns(&Live));
        if concerned {
            if end_of_stream {
                // To a HEAD: what is said about a body that would have been changed goes.
                let _ = transform.begin(&Live);
                return Action::Continue;
            }
            self.response = self.begin(transform);
        }
        if self.refused {
            Action::Pause
        } else {
            Action::Continue
        }
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.refused {
            return Action::Continue;
        }
        let config = Rc::clone(&self.config);
        let (Some(transform), Some(work)) = (&config.response, &mut self.response) else {
            return Action::Continue;
        };
        let buffer = BufferType::HttpResponseBody;
        let step = transform.step(work, (size, end_of_stream), &Live, || read(buffer, size));
        self.act(step, buffer, size)
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if self.refused {
            return Action::Continue;
        }
        let config = Rc::clone(&self.config);
        let (Some(transform), Some(work)) = (&config.response, &mut self.response) else {
            return Action::Continue;
        };
        let buffer = BufferType::HttpResponseBody;
        let bytes = read(buffer, usize::MAX);
        let size = bytes.len();
        let step = transform.trailers(work, &Live, bytes);
        self.act(step, buffer, size)
    }
}
