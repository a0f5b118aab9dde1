//! The adapter to proxy-wasm: lines go out when a request ends, batches when the timer is due.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use kit::Stream as _;
use kit::chance::Chance;
use kit::guest::{Filter, Live, run};
use log::{info, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, MapType, MetricType};

use crate::{Config, Queue, Ship};

proxy_wasm::main! {{
    run::<Auditor>();
}}

struct Auditor {
    config: Config,
    chance: Chance,
    queue: RefCell<Queue>,
    counters: [Counter; 3],
    /// Set once the plugin is taken away and lines are still on their way.
    ending: Cell<bool>,
}

/// A metric, once defined.
#[derive(Debug, Default)]
struct Counter(Cell<Option<u32>>);

impl Counter {
    fn define(&self, name: &str) {
        self.0
            .set(hostcalls::define_metric(MetricType::Counter, name).ok());
    }

    fn add(&self, lines: u64) {
        if let (Some(id), Ok(lines @ 1..)) = (self.0.get(), i64::try_from(lines)) {
            // A count that is lost loses no line.
            let _ = hostcalls::increment_metric(id, lines);
        }
    }
}

impl Auditor {
    fn write(&self) {
        let mut queue = self.queue.borrow_mut();
        let told = queue.take_dropped();
        let line = self.config.line(&Live, told);
        if self.config.log {
            info!("{}", String::from_utf8_lossy(&line));
        }
        if let Some(ship) = &self.config.ship {
            if !queue.push(line, told, ship.queue) {
                self.dropped().add(1);
            }
        }
    }

    fn dropped(&self) -> &Counter {
        let [dropped, _, _] = &self.counters;
        dropped
    }

    fn send(&self, ship: &Ship) {
        let mut queue = self.queue.borrow_mut();
        let Some(batch) = queue.next(ship.batch) else {
            return;
        };
        let headers = vec![
            (":method", "POST"),
            (":path", ship.path.as_str()),
            (":authority", ship.host.as_str()),
            ("content-type", "application/x-ndjson"),
        ];
        let timeout = Duration::from_millis(u64::from(ship.timeout));
        let call = hostcalls::dispatch_http_call(
            &ship.upstream,
            headers,
            Some(&batch.body),
            vec![],
            timeout,
        );
        if let Err(status) = call {
            warn!("the proxy calls no {:?}: {status:?}", ship.upstream);
            self.lost(queue.failed(ship.attempts));
        }
    }

    fn lost(&self, lines: u64) {
        if lines > 0 {
            warn!("{lines} audit lines were lost: the service did not take them");
            self.dropped().add(lines);
        }
    }
}

impl Filter for Auditor {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        Ok(Self {
            config: Config::parse(configuration)?,
            chance: Chance::new(Live.now()),
            queue: RefCell::default(),
            counters: Default::default(),
            ending: Cell::new(false),
        })
    }

    fn summary(&self) -> String {
        match &self.config.ship {
            Some(ship) => format!("sends audit lines to {:?}", ship.upstream),
            None => "writes audit lines to the log".to_owned(),
        }
    }

    fn started(&self) {
        let Some(ship) = &self.config.ship else {
            return;
        };
        let names = [
            "audit_log_lines_dropped",
            "audit_log_lines_sent",
            "audit_log_calls_failed",
        ];
        for (counter, name) in self.counters.iter().zip(names) {
            counter.define(name);
        }
        let period = Duration::from_millis(u64::from(ship.every));
        if let Err(status) = hostcalls::set_tick_period(period) {
            warn!("the proxy sets no timer: {status:?}");
        }
    }

    fn stream(this: &Rc<Self>, id: u32) -> Box<dyn HttpContext> {
        Box::new(Request {
            auditor: Rc::clone(this),
            id,
            concerned: None,
        })
    }

    fn tick(&self) {
        if let Some(ship) = &self.config.ship {
            self.send(ship);
        }
    }

    fn answered(&self, _: u32, _: usize) {
        let Some(ship) = &self.config.ship else {
            return;
        };
        let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status");
        let status = status.ok().flatten().unwrap_or_default();
        let [_, sent, failed] = &self.counters;
        if status.first() == Some(&b'2') {
            sent.add(self.queue.borrow_mut().arrived());
            // What piled up meanwhile need not wait for the timer.
            if self.ending.get() || self.queue.borrow().len() >= ship.batch {
                self.send(ship);
            }
        } else {
            failed.add(1);
            let lost = self.queue.borrow_mut().failed(ship.attempts);
            warn!("the audit service answered {}", kit::guest::shown(&status));
            self.lost(lost);
            if self.ending.get() {
                self.send(ship);
            }
        }
        if self.ending.get() && self.queue.borrow().is_empty() {
            // The proxy waits for this before it takes the plugin away.
            let _ = hostcalls::done();
        }
    }

    fn finished(&self) -> bool {
        if let Some(ship) = &self.config.ship {
            self.ending.set(true);
            self.send(ship);
        }
        self.queue.borrow().is_empty()
    }
}

struct Request {
    auditor: Rc<Auditor>,
    id: u32,
    /// Whether the conditions held when the request came.
    concerned: Option<bool>,
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.concerned = Some(self.auditor.config.concerns(&Live));
        Action::Continue
    }

    fn on_log(&mut self) {
        let Auditor { config, chance, .. } = &*self.auditor;
        chance.stir(u64::from(self.id));
        // Whoever answered before this filter was asked is audited as well.
        let concerned = self.concerned.unwrap_or_else(|| config.concerns(&Live));
        if concerned && config.chosen(&Live, chance) {
            self.auditor.write();
        }
    }
}
