//! The adapter to proxy-wasm: what is the same in every filter.

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use log::{error, info};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel, MapType};

use crate::stream::{Side, Stream};

/// A configured filter; one per VM.
pub trait Filter: Sized + 'static {
    /// Reads the configuration.
    ///
    /// # Errors
    /// A sentence for whoever wrote it.
    fn parse(configuration: &[u8]) -> Result<Self, String>;

    /// Says in the log what it is going to do.
    fn summary(&self) -> String;

    /// Begins a stream.
    fn stream(this: &Rc<Self>, id: u32) -> Box<dyn HttpContext>;

    /// Called once it is configured, and allowed to call the proxy.
    fn started(&self) {}

    /// Called when the timer is due.
    fn tick(&self) {}

    /// Called with the answer to a callout made outside streams.
    fn answered(&self, call: u32, body: usize) {
        let _ = (call, body);
    }

    /// Called when the plugin is taken away; returns whether nothing is left to do. If not,
    /// `hostcalls::done` says so later.
    fn finished(&self) -> bool {
        true
    }
}

/// Makes `F` the filter of this module.
pub fn run<F: Filter>() {
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::<F>(None)));
}

/// Holds the filter; there is none until it is configured, and the proxy sends no request before.
struct Root<F>(Option<Rc<F>>);

impl<F: Filter> Context for Root<F> {
    fn on_http_call_response(&mut self, call: u32, _: usize, body: usize, _: usize) {
        if let Some(filter) = &self.0 {
            filter.answered(call, body);
        }
    }

    fn on_done(&mut self) -> bool {
        self.0.as_ref().is_none_or(|filter| filter.finished())
    }
}

impl<F: Filter> RootContext for Root<F> {
    fn on_vm_start(&mut self, _: usize) -> bool {
        // Lines below the proxy's level are then never formatted.
        proxy_wasm::set_log_level(hostcalls::get_log_level().unwrap_or(LogLevel::Info));
        true
    }

    fn on_configure(&mut self, _: usize) -> bool {
        match F::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(filter) => {
                info!("{}", filter.summary());
                filter.started();
                self.0 = Some(Rc::new(filter));
                true
            }
            Err(why) => {
                error!("{why}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(filter) = &self.0 {
            filter.tick();
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        self.0.as_ref().map(|filter| F::stream(filter, id))
    }
}

/// The stream the proxy is calling about.
///
/// Everything goes through bytes: the text accessors of the SDK end the whole filter at a byte
/// that is not UTF-8, and any client can send one.
#[derive(Clone, Copy, Debug)]
pub struct Live;

fn map(side: Side) -> MapType {
    match side {
        Side::Request => MapType::HttpRequestHeaders,
        Side::Response => MapType::HttpResponseHeaders,
    }
}

impl Stream for Live {
    fn header(&self, side: Side, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(map(side), name).ok()?
    }

    fn headers(&self, side: Side) -> Vec<(String, Vec<u8>)> {
        hostcalls::get_map_bytes(map(side)).unwrap_or_default()
    }

    fn set(&self, side: Side, name: &str, value: &[u8]) {
        warn_if(hostcalls::set_map_value_bytes(map(side), name, Some(value)));
    }

    fn add(&self, side: Side, name: &str, value: &[u8]) {
        warn_if(hostcalls::add_map_value_bytes(map(side), name, value));
    }

    fn remove(&self, side: Side, name: &str) {
        warn_if(hostcalls::remove_map_value(map(side), name));
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        hostcalls::get_property(path.to_vec()).ok()?
    }

    fn now(&self) -> u64 {
        let now = hostcalls::get_current_time().unwrap_or(UNIX_EPOCH);
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Every status but OK has ended the filter in the SDK already; this is for those that follow.
fn warn_if(result: Result<(), proxy_wasm::types::Status>) {
    if let Err(status) = result {
        log::warn!("the proxy did not change a header: {status:?}");
    }
}

/// Answers the request instead of passing it on.
pub fn answer(status: u32, headers: &[(String, String)], body: &[u8]) {
    let headers = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    if let Err(status) = hostcalls::send_http_response(status, headers, Some(body)) {
        log::warn!("the proxy did not take an answer: {status:?}");
    }
}

/// Shows bytes of a client in a log line.
pub fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    format!("{text:?}")
}

/// Answers a gRPC request with a status and a message.
pub fn answer_grpc(status: u32, message: &str) {
    use proxy_wasm::types::GrpcStatusCode as Code;
    const CODES: [Code; 17] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];
    let code = usize::try_from(status)
        .ok()
        .and_then(|n| CODES.get(n).copied());
    let message = Some(message).filter(|message| !message.is_empty());
    if let Err(status) =
        hostcalls::send_grpc_response(code.unwrap_or(Code::Unknown), message, vec![])
    {
        log::warn!("the proxy did not take an answer: {status:?}");
    }
}
