//! Admission of any object: what is admitted would be admitted again, as it is kept.
#![no_main]

use control::admission::{admit, key_of};
use control::finding::Severity;
use control::source::{Document, Origin};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let origin = Origin::default();
    let document = Document {
        value: value.clone(),
        origin: origin.clone(),
    };
    let key = match key_of(&document) {
        Ok(key) => key,
        Err(finding) => {
            assert_eq!(finding.severity, Severity::Error);
            return;
        }
    };
    for is_recorded in [false, true] {
        let admitted = match admit(&key, &origin, value.clone(), is_recorded) {
            Ok(admitted) => admitted,
            Err(findings) => {
                assert!(!findings.is_empty());
                assert!(
                    findings
                        .iter()
                        .all(|finding| finding.severity == Severity::Error)
                );
                continue;
            }
        };
        assert!(is_recorded || admitted.uid.is_none() && admitted.generation.is_none());
        let kept = Document {
            value: admitted.value.clone(),
            origin: origin.clone(),
        };
        assert_eq!(key_of(&kept).expect("it has a name"), key);
        let again = admit(&key, &origin, admitted.value.clone(), is_recorded)
            .expect("what was admitted is admitted");
        assert_eq!(again.value, admitted.value);
        assert_eq!(again.labels, admitted.labels);
        assert_eq!(again.annotations, admitted.annotations);
        assert_eq!(again.decoded.is_some(), admitted.decoded.is_some());
    }
});
