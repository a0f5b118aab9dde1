//! Certificates of peers, and the PEM in which authorities answer.
#![no_main]

use identity::{Certified, PrivateKey, peer_identity, pem};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate().expect("a key"));

fuzz_target!(|data: &[u8]| {
    let chain = match pem::read(data) {
        Ok(chain) if !chain.is_empty() => chain,
        _ => vec![data.to_vec().into()],
    };
    for certificate in &chain {
        let written = pem::write(certificate);
        let again = pem::read(written.as_bytes()).expect("what was written is read");
        assert_eq!(again, [certificate.clone()]);
    }
    let Ok(id) = peer_identity(&chain) else {
        return;
    };
    assert_eq!(id.as_str().parse().as_ref(), Ok(&id));
    // Nothing but the leaf says who a peer is, and nothing may stand behind it.
    assert_eq!(peer_identity(&chain[..1]), Ok(id.clone()));
    let longer = [&chain[0][..], &[0]].concat();
    assert!(peer_identity(&[longer.into()]).is_err());
    // The key in it is not ours.
    let answer: Vec<String> = chain.iter().chain(chain.last()).map(pem::write).collect();
    assert!(Certified::new(&id, &KEY, &answer, &[]).is_err());
});
