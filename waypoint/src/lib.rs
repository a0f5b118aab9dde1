//! One L7 proxy.
