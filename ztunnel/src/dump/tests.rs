use mesh::service::Service;
use mesh::store::Store;
use mesh::workload::Workload;
use proto::workload as wire;
use serde_json::json;

fn sample() -> Store {
    let mut store = Store::default();
    let service = wire::Service {
        name: "echo".into(),
        namespace: "app".into(),
        hostname: "echo.app.svc.cluster.local".into(),
        addresses: vec![wire::NetworkAddress {
            address: bytes::Bytes::from_static(&[10, 96, 119, 254]),
            ..Default::default()
        }],
        ports: vec![wire::Port {
            service_port: 80,
            target_port: 8080,
            app_protocol: 0,
        }],
        canonical: true,
        ..Default::default()
    };
    store.upsert_service(Service::try_from(service).unwrap());
    let mut pod = wire::Workload {
        uid: "Kubernetes//Pod/app/echo-1".into(),
        name: "echo-1".into(),
        namespace: "app".into(),
        addresses: vec![bytes::Bytes::from_static(&[10, 244, 1, 5])],
        tunnel_protocol: wire::TunnelProtocol::Hbone.into(),
        workload_type: wire::WorkloadType::Pod.into(),
        workload_name: "echo".into(),
        canonical_name: "echo".into(),
        canonical_revision: "latest".into(),
        node: "n1".into(),
        ..Default::default()
    };
    let ports = vec![wire::Port {
        service_port: 80,
        target_port: 8080,
        app_protocol: 0,
    }];
    pod.services.insert(
        "app/echo.app.svc.cluster.local".into(),
        wire::PortList { ports },
    );
    store.upsert_workload(Workload::try_from(pod).unwrap());
    store
}

#[test]
fn keys_and_shapes_are_those_tools_read() {
    let dump = super::store(&sample());
    assert_eq!(
        dump["services"],
        json!([{
            "name": "echo",
            "namespace": "app",
            "hostname": "echo.app.svc.cluster.local",
            "vips": ["/10.96.119.254"],
            "ports": {"80": 8080},
            "endpoints": {"Kubernetes//Pod/app/echo-1": {
                "workloadUid": "Kubernetes//Pod/app/echo-1",
                "port": {"80": 8080},
                "status": "Healthy",
            }},
            "subjectAltNames": [],
            "canonical": true,
            "visibility": "Public",
        }])
    );
    assert_eq!(
        dump["workloads"],
        json!([{
            "workloadIps": ["10.244.1.5"],
            "protocol": "HBONE",
            "networkMode": "Standard",
            "uid": "Kubernetes//Pod/app/echo-1",
            "name": "echo-1",
            "namespace": "app",
            "trustDomain": "cluster.local",
            "serviceAccount": "default",
            "workloadName": "echo",
            "workloadType": "pod",
            "canonicalName": "echo",
            "canonicalRevision": "latest",
            "node": "n1",
            "status": "Healthy",
            "clusterId": "Kubernetes",
            "services": ["app/echo.app.svc.cluster.local"],
            "capacity": 1,
        }])
    );
}
