//! What guests can ask about the waypoint itself: Istio's node metadata, from our own pod.

use std::borrow::Cow;

use prost::Message as _;
use prost_types::Struct;
use proto::envoy::config::core::v3::Node;
use wasm_host::Value;

use crate::config::Place;

/// The waypoint as guests see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeFacts {
    id: String,
    cluster: String,
    metadata: Vec<(&'static str, String)>,
    /// All of it as a serialised `envoy.config.core.v3.Node`.
    message: Vec<u8>,
}

impl NodeFacts {
    /// Describes the waypoint at a place.
    pub(crate) fn of(place: &Place) -> Self {
        let Place {
            pod,
            namespace,
            gateway,
            service_account,
            cluster_id,
            network,
            node,
            instance_ip,
            ..
        } = place;
        let owner =
            format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{gateway}");
        let metadata = [
            ("NAME", pod.to_string()),
            ("NAMESPACE", namespace.to_string()),
            ("WORKLOAD_NAME", gateway.to_string()),
            ("OWNER", owner),
            ("CLUSTER_ID", cluster_id.to_string()),
            ("MESH_ID", place.trust_domain.to_string()),
            ("NETWORK", network.to_string()),
            ("SERVICE_ACCOUNT", service_account.to_string()),
            ("INSTANCE_IPS", instance_ip.to_string()),
            ("NODE_NAME", node.to_string()),
            ("ISTIO_VERSION", env!("CARGO_PKG_VERSION").to_owned()),
            ("INTERCEPTION_MODE", "NONE".to_owned()),
        ];
        let id = format!("waypoint~{instance_ip}~{pod}.{namespace}~{namespace}.svc.cluster.local");
        let cluster = format!("{gateway}.{namespace}");
        let message = Node {
            id: id.clone(),
            cluster: cluster.clone(),
            metadata: Some(fields(&metadata)),
            ..Node::default()
        };
        Self {
            id,
            cluster,
            metadata: metadata.into(),
            message: message.encode_to_vec(),
        }
    }

    /// Answers paths of Envoy's `xds.node`, and the older `node`.
    pub(crate) fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        let path = path.strip_prefix(&["xds"]).unwrap_or(path);
        Some(match path.strip_prefix(&["node"])? {
            [] => self.message.as_slice().into(),
            ["id"] => self.id.as_str().into(),
            ["cluster"] => self.cluster.as_str().into(),
            ["metadata"] => {
                let entries = self.metadata.iter();
                let bytes = |text: &'static str| Cow::Borrowed(text.as_bytes());
                Value::Map(
                    entries
                        .map(|(name, value)| (bytes(name), Cow::Borrowed(value.as_bytes())))
                        .collect(),
                )
            }
            [
                "metadata",
                "LABELS",
                "gateway.networking.k8s.io/gateway-name",
            ] => self.find("WORKLOAD_NAME")?.into(),
            ["metadata", name] => self.find(name)?.into(),
            _ => return None,
        })
    }

    fn find(&self, name: &str) -> Option<&str> {
        let mut metadata = self.metadata.iter();
        metadata
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

fn fields(metadata: &[(&'static str, String)]) -> Struct {
    let text = |value: &String| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(value.clone())),
    };
    let fields = metadata.iter();
    Struct {
        fields: fields
            .map(|(name, value)| ((*name).to_owned(), text(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use wasm_host::Value;

    use super::NodeFacts;

    #[test]
    fn filters_of_istio_find_the_waypoint_where_they_look() {
        let place = crate::fixtures::place();
        let node = NodeFacts::of(&place);
        let expected: &str = &place.namespace;
        for path in [
            &["node", "metadata", "NAMESPACE"][..],
            &["xds", "node", "metadata", "NAMESPACE"],
        ] {
            assert_eq!(node.property(path), Some(Value::from(expected)));
        }
        assert_eq!(node.property(&["node", "metadata", "X"]), None);
        assert_eq!(node.property(&["request", "path"]), None);
    }
}
