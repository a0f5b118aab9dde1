//! `istio_build`: which component this process is, and of which version.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BuildLabels {
    component: &'static str,
    tag: &'static str,
}

/// Registers the gauge; its value is always 1.
pub fn register(registry: &mut Registry, component: &'static str) {
    let build: Family<BuildLabels, Gauge> = Family::default();
    let tag = env!("CARGO_PKG_VERSION");
    build.get_or_create(&BuildLabels { component, tag }).set(1);
    registry.register("build", "Component and version of this process", build);
}
