//! The one crypto provider, and what of it the mesh uses.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};

/// The application protocol of every connection of the mesh.
pub const ALPN_H2: &[u8] = b"h2";

/// The order of suites is ztunnel's. `X25519MLKEM768` comes first, so that recorded traffic stays
/// secret from later quantum computers; the classic groups follow for peers without it.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    })
});

/// Returns aws-lc-rs, limited to the suites and groups HBONE peers speak.
///
/// Every TLS configuration of the mesh is built with it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Draws a number from `[0, 1)`, for jitter.
///
/// A system without randomness cannot make keys either and says so there; here the middle is
/// good enough.
pub(crate) fn draw() -> f64 {
    let mut bytes = [0; 4];
    match ::aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
