//! How Istio's policies say what they apply to (`istio.type.v1beta1`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `spec.selector`: pods with all of these labels.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels that must be there with this value. None at all selects every pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// `spec.targetRefs[]`: one object that the policy is attached to.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetReference {
    /// API group; core kinds may say `""` or `core`.
    #[serde(default)]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Must be empty: a policy is attached within its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The targets of a policy: `targetRefs`, else the older `targetRef`.
pub(super) fn targets<'a>(
    many: &'a [TargetReference],
    one: Option<&'a TargetReference>,
) -> impl Iterator<Item = &'a TargetReference> + use<'a> {
    many.iter().chain(one.filter(|_| many.is_empty()))
}
