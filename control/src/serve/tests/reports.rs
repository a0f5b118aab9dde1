//! What waypoints say of plugins, over the wire and with the client that they use.

use std::sync::Arc;
use std::time::Duration;

use identity::channel;
use identity::{Credentials, Token};
use proto::cairn::waypoint::PluginReports;
use proto::cairn::waypoint::reports_client::ReportsClient;
use tokio::task::JoinSet;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::service::Interceptor;
use tonic::transport::Channel;
use tonic::{Code, Request};
use xds::client::{BoxError, PluginReport, Reporter, Reports, Stage, Transport};

use super::Control;
use crate::translate::WaypointName;
use crate::translate::reports::Reported;

const LIMIT: Duration = Duration::from_secs(20);

/// Channels as the proxy in one pod opens them.
struct Pod {
    control: Arc<Control>,
    namespace: &'static str,
    name: &'static str,
}

impl Transport for Pod {
    type Channel = Channel;
    type Body = tonic::body::Body;

    async fn connect(&mut self) -> Result<Channel, BoxError> {
        Ok(channel::open(&self.control.plane("localhost"))?)
    }

    async fn metadata(&mut self) -> Result<MetadataMap, BoxError> {
        let token = self.control.mesh.token(self.namespace, self.name);
        let cluster = AsciiMetadataValue::from_static("Kubernetes");
        let mut credentials = Credentials::new(Token::Literal(token), cluster);
        Ok(credentials.call(Request::new(()))?.metadata().clone())
    }
}

/// Waits until what is said is as wanted.
async fn said(control: &Control, wanted: impl Fn(&Reported) -> bool) -> Reported {
    let board = control.server.reports();
    let mut changed = board.changed();
    let look = async {
        loop {
            let (reported, _) = board.read();
            if wanted(&reported) {
                return reported;
            }
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, look).await.unwrap()
}

/// The pods of the waypoint of the fixture, each with the plugins that it speaks of.
fn plugins(reported: &Reported) -> Vec<(String, Vec<String>)> {
    let pods = reported.get(&WaypointName::new("shop", "waypoint"));
    let pods = pods.into_iter().flatten();
    pods.map(|(pod, said)| (pod.to_string(), said.keys().cloned().collect()))
        .collect()
}

#[tokio::test]
async fn a_waypoint_is_heard_as_whom_its_token_says_it_is() {
    let control = Arc::new(Control::start().await);
    let reports = Reports::default();
    reports.set(
        "shop/p",
        PluginReport {
            generation: 3,
            fetched: Stage::no("ImagePullFailed", "404\nnot found"),
            sha256: "no digest".to_owned(),
            ..PluginReport::default()
        },
    );
    let mut tasks = JoinSet::new();
    let pod = Pod {
        control: Arc::clone(&control),
        namespace: "shop",
        name: "waypoint-1",
    };
    let mut client = Reporter::new(pod, reports.clone(), Box::new(|| 0.0));
    tasks.spawn(async move { client.run().await });

    let heard = said(&control, |reported| !plugins(reported).is_empty()).await;
    let of_pod = [("waypoint-1".to_owned(), vec!["shop/p".to_owned()])];
    assert_eq!(plugins(&heard), of_pod);
    let pods = &heard[&WaypointName::new("shop", "waypoint")];
    let of_plugin = &pods["waypoint-1"]["shop/p"];
    let fetched = of_plugin.fetched.as_ref().unwrap();
    assert_eq!(
        (of_plugin.generation, &*fetched.reason),
        (3, "ImagePullFailed")
    );
    assert_eq!(fetched.message, "404 not found", "one line");
    assert_eq!(of_plugin.sha256, "", "only digests are shown as such");

    reports.forget("shop/p");
    reports.set("shop/q", PluginReport::default());
    let of_pod = [("waypoint-1".to_owned(), vec!["shop/q".to_owned()])];
    said(&control, |reported| plugins(reported) == of_pod).await;

    // Whoever does not speak any more is still believed, for a while.
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    let board = control.server.reports();
    let mut changed = board.changed();
    while board.read().1.is_none() {
        tokio::time::timeout(LIMIT, changed.changed())
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(plugins(&board.read().0), of_pod);
}

#[tokio::test]
async fn c_02_nobody_but_a_waypoint_is_heard() {
    let control = Control::start().await;
    for (namespace, pod, code) in [
        ("istio-system", "ztunnel-1", Code::PermissionDenied),
        ("shop", "cart-1", Code::PermissionDenied),
    ] {
        let mut client = ReportsClient::new(control.channel_of(namespace, pod));
        let message = PluginReports {
            complete: true,
            ..PluginReports::default()
        };
        let refused = client
            .report_plugins(tokio_stream::iter([message]))
            .await
            .err()
            .unwrap();
        assert_eq!(refused.code(), code, "{pod}: {refused}");
    }
    assert!(control.server.reports().read().0.is_empty());
}
