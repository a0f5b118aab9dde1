//! Names that Kubernetes makes up: template hashes, pod names, the suffix of a slice.

use std::iter;

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The letters and digits Kubernetes makes names from: no vowels, so no words, and nothing that
/// reads like another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;
/// A pod's name is also a DNS label.
const NAME_MAX: usize = 63;

/// A short name for what a template says. Another template has another one; the same template
/// always the same.
pub(super) fn template_hash(template: &PodTemplateSpec) -> String {
    // Maps are ordered and unset fields absent, so equal templates are equal text.
    let text = serde_json::to_vec(template).unwrap_or_default();
    let digits = fnv(&text).to_string();
    digits
        .bytes()
        .filter_map(|digit| letter(usize::from(digit)))
        .collect()
}

/// `NAME-HASH-xxxxx`, like a pod of a ReplicaSet.
pub(super) fn pod_name(deployment: &str, hash: &str) -> String {
    let random = uuid::Uuid::new_v4();
    let suffix: String = random
        .as_bytes()
        .iter()
        .take(SUFFIX_LEN)
        .filter_map(|byte| letter((*byte).into()))
        .collect();
    let room = NAME_MAX - hash.len() - SUFFIX_LEN - 2;
    let base: String = deployment.chars().take(room).collect();
    format!("{base}-{hash}-{suffix}")
}

/// Five letters that are the same for the same `text`.
pub(super) fn stable_suffix(text: &str) -> String {
    let mut rest = fnv(text.as_bytes());
    let next = || {
        let index = rest as usize % ALPHABET.len();
        rest /= 27;
        letter(index)
    };
    iter::from_fn(next).take(SUFFIX_LEN).collect()
}

fn letter(index: usize) -> Option<char> {
    ALPHABET
        .get(index % ALPHABET.len())
        .map(|byte| char::from(*byte))
}

/// FNV-1a, 32 bits: what Kubernetes names ReplicaSets by.
pub(super) fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        let spec = json!({"spec": {"containers": [{"name": "app", "image": image}]}});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn another_template_has_another_hash() {
        assert_eq!(
            template_hash(&template("a:1")),
            template_hash(&template("a:1"))
        );
        assert_ne!(
            template_hash(&template("a:1")),
            template_hash(&template("a:2"))
        );
    }

    #[test]
    fn pod_names_look_like_kubernetes_makes_them() {
        let name = pod_name("reviews-v1", "5f6b7c8d9");
        let (base, suffix) = name.rsplit_once('-').unwrap();
        assert_eq!(base, "reviews-v1-5f6b7c8d9");
        assert!(
            suffix.len() == 5 && suffix.bytes().all(|byte| ALPHABET.contains(&byte)),
            "{name}"
        );
        assert_ne!(name, pod_name("reviews-v1", "5f6b7c8d9"));
    }

    #[test]
    fn pod_names_stay_dns_labels() {
        assert!(pod_name(&"x".repeat(200), "5f6b7c8d9x").len() <= NAME_MAX);
    }

    #[test]
    fn a_stable_suffix_is_stable() {
        assert_eq!(
            stable_suffix("default/reviews"),
            stable_suffix("default/reviews")
        );
        assert_ne!(
            stable_suffix("default/reviews"),
            stable_suffix("default/ratings")
        );
        assert_eq!(stable_suffix("x").len(), SUFFIX_LEN);
    }
}
