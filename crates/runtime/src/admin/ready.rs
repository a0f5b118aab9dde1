//! `/healthz/ready`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::reply::Reply;
use super::server::{self, Answer, Asked, Listen};
use crate::readiness::Gates;
use crate::tasks::TaskSet;

/// Opens the readiness endpoint and returns where. Must be called inside a runtime.
///
/// # Errors
/// When an address cannot be bound.
pub fn serve(
    gates: &Gates,
    listen: impl Into<Listen>,
    tasks: &TaskSet,
) -> io::Result<Vec<SocketAddr>> {
    let answer: Arc<dyn Answer> = Arc::new(Ready(gates.clone()));
    server::serve("readiness", listen.into(), tasks, &answer)
}

struct Ready(Gates);

impl Answer for Ready {
    fn answer(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        Box::pin(std::future::ready(reply(&self.0, &asked)))
    }
}

/// Texts and statuses are ztunnel's.
fn reply(gates: &Gates, asked: &Asked) -> Reply {
    if asked.path != "/healthz/ready" {
        return Reply::not_found();
    }
    if let Err(wrong) = asked.only(&Method::GET) {
        return wrong;
    }
    let pending = gates.pending();
    if pending.is_empty() {
        return Reply::text("ready\n");
    }
    let pending = pending.join(", ");
    Reply::status(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("not ready, pending: {pending}\n"),
    )
}
