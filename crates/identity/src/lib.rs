//! How a process obtains, renews and presents its SPIFFE identity, and how it checks a peer's.
