//! The adapter to proxy-wasm: a timer runs while requests wait, and only then.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kit::Stream as _;
use kit::chance::Chance;
use kit::guest::{Filter, Live, run};
use log::debug;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::{Abort, Config, Waiting};

proxy_wasm::main! {{
    run::<Injector>();
}}

struct Injector {
    config: Config,
    chance: Chance,
    waiting: RefCell<Waiting>,
}

impl Filter for Injector {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        Ok(Self {
            config: Config::parse(configuration)?,
            chance: Chance::new(Live.now()),
            waiting: RefCell::default(),
        })
    }

    fn summary(&self) -> String {
        format!("injects faults by {} rules", self.config.rules())
    }

    fn stream(this: &Rc<Self>, id: u32) -> Box<dyn HttpContext> {
        Box::new(Request {
            injector: Rc::clone(this),
            id,
        })
    }

    fn tick(&self) {
        let due = self.waiting.borrow_mut().due(Live.now());
        for (stream, abort) in due {
            // A stream that is gone has been forgotten, so this one is there.
            if hostcalls::set_effective_context(stream).is_err() {
                continue;
            }
            match abort {
                Some(abort) => send(&abort),
                None => drop(hostcalls::resume_http_request()),
            }
        }
        // Acting on streams leaves their context chosen; the timer is the root's in any case.
        if self.waiting.borrow().is_empty() {
            set_timer(0);
        }
    }
}

struct Request {
    injector: Rc<Injector>,
    id: u32,
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Injector {
            config,
            chance,
            waiting,
        } = &*self.injector;
        chance.stir(u64::from(self.id));
        let fault = config.decide(&Live, chance);
        let mut waiting = waiting.borrow_mut();
        match fault.delay {
            Some(milliseconds) if waiting.len() < config.most_waiting => {
                debug!("delayed by {milliseconds} ms");
                if waiting.is_empty() {
                    set_timer(config.tick_milliseconds);
                }
                let due = Live
                    .now()
                    .saturating_add(u64::from(milliseconds) * 1_000_000);
                waiting.add(self.id, due, fault.abort);
                Action::Pause
            }
            _ => match fault.abort {
                Some(abort) => {
                    send(&abort);
                    Action::Pause
                }
                None => Action::Continue,
            },
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // The caller may have left before its delay was over.
        self.injector.waiting.borrow_mut().forget(self.id);
    }
}

fn set_timer(milliseconds: u32) {
    let period = Duration::from_millis(u64::from(milliseconds));
    if let Err(status) = hostcalls::set_tick_period(period) {
        log::warn!("the proxy sets no timer: {status:?}");
    }
}

fn send(abort: &Abort) {
    debug!("aborted with {}", abort.status);
    match abort.grpc_status {
        Some(status) => kit::guest::answer_grpc(status, &abort.body),
        None => kit::guest::answer(abort.status, &[], abort.body.as_bytes()),
    }
}
