//! How many workers: as many as there is CPU for, which in a container is not what the node has.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The setting is neither a number of workers nor a percentage of the CPUs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a number of worker threads; write a number above 0, or a percentage of the CPUs as in 25%"
)]
pub struct InvalidCount(pub String);

/// Returns how many workers to start.
///
/// Without a `setting` it is the CPU limit of the container, rounded up, but no more than the
/// CPUs the process may run on. With more workers than its limit a process is throttled, which
/// reads as a 99th percentile of tens of milliseconds. A setting is a number, or a percentage of
/// what would be taken without it, rounded up, as in ztunnel's `ZTUNNEL_WORKER_THREADS`.
///
/// # Errors
/// When the setting is neither.
pub fn count(setting: Option<&str>) -> Result<usize, InvalidCount> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let limit = cpu_limit(&read);
    let available = limit.map_or(cpus(), |limit| limit.min(cpus()));
    match setting {
        Some(setting) => from_setting(setting.trim(), available),
        None => Ok(available),
    }
}

fn from_setting(setting: &str, available: usize) -> Result<usize, InvalidCount> {
    let invalid = || InvalidCount(setting.to_owned());
    let number = setting.strip_suffix('%').unwrap_or(setting).trim_end();
    let number: NonZeroUsize = number.parse().map_err(|_| invalid())?;
    if setting.ends_with('%') {
        let share = available.saturating_mul(number.get()).div_ceil(100);
        return Ok(share.max(1));
    }
    Ok(number.get())
}

/// CPUs this process may be scheduled on.
fn cpus() -> usize {
    let affinity = sched_getaffinity(Pid::from_raw(0)).map(|set| {
        let member = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
        (0..CpuSet::count()).filter(member).count()
    });
    let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    affinity.ok().filter(|n| *n > 0).unwrap_or_else(all)
}

/// Returns the CPU limit of our control group and those above it, in whole CPUs, rounded up.
///
/// Source: kernel `Documentation/admin-guide/cgroup-v2.rst`, `cpu.max`, and
/// `scheduler/sched-bwc.rst`, `cpu.cfs_quota_us`.
fn cpu_limit(read: &impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            let of = |dir: &Path| v2_limit(&read(&dir.join("cpu.max"))?);
            limits.extend(above("/sys/fs/cgroup", group).filter_map(|dir| of(&dir)));
        } else if controllers.split(',').any(|name| name == "cpu") {
            let number = |path: PathBuf| read(&path)?.trim().parse::<u64>().ok();
            let of = |dir: &Path| {
                // Without a limit the quota is -1, which is no number here.
                let quota = number(dir.join("cpu.cfs_quota_us"))?;
                whole(quota, number(dir.join("cpu.cfs_period_us"))?)
            };
            limits.extend(above("/sys/fs/cgroup/cpu", group).filter_map(|dir| of(&dir)));
        }
    }
    limits.into_iter().min()
}

/// The directories of a control group and those around it. Inside a container the group's own
/// path may not exist, and the root is the container's.
fn above(root: &str, group: &str) -> impl Iterator<Item = PathBuf> {
    let group = PathBuf::from(group.trim_start_matches('/'));
    let root = PathBuf::from(root);
    let parts: Vec<PathBuf> = group.ancestors().map(Path::to_path_buf).collect();
    parts.into_iter().map(move |part| root.join(part))
}

/// Reads `QUOTA PERIOD` or `max PERIOD`.
fn v2_limit(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    whole(quota.parse().ok()?, period.parse().ok()?)
}

fn whole(quota: u64, period: u64) -> Option<usize> {
    let limit = quota.checked_next_multiple_of(period)? / period;
    usize::try_from(limit.max(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits as files would give them.
    fn limit(files: &[(&str, &str)]) -> Option<usize> {
        cpu_limit(&|path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    const V2: (&str, &str) = ("/proc/self/cgroup", "0::/kubepods/pod1/c1\n");
    const V1: (&str, &str) = (
        "/proc/self/cgroup",
        "4:memory:/a\n3:cpu,cpuacct:/a\n1:name=systemd:/a\n",
    );

    #[test]
    fn the_limit_is_rounded_up() {
        let max = |text| limit(&[V2, ("/sys/fs/cgroup/kubepods/pod1/c1/cpu.max", text)]);
        assert_eq!(max("50000 100000\n"), Some(1));
        assert_eq!(max("100000 100000\n"), Some(1));
        assert_eq!(max("150000 100000\n"), Some(2));
        assert_eq!(max("max 100000\n"), None);
        assert_eq!(max("nonsense\n"), None);
        assert_eq!(max("1 0\n"), None);
        assert_eq!(max("0 100000\n"), Some(1));
    }

    #[test]
    fn the_tightest_limit_around_us_holds() {
        let files = [
            V2,
            ("/sys/fs/cgroup/kubepods/pod1/c1/cpu.max", "400000 100000"),
            ("/sys/fs/cgroup/kubepods/pod1/cpu.max", "250000 100000"),
            ("/sys/fs/cgroup/cpu.max", "max 100000"),
        ];
        assert_eq!(limit(&files), Some(3));
        let container = [
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/fs/cgroup/cpu.max", "200000 100000"),
        ];
        assert_eq!(limit(&container), Some(2));
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_too() {
        let quota = |quota| {
            limit(&[
                V1,
                ("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", quota),
                ("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"),
            ])
        };
        assert_eq!(quota("250000\n"), Some(3));
        assert_eq!(quota("-1\n"), None);
        assert_eq!(limit(&[]), None);
    }

    #[test]
    fn a_setting_is_a_number_or_a_share() {
        for (setting, expected) in [("3", 3), ("25%", 2), ("1%", 1), ("100%", 6), ("150 %", 9)] {
            assert_eq!(from_setting(setting, 6), Ok(expected), "{setting}");
        }
        for setting in ["", "0", "0%", "-1", "%", "two", "1.5"] {
            let invalid = InvalidCount(setting.to_owned());
            assert_eq!(from_setting(setting, 6), Err(invalid), "{setting}");
        }
    }

    #[test]
    fn there_is_always_a_worker_and_never_more_than_cpus() {
        let count = count(None).unwrap();
        assert!((1..=cpus()).contains(&count));
        assert_eq!(super::count(Some(" 7 ")).unwrap(), 7);
    }
}
