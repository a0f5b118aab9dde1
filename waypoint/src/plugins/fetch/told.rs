//! What the control plane hears of plugins, for the status of their objects.

use modules::{Module, Reference};
use xds::client::{PluginReport, Stage};

use super::Failure;
use crate::plugins::Standings;
use crate::state::{Effect, Load};

/// Says what becomes of modules.
#[derive(Clone, Debug)]
pub(super) struct Told(Standings);

impl Told {
    pub(super) fn new(standings: Standings) -> Self {
        Self(standings)
    }

    /// The module is here; whether it runs is not known yet.
    pub(super) fn fetched(&self, load: &Load, reference: &Reference, module: &Module) {
        let url = match (reference, module.manifest) {
            (Reference::Image(image), Some(manifest)) => {
                let (host, name) = (&image.registry, &image.repository);
                format!("oci://{host}/{name}@{manifest}")
            }
            _ => reference.to_string(),
        };
        let digest = module.sha256.hex();
        let how = if module.is_cached {
            "It was fetched before"
        } else {
            "It was fetched"
        };
        let message = format!("{how} from {url}; its sha256 is {digest}");
        self.update(load, |report| {
            report.url = url;
            report.fetched = Stage::yes("Fetched", message);
            report.programmed = Stage::pending("It is being compiled");
        });
    }

    /// It serves traffic.
    pub(super) fn runs(&self, load: &Load, sha256: &str) {
        let generation = load.plugin.origin.generation;
        self.update(load, |report| {
            sha256.clone_into(&mut report.sha256);
            report.serving = generation;
            report.programmed = Stage::yes("Programmed", "");
        });
    }

    /// It cannot run. What ran before, if anything, still does.
    pub(super) fn fails(&self, load: &Load, failure: &Failure, effect: Effect) {
        let why = format!("{}, {effect}", failure.why());
        self.update(load, |report| match failure {
            Failure::Unread("Pending", _) if report.fetched.is == Some(true) => {
                report.programmed = Stage::pending(why);
            }
            Failure::Unread("Pending", _) => {
                report.fetched = Stage::pending(why.clone());
                report.programmed = Stage::pending(why);
            }
            Failure::Unread(reason, _) => {
                report.fetched = Stage::no(*reason, why.clone());
                report.programmed = Stage::no("ModuleNotFetched", why);
            }
            Failure::Final(reason, _) if is_of_fetching(reason) => {
                report.fetched = Stage::no(*reason, why.clone());
                report.programmed = Stage::no("ModuleNotFetched", why);
            }
            Failure::Final(reason, _) | Failure::Unusable(reason, _, _) => {
                report.programmed = Stage::no(*reason, why);
            }
        });
    }

    /// Changes what is said of a plugin; of another generation, everything is said anew.
    fn update(&self, load: &Load, change: impl FnOnce(&mut PluginReport)) {
        let generation = load.plugin.origin.generation;
        self.0.loader(&load.name, |report| {
            if report.generation > generation {
                // A newer version has been asked for meanwhile.
                return;
            }
            if report.generation < generation {
                *report = PluginReport {
                    generation,
                    // What served traffic still does.
                    sha256: std::mem::take(&mut report.sha256),
                    healthy: std::mem::take(&mut report.healthy),
                    serving: report.serving,
                    stops: report.stops,
                    ..PluginReport::default()
                };
            }
            change(report);
        });
    }
}

fn is_of_fetching(reason: &str) -> bool {
    matches!(
        reason,
        "ImagePullFailed" | "InvalidURL" | "InvalidDigest" | "InvalidPullSecret"
    )
}
