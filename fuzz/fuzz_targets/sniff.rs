//! What protocol a stream is: the same however it is cut, and nothing of it is lost.
#![no_main]

use cairn_fuzz::pieces;
use libfuzzer_sys::fuzz_target;
use waypoint::fuzz::sniffed;

fuzz_target!(|data: &[u8]| {
    let (pieces, bytes) = pieces(data);
    for http in [false, true] {
        let (whole, read) = sniffed(&[bytes], http).expect("a stream that ends is known");
        assert_eq!(read, bytes);
        let (cut, read) = sniffed(&pieces, http).expect("a stream that ends is known");
        assert_eq!(read, bytes);
        // How much is there at once decides only about lines too long for either.
        if bytes.len() <= 8 << 10 {
            assert_eq!(cut, whole);
        }
        assert!(!http || whole != "opaque");
        assert_eq!(
            whole == "HTTP/2",
            bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        );
    }
});
