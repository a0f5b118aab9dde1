//! The suites; each file is one folder of `vectors/`.

#[cfg(test)]
mod hbone;
#[cfg(test)]
mod xds;
#[cfg(test)]
mod ztunnel;
