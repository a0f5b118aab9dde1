//! Names of what is deployed, which must be DNS labels where a Gateway's name may be longer and
//! have dots.
//!
//! istiod does not shorten them and then deploys nothing.

use sha2::{Digest, Sha256};

use crate::object::Object;
use crate::translate::names;

/// Longest DNS label and longest label value.
const LONGEST: usize = 63;
/// Hexadecimal digits of the hash behind a shortened name.
const HASH: usize = 8;

/// Returns the name of the Deployment and Service of a Gateway.
pub(crate) fn service_name(gateway: &Object) -> String {
    match gateway.annotation(names::NAME_OVERRIDE) {
        Some(name) => name.to_owned(),
        None => dns_label(&gateway.key.name),
    }
}

/// Returns the name of the ServiceAccount of a Gateway; another name for the Deployment does not
/// change it.
pub(crate) fn service_account_name(gateway: &Object) -> String {
    match gateway.annotation(names::SERVICE_ACCOUNT) {
        Some(name) => name.to_owned(),
        None => dns_label(&gateway.key.name),
    }
}

/// Returns the value of the label that says which Gateway an object belongs to.
pub(crate) fn gateway_label(gateway: &str) -> String {
    if gateway.len() <= LONGEST {
        gateway.to_owned()
    } else {
        shortened(gateway)
    }
}

fn dns_label(name: &str) -> String {
    if name.len() <= LONGEST && !name.contains('.') {
        name.to_owned()
    } else {
        shortened(name)
    }
}

/// Two names that are shortened to one differ in their hash.
fn shortened(name: &str) -> String {
    let digest = Sha256::digest(name);
    let number = digest
        .iter()
        .take(HASH / 2)
        .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    let label: String = name
        .chars()
        .map(|c| if c == '.' { '-' } else { c })
        .take(LONGEST - HASH - 1)
        .collect();
    format!("{}-{number:0HASH$x}", label.trim_end_matches('-'))
}
