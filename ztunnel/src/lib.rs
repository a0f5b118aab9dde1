//! One node's L4 proxy.
