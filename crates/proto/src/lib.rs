//! Messages on the wire: the same packages, names and field numbers as upstream, and our own
//! `cairn.waypoint.v1`.
//!
//! Must never hold behaviour or conversions; those are `mesh`'s. The Rust below `gen/` is
//! generated from `proto/` by `cargo xtask gen` and committed, so that no build needs a compiler
//! for protocol buffers; a test of `xtask` fails when it is stale.

/// Istio's messages.
pub mod istio {
    /// Workload discovery.
    #[expect(
        clippy::large_enum_variant,
        reason = "an `Address` is taken apart as soon as it is decoded"
    )]
    pub mod workload {
        include!("gen/istio.workload.rs");
        /// Node agent to ztunnel.
        pub mod zds {
            include!("gen/istio.workload.zds.rs");
        }
    }
    /// L4 authorization.
    pub mod security {
        include!("gen/istio.security.rs");
    }
    /// The certificate authority.
    pub mod ca {
        include!("gen/istio.v1.auth.rs");
    }
}

/// Envoy's messages, as far as delta discovery needs them.
pub mod envoy {
    /// `envoy.config`.
    pub mod config {
        /// `envoy.config.core`.
        pub mod core {
            /// `envoy.config.core.v3`.
            pub mod v3 {
                include!("gen/envoy.config.core.v3.rs");
            }
        }
    }
    /// `envoy.service`.
    pub mod service {
        /// `envoy.service.discovery`.
        pub mod discovery {
            /// `envoy.service.discovery.v3`.
            pub mod v3 {
                include!("gen/envoy.service.discovery.v3.rs");
            }
        }
    }
}

/// Google's messages.
pub mod google {
    /// `google.rpc`.
    pub mod rpc {
        include!("gen/google.rpc.rs");
    }
}

/// Our own messages.
pub mod cairn {
    /// What a waypoint is told beyond workload discovery.
    pub mod waypoint {
        include!("gen/cairn.waypoint.v1.rs");

        /// Says that there are credentials, and not which.
        impl std::fmt::Debug for PullSecret {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("PullSecret(hidden)")
            }
        }
    }
}

pub use envoy::service::discovery::v3 as discovery;
pub use istio::{ca, security, workload, workload::zds};

/// Type URL of [`workload::Address`].
pub const ADDRESS_TYPE: &str = "type.googleapis.com/istio.workload.Address";
/// Type URL of [`security::Authorization`].
pub const AUTHORIZATION_TYPE: &str = "type.googleapis.com/istio.security.Authorization";
/// Type URL of [`cairn::waypoint::Route`].
pub const ROUTE_TYPE: &str = "type.googleapis.com/cairn.waypoint.v1.Route";
/// Type URL of [`cairn::waypoint::Policy`].
pub const POLICY_TYPE: &str = "type.googleapis.com/cairn.waypoint.v1.Policy";
/// Type URL of [`cairn::waypoint::Plugin`].
pub const PLUGIN_TYPE: &str = "type.googleapis.com/cairn.waypoint.v1.Plugin";
