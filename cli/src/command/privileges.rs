//! Whether this process may build a mesh, and what it lacks if not.

use anyhow::bail;

/// What building a mesh takes: the capability's number, its name, and what for.
///
/// Source: `linux/capability.h`.
const NEEDED: [(u8, &str, &str); 4] = [
    (1, "CAP_DAC_OVERRIDE", "to write /run/cairn and /etc/netns"),
    (5, "CAP_KILL", "to end the mesh's processes"),
    (
        12,
        "CAP_NET_ADMIN",
        "to make links, routes and nftables rules",
    ),
    (21, "CAP_SYS_ADMIN", "to make and enter network namespaces"),
];

/// Fails with all that is missing, and what to do.
pub(super) fn require(action: &str) -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing(effective(&status));
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = missing
        .iter()
        .map(|(_, name, purpose)| format!("{name} {purpose}"))
        .collect();
    let remedy = if nix::unistd::geteuid().is_root() {
        "this root has been stripped of them; in a container, run it privileged"
    } else {
        "run it as root, for example with sudo"
    };
    bail!("cairn {action} lacks {}; {remedy}", list.join(", "))
}

/// The capabilities in effect, as the kernel lists them.
fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0)
}

fn missing(effective: u64) -> Vec<(u8, &'static str, &'static str)> {
    NEEDED
        .into_iter()
        .filter(|(bit, ..)| effective & (1 << bit) == 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named() {
        let names = |effective| {
            missing(effective)
                .into_iter()
                .map(|(_, name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(u64::MAX), Vec::<&str>::new());
        assert_eq!(names(!(1 << 21)), ["CAP_SYS_ADMIN"]);
        assert_eq!(names(0).len(), 4);
    }

    #[test]
    fn the_kernels_list_is_understood() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            0x1ff_ffff_ffff
        );
        assert_eq!(effective(""), 0);
    }
}
