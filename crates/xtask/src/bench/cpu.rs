//! What processes have used: time on CPUs, memory; and on which CPUs they may run.
//!
//! Source: `proc_pid_schedstat(5)` (first field: nanoseconds on a CPU, with the kernel's work for
//! the task), `proc_pid_smaps(5)`, `proc_stat(5)`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use super::statistics::float;

/// Nanoseconds on a CPU, of each thread of one process.
#[derive(Debug)]
pub(super) struct Threads(BTreeMap<u32, u64>);

impl Threads {
    /// The threads of `pid` now.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.clone())? {
            let entry = entry?;
            let thread = entry.file_name().to_string_lossy().parse()?;
            // A thread may end between the two looks.
            if let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) {
                threads.insert(thread, on_cpu(&text).context(text)?);
            }
        }
        Ok(Self(threads))
    }

    /// What they have used since `before`; threads that are new, since they began.
    pub(super) fn since(&self, before: &Self) -> u64 {
        self.0
            .iter()
            .map(|(thread, now)| now.saturating_sub(before.0.get(thread).copied().unwrap_or(0)))
            .sum()
    }
}

/// The first field of `schedstat`.
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// What one CPU did since the machine began, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ticks {
    /// Nothing.
    idle: u64,
    /// Something for another machine of the same host.
    stolen: u64,
    all: u64,
}

impl Ticks {
    /// What `cpu` did until now.
    pub(super) fn of(cpu: usize) -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        Self::parse(&text, cpu).with_context(|| format!("no CPU {cpu}: {text}"))
    }

    fn parse(stat: &str, cpu: usize) -> Option<Self> {
        let name = format!("cpu{cpu} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
        let fields: Option<Vec<u64>> = line
            .split_ascii_whitespace()
            .map(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guests count in user.
        let fields = fields?;
        let field = |at: usize| fields.get(at).copied();
        Some(Self {
            idle: field(3)? + field(4)?,
            stolen: field(7)?,
            all: fields.iter().take(8).sum(),
        })
    }

    /// Since `before`, the shares of time in which it was idle and in which it was somebody else's.
    pub(super) fn since(self, before: Self) -> (f64, f64) {
        let all = float(self.all.saturating_sub(before.all)).max(1.0);
        let share = |now: u64, before: u64| float(now.saturating_sub(before)) / all;
        (
            share(self.idle, before.idle),
            share(self.stolen, before.stolen),
        )
    }
}

/// What a process holds in memory, in KiB.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Memory {
    /// Resident, with the pages of its file that others have too.
    pub(super) rss_kib: u64,
    /// Resident, with shared pages divided among those who share them.
    pub(super) pss_kib: u64,
}

impl Memory {
    /// What `pid` holds now.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        Self::parse(&text).with_context(|| format!("{path}: {text}"))
    }

    fn parse(rollup: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.trim().parse().ok()
        };
        Some(Self {
            rss_kib: field("Rss:")?,
            pss_kib: field("Pss:")?,
        })
    }
}

/// Which CPU does what. With less than two there is nothing to choose.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Cpus {
    /// Load generator and servers.
    pub(super) traffic: Option<usize>,
    /// The proxies that are measured.
    pub(super) proxies: Option<usize>,
}

impl Cpus {
    /// Chooses from the CPUs this process may use.
    pub(super) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("read the CPU affinity")?;
        let mut free = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true));
        Ok(match (free.next(), free.next()) {
            (traffic, proxies @ Some(_)) => Self { traffic, proxies },
            _ => Self::default(),
        })
    }
}

/// Keeps this thread, and those it starts, on one CPU.
pub(super) fn pin(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else {
        return Ok(());
    };
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("use CPU {cpu} alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_cpu_is_the_first_field() {
        assert_eq!(on_cpu("986567 12 1\n"), Some(986_567));
        assert_eq!(on_cpu(""), None);
    }

    #[test]
    fn threads_that_came_count_whole_and_those_that_went_not_at_all() {
        let before = Threads([(1, 100), (2, 50)].into());
        let after = Threads([(1, 130), (3, 7)].into());
        assert_eq!(after.since(&before), 37);
    }

    #[test]
    fn a_process_that_works_is_seen_working() {
        let own = std::process::id();
        let before = Threads::of(own).unwrap();
        while Threads::of(own).unwrap().since(&before) == 0 {
            std::hint::spin_loop();
        }
        assert!(Memory::of(own).unwrap().rss_kib > 0);
    }

    #[test]
    fn what_a_cpu_did_is_read_from_its_own_line() {
        let stat = |idle: u64, stolen: u64| {
            format!(
                "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 10 0 20 {idle} 5 1 4 {stolen} 7 0\n"
            )
        };
        let before = Ticks::parse(&stat(60, 0), 1).unwrap();
        let after = Ticks::parse(&stat(140, 20), 1).unwrap();
        assert_eq!(before.all, 100);
        let (idle, stolen) = after.since(before);
        assert!((idle - 0.8).abs() < 1e-9 && (stolen - 0.2).abs() < 1e-9);
        assert_eq!(Ticks::parse(&stat(60, 0), 2), None);
    }

    #[test]
    fn memory_is_read_from_the_kernels_sum() {
        let rollup = "5570e661e000-7fffa2942000 ---p 00000000 00:00 0   [rollup]\n\
                      Rss:                1700 kB\nPss:                 372 kB\n\
                      Pss_Dirty:           112 kB\n";
        let expected = Memory {
            rss_kib: 1700,
            pss_kib: 372,
        };
        assert_eq!(Memory::parse(rollup), Some(expected));
        assert_eq!(Memory::parse("Rss: 1 kB\n"), None);
    }
}
