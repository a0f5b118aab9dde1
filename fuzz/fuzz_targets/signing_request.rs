//! Signing requests: only who holds a key is granted a certificate for it.
#![no_main]

use identity::pem;
use libfuzzer_sys::fuzz_target;

fn granted(der: &[u8]) -> bool {
    let text = pem::write(&der.to_vec().into()).replace("CERTIFICATE", "CERTIFICATE REQUEST");
    control::fuzz::signing_request(&text)
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        control::fuzz::signing_request(text);
    }
    if granted(data) {
        let (last, rest) = data.split_last().expect("nothing is no request");
        assert!(!granted(rest), "cut short");
        assert!(!granted(&[rest, &[*last, 0]].concat()), "followed by more");
        assert!(
            !granted(&[rest, &[last ^ 1]].concat()),
            "the signature is another"
        );
    }
});
