use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};

use super::{Cut, REPLAY_LIMIT, RequestBody};
use crate::http::error::BoxError;

/// A body of scripted frames.
struct Script(VecDeque<Result<Frame<Bytes>, BoxError>>);

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.0.iter().flatten().filter_map(Frame::data_ref);
        SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
    }
}

fn script(chunks: &[&[u8]], trailers: bool) -> Script {
    let data = chunks
        .iter()
        .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))));
    let trailer = trailers.then(|| {
        let mut fields = HeaderMap::new();
        fields.insert("grpc-status", 0.into());
        Ok(Frame::trailers(fields))
    });
    Script(data.chain(trailer).collect())
}

async fn read(body: impl Body<Data = Bytes, Error = Cut> + Unpin) -> (Bytes, bool) {
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().is_some();
    (collected.to_bytes(), trailers)
}

#[tokio::test]
async fn a_second_attempt_sends_the_same_body() {
    let body = RequestBody::new(script(&[b"one", b"two"], true), true);
    let first = body.attempt();
    assert_eq!(first.size_hint().exact(), Some(6));
    assert_eq!(read(first).await, ("onetwo".into(), true));
    assert!(body.can_replay());
    let second = body.attempt();
    assert_eq!(second.size_hint().exact(), Some(6));
    assert!(!second.is_end_stream());
    assert_eq!(read(second).await, ("onetwo".into(), true));
    assert_eq!(body.received(), 6);
}

#[tokio::test]
async fn a_second_attempt_continues_where_the_first_was_cut() {
    let body = RequestBody::new(script(&[b"one", b"two", b"three"], false), true);
    let mut first = body.attempt();
    first.frame().await.unwrap().unwrap();
    let second = body.attempt();
    assert_eq!(read(second).await.0, "onetwothree");
    let late = first.frame().await.unwrap().unwrap_err();
    assert_eq!(late, Cut::Superseded);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_kept_and_passes_all_the_same() {
    let chunk = vec![7; REPLAY_LIMIT / 2 + 1];
    let body = RequestBody::new(script(&[&chunk, &chunk], false), true);
    assert_eq!(read(body.attempt()).await.0.len(), 2 * chunk.len());
    assert!(!body.can_replay());
}

#[tokio::test]
async fn a_body_that_need_not_be_sent_again_is_not_kept() {
    let body = RequestBody::new(script(&[b"one"], false), false);
    assert!(!body.can_replay());
    assert_eq!(read(body.attempt()).await.0, "one");
}

#[tokio::test]
async fn no_body_can_always_be_sent_again() {
    let body = RequestBody::new(script(&[], false), false);
    assert!(body.can_replay() && body.ended());
    assert!(body.attempt().is_end_stream());
}

#[tokio::test]
async fn a_client_that_goes_away_inside_its_body_is_known() {
    let cut = Script([Ok(Frame::data("a".into())), Err("gone".into())].into());
    let body = RequestBody::new(cut, true);
    let error = body.attempt().collect().await.unwrap_err();
    assert_eq!(error, Cut::Downstream);
    assert!(body.failed() && !body.can_replay());
}
