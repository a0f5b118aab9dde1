//! What waypoints say of plugins, as translation is told it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::cairn::waypoint::PluginReport;

use super::resources::WaypointName;

/// The latest word of one pod on each plugin, by the name of the resource.
pub type Said = BTreeMap<String, Arc<PluginReport>>;

/// By waypoint and by the name of its pod. A waypoint without any pod is not here: nobody is
/// connected.
pub type Reported = BTreeMap<WaypointName, BTreeMap<Arc<str>, Arc<Said>>>;
