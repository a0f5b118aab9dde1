//! The waypoint that filters are tried in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use waypoint::local::{FailStrategy, Plugin, Service, Settings, Trace};

use super::build;
use super::project::Project;

/// The namespace that filters are tried in.
const NAMESPACE: &str = "default";

/// A module and how it is used.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name in logs.
    pub name: String,
    /// Where it is.
    pub module: PathBuf,
    /// What it is configured with.
    pub configuration: Vec<u8>,
    /// Chooses among several filters of the module.
    pub root_id: String,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Whether it gets the body after it stopped at headers.
    pub body_while_headers_wait: bool,
}

impl Subject {
    /// A project's filter, as its module is now.
    pub fn of(project: &Project) -> Self {
        Self {
            name: project.name.clone(),
            module: project.output.clone(),
            configuration: project.configuration.clone(),
            root_id: project.root_id.clone(),
            environment: project.environment.clone(),
            body_while_headers_wait: project.body_while_headers_wait,
        }
    }

    /// A module that belongs to no project.
    pub fn file(module: PathBuf) -> Self {
        let name = module.file_stem().unwrap_or_default();
        Self {
            name: name.to_string_lossy().into_owned(),
            module,
            configuration: vec![],
            root_id: String::new(),
            environment: BTreeMap::new(),
            body_while_headers_wait: false,
        }
    }

    /// The plugin a `WasmPlugin` would make of it.
    pub fn plugin(&self, fail_strategy: FailStrategy) -> Plugin {
        Plugin {
            name: self.name.clone(),
            namespace: NAMESPACE.to_owned(),
            module: self.module.clone(),
            configuration: self.configuration.clone(),
            root_id: self.root_id.clone(),
            environment: self.environment.clone(),
            body_while_headers_wait: self.body_while_headers_wait,
            fail_strategy,
            callback_budget: None,
        }
    }
}

/// Settings of a waypoint before a server.
pub fn settings(upstream: SocketAddr, trace: Option<Trace>) -> Settings {
    let service = Service {
        host: "demo.default.svc.cluster.local".to_owned(),
        port: 80,
        address: upstream,
    };
    Settings {
        trace,
        code_cache: build::cache().map(|cache| cache.join("filter-code")),
        ..Settings::new(service)
    }
}

/// Metrics by name, summed over their labels; of those whose line passes `keep`.
pub fn metrics(text: &str, keep: impl Fn(&str) -> bool) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && keep(line))
    {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = series.split('{').next().unwrap_or(series);
        let value: f64 = value.parse().unwrap_or_default();
        *sums.entry(name.to_owned()).or_default() += value;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_labels() {
        let text = "# TYPE a counter\na_total{x=\"1\"} 2\na_total{x=\"2 3\"} 3\nb 1.5\n# EOF\n";
        let all = metrics(text, |_| true);
        assert_eq!(
            all,
            BTreeMap::from([("a_total".into(), 5.0), ("b".into(), 1.5)])
        );
        assert_eq!(metrics(text, |line| line.starts_with('b')).len(), 1);
    }
}
