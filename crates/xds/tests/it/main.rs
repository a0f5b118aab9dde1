//! Client against server, over real gRPC on in-memory connections and paused time.

#[cfg(test)]
mod access;
#[cfg(test)]
mod convergence;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod late;
#[cfg(test)]
mod reconnect;
#[cfg(test)]
mod wire;
