//! A request as a guest sees it from outside: from its timer, or from another stream's callback.
//!
//! Such a guest is not called by whoever holds the request, so what it may look at is taken out of
//! the exchange for as long as it is inside, and put back after.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use wasm_host::{HeaderMap as GuestMap, Map, Refused, StreamHost, Value};

use super::bridge::{RequestMap, ResponseMap, Writing};
use super::exchange::{Exchange, RequestHead, ResponseHead};
use super::properties;

/// What was taken out.
pub(super) struct Away {
    exchange: Rc<Exchange>,
    request: RequestHead,
    response: Option<ResponseHead>,
    changed: bool,
    /// The map that was asked for last, which this then is.
    current: Map,
}

impl fmt::Debug for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Away").finish_non_exhaustive()
    }
}

impl Away {
    pub(super) fn new(
        exchange: Rc<Exchange>,
        request: RequestHead,
        response: Option<ResponseHead>,
    ) -> Self {
        Self {
            exchange,
            request,
            response,
            changed: false,
            current: Map::RequestHeaders,
        }
    }

    fn has(&self, map: Map) -> bool {
        match map {
            Map::RequestHeaders => !matches!(self.request, RequestHead::Away),
            Map::ResponseHeaders => self.response.is_some(),
            Map::RequestTrailers | Map::ResponseTrailers => false,
        }
    }

    /// Reads the current map.
    fn read<R>(&self, look: impl FnOnce(&dyn GuestMap) -> R) -> Option<R> {
        match self.current {
            Map::RequestHeaders => Some(look(&RequestMap::read_only(self.request.head()?))),
            Map::ResponseHeaders => self
                .response
                .as_ref()
                .map(|head| look(&ResponseMap::of(&mut head.clone(), false))),
            Map::RequestTrailers | Map::ResponseTrailers => None,
        }
    }

    /// Changes the current map, if it has not been sent.
    fn write(
        &mut self,
        change: impl FnOnce(&mut dyn GuestMap) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let nothing = || Refused::from("there is no such map now");
        match self.current {
            Map::RequestHeaders => {
                let writing = Writing {
                    normalization: self.exchange.tunnel.worker.normalization,
                    changed: &mut self.changed,
                    framed: false,
                };
                change(&mut self.request.map(writing).ok_or_else(nothing)?)
            }
            Map::ResponseHeaders => {
                let head = self.response.as_mut().ok_or_else(nothing)?;
                change(&mut ResponseMap::of(head, false))
            }
            Map::RequestTrailers | Map::ResponseTrailers => Err(nothing()),
        }
    }
}

impl StreamHost for Away {
    fn headers(&mut self, map: Map) -> Option<&mut dyn GuestMap> {
        self.current = map;
        if self.has(map) { Some(self) } else { None }
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        properties::of_connection(&self.exchange.tunnel, path)
    }

    fn set_property(&mut self, path: &[&str], value: &[u8]) -> bool {
        self.exchange.show(|seen| seen.own.set(path, value))
    }
}

impl GuestMap for Away {
    fn len(&self) -> usize {
        self.read(|map| map.len()).unwrap_or(0)
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let value = self.read(|map| map.get(name).map(Cow::into_owned));
        value.flatten().map(Cow::Owned)
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.read(|map| map.each(visit));
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.write(|map| map.set(name, value))
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.write(|map| map.add(name, value))
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        self.write(|map| map.remove(name))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let (request, response) = (std::mem::take(&mut self.request), self.response.take());
        let changed = self.changed;
        self.exchange.show(|seen| {
            seen.request = request;
            seen.response = response;
            seen.changed |= changed;
        });
    }
}
