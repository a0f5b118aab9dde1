//! Serving the local API at a socket file.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::Routes;

/// The longest path that a socket file can have, in bytes (`sun_path`, without its final zero).
pub const LONGEST_PATH: usize = 107;

/// Connections that are open at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A socket that is bound and not served yet.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    routes: Arc<Routes>,
}

impl Server {
    /// Binds the socket file `path`, replacing one that a former process left behind. Nobody but
    /// its owner can ever open it.
    ///
    /// # Errors
    /// The file cannot be made, or its path is too long for a socket.
    pub fn bind(path: &Path, routes: Routes) -> io::Result<Self> {
        // Made under another name first, so that it has its permissions when it appears.
        let draft = path.with_extension("new");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&draft)?;
        fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
        fs::rename(&draft, path)?;
        Ok(Self {
            listener,
            path: path.to_path_buf(),
            routes: Arc::new(routes),
        })
    }

    /// Serves until `stop` is done, then drops what is open and removes the file.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self {
            listener,
            path,
            routes,
        } = self;
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let may_accept = connections.len() < MAX_CONNECTIONS;
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept(), if may_accept => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_connection(stream, routes.clone()));
                    }
                    Err(error) => {
                        // Out of descriptors: give those that are open time to close.
                        tracing::warn!(%error, "a connection to the local API is not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a handler of the local API panicked");
                    }
                }
            }
        }
        connections.shutdown().await;
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(%error, "the socket of the local API was gone already");
        }
    }
}

async fn serve_connection(stream: UnixStream, routes: Arc<Routes>) {
    let service = service_fn(move |request| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the local API went away");
    }
}
