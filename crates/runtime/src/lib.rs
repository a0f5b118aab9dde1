//! How a process starts, reports ready, can be inspected, and drains.
