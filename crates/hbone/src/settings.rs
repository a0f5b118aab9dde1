//! The HTTP/2 numbers of a tunnel connection; the defaults are what Istio's ztunnel puts on the wire.

use std::time::Duration;

/// Receive window of one tunnel, in bytes.
///
/// 4 MiB keeps a 10 Gbit/s, 3 ms path full.
/// Source: istio/ztunnel `src/config.rs`, `HTTP2_STREAM_WINDOW_SIZE`.
pub const STREAM_WINDOW: u32 = 4 << 20;

/// Receive window shared by all tunnels of a connection, in bytes.
///
/// Four times the stream window: were they equal, an application that does not read tunnel A
/// before tunnel B delivers would stop both.
/// Source: istio/ztunnel `src/config.rs`, `HTTP2_CONNECTION_WINDOW_SIZE`.
pub const CONNECTION_WINDOW: u32 = 16 << 20;

/// Largest frame we let the peer send, in bytes.
///
/// Source: istio/ztunnel `src/config.rs`, `HTTP2_FRAME_SIZE`.
pub const MAX_FRAME_SIZE: u32 = 1 << 20;

/// Tunnels a peer may hold open on one of our server connections.
///
/// Source: istio/ztunnel `src/proxy/h2/server.rs`; seen as SETTINGS 3 on the wire.
pub const SERVER_MAX_STREAMS: u32 = 200;

/// Bytes a server queues for one tunnel before the writer has to wait.
///
/// Source: istio/ztunnel `src/proxy/h2/server.rs` (hyper's default).
pub const SERVER_SEND_BUFFER: usize = 400 << 10;

/// Decoded size of the headers of one CONNECT that a server accepts.
///
/// Source: istio/ztunnel `src/proxy/h2/server.rs`; seen as SETTINGS 6 on the wire.
pub const SERVER_HEADER_LIST: u32 = 64 << 10;

/// Tunnels we open on one client connection before opening another.
///
/// Source: istio/ztunnel `src/config.rs`, `POOL_MAX_STREAMS_PER_CONNECTION`.
pub const CLIENT_MAX_STREAMS: usize = 100;

/// Bytes a client queues for one tunnel: as much as the peer's window can take.
///
/// Source: istio/ztunnel `src/proxy/h2/client.rs`.
pub const CLIENT_SEND_BUFFER: usize = STREAM_WINDOW as usize;

/// Decoded size of the headers of one answer that a client accepts.
///
/// Source: istio/ztunnel `src/proxy/h2/client.rs`; seen as SETTINGS 6 on the wire.
pub const CLIENT_HEADER_LIST: u32 = 16 << 10;

/// Time from one PING (or its answer) to the next.
///
/// Source: istio/ztunnel `src/proxy/h2.rs`.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Time a peer has to answer a PING before the connection counts as dead.
///
/// Source: istio/ztunnel `src/proxy/h2.rs`.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Time a client has, once TLS is up, to send the HTTP/2 preface.
///
/// ztunnel has no such limit; without one an authenticated peer can park connections for free.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time a pooled connection is kept without a tunnel on it.
///
/// Source: istio/ztunnel `src/config.rs`, `POOL_UNUSED_RELEASE_TIMEOUT`.
pub const IDLE_RELEASE: Duration = Duration::from_mins(5);

/// Largest window HTTP/2 can express (RFC 9113 §6.9.1).
const WINDOW_LIMIT: u32 = (1 << 31) - 1;

/// Bounds of `SETTINGS_MAX_FRAME_SIZE` (RFC 9113 §6.5.2).
const FRAME_LIMITS: (u32, u32) = (1 << 14, (1 << 24) - 1);

/// How tunnel connections behave, both roles.
///
/// Every field is public so that configuration can change it; [`Settings::default`] is ztunnel's
/// behaviour. Values HTTP/2 cannot express are moved to the nearest legal one when used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Bytes one tunnel may have in flight towards us. A peer that sends more is reset.
    pub stream_window: u32,
    /// Bytes all tunnels of a connection together may have in flight towards us.
    pub connection_window: u32,
    /// Largest frame the peer may send. A larger one ends the connection.
    pub max_frame_size: u32,
    /// Tunnels a peer may hold open on a server connection. One more gets `REFUSED_STREAM`.
    pub server_max_streams: u32,
    /// Bytes a server queues per tunnel; when they are reached, writers wait.
    pub server_send_buffer: usize,
    /// Header bytes a server accepts. A longer list is answered with 431.
    pub server_header_list: u32,
    /// Tunnels we open on one client connection, if the peer does not allow fewer.
    pub client_max_streams: usize,
    /// Bytes a client queues per tunnel; when they are reached, writers wait.
    pub client_send_buffer: usize,
    /// Header bytes a client accepts. A longer list resets the stream.
    pub client_header_list: u32,
    /// Time between PINGs.
    pub ping_interval: Duration,
    /// Time to wait for the answer to a PING; then the connection is closed.
    pub ping_timeout: Duration,
    /// Time a server waits for the client's preface; then the connection is closed.
    pub handshake_timeout: Duration,
    /// Time after which a pooled connection without tunnels is closed.
    pub idle_release: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            max_frame_size: MAX_FRAME_SIZE,
            server_max_streams: SERVER_MAX_STREAMS,
            server_send_buffer: SERVER_SEND_BUFFER,
            server_header_list: SERVER_HEADER_LIST,
            client_max_streams: CLIENT_MAX_STREAMS,
            client_send_buffer: CLIENT_SEND_BUFFER,
            client_header_list: CLIENT_HEADER_LIST,
            ping_interval: PING_INTERVAL,
            ping_timeout: PING_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_release: IDLE_RELEASE,
        }
    }
}

impl Settings {
    /// Builds the server half. Extended CONNECT stays off, so `:protocol` is a stream error, and
    /// h2's own guards against rapid resets and tiny frames keep their defaults.
    pub(crate) fn server(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(self.stream_window.min(WINDOW_LIMIT))
            .initial_connection_window_size(self.connection_window.min(WINDOW_LIMIT))
            .max_frame_size(self.frame_size())
            .max_concurrent_streams(self.server_max_streams)
            .max_send_buffer_size(send_buffer(self.server_send_buffer))
            .max_header_list_size(self.server_header_list);
        builder
    }

    /// Builds the client half. `max_streams` holds until the peer's SETTINGS say otherwise.
    pub(crate) fn client(&self, max_streams: usize) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(self.stream_window.min(WINDOW_LIMIT))
            .initial_connection_window_size(self.connection_window.min(WINDOW_LIMIT))
            .max_frame_size(self.frame_size())
            .max_send_buffer_size(send_buffer(self.client_send_buffer))
            .max_header_list_size(self.client_header_list)
            .initial_max_send_streams(max_streams)
            .enable_push(false);
        builder
    }

    fn frame_size(&self) -> u32 {
        let (min, max) = FRAME_LIMITS;
        self.max_frame_size.clamp(min, max)
    }
}

/// h2 refuses (by panicking) a send buffer above `u32::MAX`.
fn send_buffer(bytes: usize) -> usize {
    bytes.min(u32::MAX as usize)
}

#[cfg(test)]
mod tests;
