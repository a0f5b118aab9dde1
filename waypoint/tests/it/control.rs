//! An xDS server over TLS that serves what a test puts into it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message;
use proto::envoy::config::core::v3::Node;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Extensions, Status, metadata::MetadataMap};
use xds::server::{Answer, Catalog, Embedder, Entry, Grant, Holding, Limits, Rejection, Server};

use crate::authority::Authority;

/// The control plane of one mesh.
pub(crate) struct Control {
    pub(crate) address: SocketAddr,
    catalog: Arc<Catalog>,
    server: Server<Everything>,
    rejected: tokio::sync::Mutex<mpsc::UnboundedReceiver<Rejection>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Control {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test owns these tasks and ends them"
    )]
    pub(crate) async fn start(authority: &Authority) -> Self {
        let catalog = Catalog::new();
        let (told, rejected) = mpsc::unbounded_channel();
        let embedder = Everything {
            catalog: Arc::clone(&catalog),
            told,
        };
        let server = Server::new(embedder, waypoint::state::TYPES, Limits::default());
        let service = server.service();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, incoming) = mpsc::unbounded_channel::<io::Result<Connection>>();
        let acceptor = acceptor(authority);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = connections.send(Ok(Connection(stream)));
                }
            }
        });
        let serving = tokio::spawn(async move {
            let incoming = UnboundedReceiverStream::new(incoming);
            let server = tonic::transport::Server::builder().add_service(service);
            Box::pin(server.serve_with_incoming(incoming))
                .await
                .unwrap();
        });
        let rejected = tokio::sync::Mutex::new(rejected);
        Self {
            address,
            catalog,
            server,
            rejected,
            tasks: vec![accepting, serving],
        }
    }

    /// Adds or replaces a resource.
    pub(crate) fn put(&self, type_url: &str, name: &str, message: &impl Message) {
        self.catalog.edit(|snapshot| {
            snapshot
                .resources_mut(type_url)
                .put(name, Entry::encode(message));
        });
    }

    pub(crate) fn remove(&self, type_url: &str, name: &str) {
        self.catalog.edit(|snapshot| {
            snapshot.resources_mut(type_url).remove(name);
        });
    }

    /// Ends it, streams included.
    pub(crate) fn stop(&self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// What the waypoint rejected next.
    pub(crate) async fn rejection(&self) -> Rejection {
        self.rejected.lock().await.recv().await.unwrap()
    }

    /// What the waypoint refuses now, `name: reason`.
    pub(crate) fn refused(&self) -> Vec<String> {
        let clients = self.server.clients();
        let holdings = clients.iter().flat_map(|client| client.holdings.values());
        holdings
            .flat_map(Holding::rejected)
            .map(|rejected| format!("{}: {}", rejected.name, rejected.reason))
            .collect()
    }
}

struct Everything {
    catalog: Arc<Catalog>,
    told: mpsc::UnboundedSender<Rejection>,
}

impl Embedder for Everything {
    type Peer = ();

    async fn authenticate(
        &self,
        _metadata: &MetadataMap,
        _connection: &Extensions,
    ) -> Result<Grant<()>, Status> {
        Ok(Grant {
            peer: (),
            recheck_at: None,
        })
    }

    fn view(&self, _peer: &(), _type_url: &str, _node: &Node) -> Option<Arc<Catalog>> {
        Some(Arc::clone(&self.catalog))
    }

    fn answered(&self, _peer: &(), answer: &Answer) {
        for rejection in &answer.rejected {
            let _ = self.told.send(rejection.clone());
        }
    }
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (certificate, key) = authority.server("localhost");
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(identity::crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// A TLS connection, as tonic takes it.
struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
