use bytes::Bytes;
use proto::workload::Address;

use super::*;
use crate::client::Resource;

fn put(name: &str, bytes: &'static [u8]) -> Update {
    Update::Put(Resource {
        name: name.to_owned(),
        aliases: Vec::new(),
        version: String::new(),
        bytes: Bytes::from_static(bytes),
    })
}

#[test]
fn a_broken_resource_spoils_no_other() {
    let (decoded, rejected) = decode::<Address>(vec![
        Update::Remove("gone".to_owned()),
        put("broken", b"\x0a\xff"),
        put("empty", b""),
    ]);
    assert_eq!(
        decoded,
        [
            Decoded::Remove("gone".to_owned()),
            Decoded::Put("empty".to_owned(), Address::default())
        ]
    );
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].name, "broken");
    assert!(!rejected[0].reason.is_empty());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_either_decoded_or_rejected(bytes: Vec<u8>) {
        let update = Update::Put(Resource {
            name: "any".to_owned(),
            aliases: Vec::new(),
            version: String::new(),
            bytes: bytes.into(),
        });
        let (decoded, rejected) = decode::<Address>(vec![update]);
        proptest::prop_assert_eq!(decoded.len() + rejected.len(), 1);
    }
}
