//! SPIFFE IDs: one text, one identity, and no text that two readers could take for two.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh::spiffe::SpiffeId;

fuzz_target!(|text: &str| {
    let Ok(id) = text.parse::<SpiffeId>() else {
        return;
    };
    assert_eq!(id.as_str().parse().as_ref(), Ok(&id));
    assert!(text.eq_ignore_ascii_case(id.as_str()));
    assert!(text.len() <= 2048);

    let (domain, path) = match id.principal().split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (id.principal(), None),
    };
    assert_eq!(domain, id.trust_domain());
    let in_domain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    assert!(!domain.is_empty() && domain.len() <= 255 && domain.bytes().all(in_domain));
    for segment in path.into_iter().flat_map(|path| path.split('/')) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!(!matches!(segment, "" | "." | "..") && segment.bytes().all(legal));
    }

    let (namespace, account) = (id.namespace(), id.service_account());
    assert_eq!(namespace.is_some(), account.is_some());
    if let (Some(namespace), Some(account)) = (namespace, account) {
        assert_eq!(
            SpiffeId::workload(domain, namespace, account),
            Ok(id.clone())
        );
    }
});
