//! Bytes through an HTTP/2 CONNECT tunnel, both ends.
