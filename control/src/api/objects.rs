//! What the local API tells about objects.
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /objects?kind=&namespace=&name=` | a `List` of whole objects, each parameter optional |
//! | `GET /watch?kind=&namespace=&name=` | one line of JSON a change, without end: `{"type": "ADDED", "object": …}` for what there is, `BOOKMARK`, then what happens |
//! | `GET /findings` | the list of all findings |
//!
//! `kind` is any name that `kubectl` would take. Events are listed if they are asked for. The data of
//! Secrets is shown to nobody.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Answer, Query, Routes, error, json as json_answer, with_body};
use crate::events::Events;
use crate::index::EVENT;
use crate::kinds;
use crate::object::{Change, Handle, Key, Kind, Object, Objects};

/// So many changes are written at once at most, so that a slow reader holds little memory.
const CHANGES_A_FRAME: usize = 64;

/// The rows about the objects and findings behind `handle`, and about events.
pub fn routes(handle: Handle, events: Events) -> Routes {
    let (follow, board) = (handle.clone(), handle.board().clone());
    Routes::new()
        .on(Method::GET, "/objects", move |request| {
            let answer = list_objects(&handle.objects(), &events, request.uri());
            async move { answer }
        })
        .on(Method::GET, "/watch", move |request| {
            let answer = watch_objects(follow.subscribe(), request.uri());
            async move { answer }
        })
        .on(Method::GET, "/findings", move |_| {
            let answer = json_answer(StatusCode::OK, &board.all());
            async move { answer }
        })
}

/// Which objects are asked for.
#[derive(Clone, Debug)]
struct Selection {
    kind: Option<Kind>,
    namespace: Option<String>,
    name: Option<String>,
}

impl Selection {
    fn read(uri: &Uri, objects: &Objects) -> Result<Self, Box<Answer>> {
        let query = Query::of(uri);
        let lookup = |name| {
            kinds::lookup(name, objects).ok_or_else(|| {
                let what = format!("no kind is called {name:?}");
                Box::new(error(StatusCode::NOT_FOUND, &what))
            })
        };
        let kind = query.text("kind").map(lookup).transpose()?;
        let owned = |name| query.text(name).map(str::to_owned);
        Ok(Self {
            kind,
            namespace: owned("namespace"),
            name: owned("name"),
        })
    }

    fn takes(&self, key: &Key) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == key.kind)
            && self
                .namespace
                .as_deref()
                .is_none_or(|namespace| *namespace == *key.namespace)
            && self.name.as_deref().is_none_or(|name| *name == *key.name)
    }

    fn of<'o>(&self, objects: &'o Objects) -> Vec<&'o Arc<Object>> {
        let candidates: Box<dyn Iterator<Item = &'o Arc<Object>>> = match &self.kind {
            Some(kind) => Box::new(objects.of_kind(kind)),
            None => Box::new(objects.iter()),
        };
        candidates
            .filter(|object| self.takes(&object.key))
            .collect()
    }
}

fn list_objects(objects: &Objects, events: &Events, uri: &Uri) -> Answer {
    let selection = match Selection::read(uri, objects) {
        Ok(selection) => selection,
        Err(answer) => return *answer,
    };
    let mut items: Vec<Value> = selection
        .of(objects)
        .into_iter()
        .map(|o| o.to_json())
        .collect();
    if selection.kind == Some(EVENT) {
        items.extend(events.to_json().into_iter().filter(|event| {
            let text = |field: &str| event.pointer(field).and_then(Value::as_str);
            let key = Key::new(
                EVENT,
                text("/metadata/namespace").unwrap_or_default(),
                text("/metadata/name").unwrap_or_default(),
            );
            selection.takes(&key)
        }));
    }
    let list = json!({
        "apiVersion": "v1",
        "kind": "List",
        "metadata": {"resourceVersion": objects.revision().to_string()},
        "items": items,
    });
    json_answer(StatusCode::OK, &list)
}

/// Where a follower is.
struct Follower {
    views: watch::Receiver<Objects>,
    seen: Objects,
    selection: Selection,
    waiting: VecDeque<Change>,
    /// Whether all that was there at the beginning is still to be closed with a bookmark.
    is_first: bool,
}

fn watch_objects(mut views: watch::Receiver<Objects>, uri: &Uri) -> Answer {
    let now = views.borrow_and_update().clone();
    let selection = match Selection::read(uri, &now) {
        Ok(selection) => selection,
        Err(answer) => return *answer,
    };
    let waiting = selection
        .of(&now)
        .into_iter()
        .cloned()
        .map(Change::Added)
        .collect();
    let follower = Follower {
        views,
        seen: now,
        selection,
        waiting,
        is_first: true,
    };
    let lines = stream::unfold(follower, |mut follower| async move {
        let lines = follower.next().await?;
        Some((
            Ok::<_, Infallible>(Frame::data(Bytes::from(lines))),
            follower,
        ))
    });
    with_body(
        StatusCode::OK,
        "application/x-ndjson",
        StreamBody::new(lines).boxed(),
    )
}

impl Follower {
    /// The next lines; `None` when there will be no more.
    async fn next(&mut self) -> Option<String> {
        let mut lines = String::new();
        while self.waiting.is_empty() && !self.is_first {
            self.views.changed().await.ok()?;
            let now = self.views.borrow_and_update().clone();
            let changes = now.changes_since(&self.seen).into_iter();
            self.waiting
                .extend(changes.filter(|change| self.selection.takes(change.key())));
            self.seen = now;
        }
        for _ in 0..CHANGES_A_FRAME {
            let Some(change) = self.waiting.pop_front() else {
                break;
            };
            let (kind, object) = match &change {
                Change::Added(object) => ("ADDED", object),
                Change::Modified { new, .. } => ("MODIFIED", new),
                Change::Deleted(object) => ("DELETED", object),
            };
            push_line(
                &mut lines,
                &json!({"type": kind, "object": object.to_json()}),
            );
        }
        if self.waiting.is_empty() && std::mem::take(&mut self.is_first) {
            let metadata = json!({"resourceVersion": self.seen.revision().to_string()});
            push_line(
                &mut lines,
                &json!({"type": "BOOKMARK", "object": {"metadata": metadata}}),
            );
        }
        Some(lines)
    }
}

fn push_line(lines: &mut String, value: &Value) {
    lines.push_str(&value.to_string());
    lines.push('\n');
}
