//! The suites; each file is one folder of `vectors/`.

#[cfg(test)]
mod xds;
