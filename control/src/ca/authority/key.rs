//! The authority's own key.

use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm};
use zeroize::Zeroize;

/// A key pair that is wiped when it goes.
pub(super) struct SigningKey(KeyPair);

impl SigningKey {
    pub(super) fn new(pair: KeyPair) -> Self {
        Self(pair)
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}
