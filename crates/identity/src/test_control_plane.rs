//! A certificate service on loopback for tests, behind real TLS and real gRPC.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use x509_parser::prelude::FromDer;

use crate::test_authority::{Leaf, TestAuthority};
use crate::{PrivateKey, crypto, pem};

/// What the service answers a request with.
type Answer = dyn Fn(&Call) -> Result<Vec<String>, Status> + Send + Sync;

/// A request as the service saw it.
pub(crate) struct Call {
    pub(crate) metadata: MetadataMap,
    pub(crate) message: IstioCertificateRequest,
}

/// A running service; it ends when dropped.
pub(crate) struct TestControlPlane {
    pub(crate) port: u16,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
    tasks: JoinSet<()>,
}

struct Service {
    answer: Box<Answer>,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let call = Call {
            metadata: request.metadata().clone(),
            message: request.into_inner(),
        };
        let answer = (self.answer)(&call);
        self.calls.lock().push(call);
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: answer?,
        }))
    }
}

impl TestControlPlane {
    /// Serves as `name`, certified by `authority`.
    pub(crate) async fn start(
        authority: &TestAuthority,
        name: &str,
        answer: impl Fn(&Call) -> Result<Vec<String>, Status> + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), authority, name, answer).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        authority: &TestAuthority,
        name: &str,
        answer: impl Fn(&Call) -> Result<Vec<String>, Status> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(server_config(authority, name));
        let calls = Arc::default();
        let service = Service {
            answer: Box::new(answer),
            calls: Arc::clone(&calls),
        };
        let (sender, incoming) = mpsc::channel::<std::io::Result<DuplexStream>>(16);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            Server::builder()
                .add_service(IstioCertificateServiceServer::new(service))
                .serve_with_incoming(ReceiverStream::new(incoming))
                .await
                .unwrap();
        });
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                connections.spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let (mut ours, theirs) = duplex(1 << 16);
                    sender.send(Ok(theirs)).await.unwrap();
                    // Whichever side ends first, the test sees it in its call.
                    let _ = copy_bidirectional(&mut tls, &mut ours).await;
                });
            }
        });
        Self { port, calls, tasks }
    }

    /// Closes the listener and every connection.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn server_config(authority: &TestAuthority, name: &str) -> Arc<ServerConfig> {
    let key = PrivateKey::generate().unwrap();
    let chain = vec![authority.issue(&Leaf::server(name), &key)];
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(
            key.certified(chain).unwrap(),
        )));
    config.alpn_protocols = vec![crypto::ALPN_H2.to_vec()];
    Arc::new(config)
}

/// Signs the key of a request for `id`, as an authority does, and adds the root.
pub(crate) fn sign(authority: &TestAuthority, call: &Call, id: &str) -> Vec<String> {
    let (_, request) = x509_parser::pem::parse_x509_pem(call.message.csr.as_bytes()).unwrap();
    let (_, request) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&request.contents)
            .unwrap();
    let key = request.certification_request_info.subject_pki.raw;
    let key = rcgen::SubjectPublicKeyInfo::from_der(key).unwrap();
    vec![
        pem::write(&authority.issue(&Leaf::of(id), &key)),
        authority.root_pem(),
    ]
}
