//! One L7 proxy.

fn main() {}
