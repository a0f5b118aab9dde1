//! What a connection, a tunnel and a request cost while they wait: mostly their futures.

use std::rc::Rc;

use hyper::body::Incoming;

use crate::http::context::{Peer, RequestCtx};
use crate::http::head::Head;
use crate::http::pipeline;
use crate::{listener, tunnel};

/// The size of the future a function returns, without calling it.
fn size<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}

#[track_caller]
fn check(what: &str, size: usize, budget: usize) {
    assert!(
        size <= budget,
        "{what} takes {size} bytes; its budget is {budget}"
    );
}

#[test]
fn futures_stay_within_their_budgets() {
    type Accepted = (
        Rc<super::Worker>,
        tokio::net::TcpStream,
        std::net::SocketAddr,
    );
    type Asked = (Rc<super::Worker>, Rc<Peer>, hbone::server::Connect);
    type Sent = (&'static mut RequestCtx, Head, Incoming);
    let connection = size(|(worker, stream, from): Accepted| listener::serve(worker, stream, from));
    check("a connection", connection, 4_000);
    let tunnel = size(|(worker, peer, connect): Asked| tunnel::serve(worker, peer, connect));
    check("a tunnel", tunnel, 4_000);
    let request = size(|(cx, head, body): Sent| pipeline::run(cx, head, body));
    check("a request", request, 4_000);
}
