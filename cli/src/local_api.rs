//! The client of control's local API: HTTP over the Unix socket in the mesh's state folder.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use control::finding::Finding;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::UnixStream, time::timeout};

/// Control answers from memory; one that takes longer is stuck.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer taken.
const ANSWER_MAX: usize = 64 << 20;

/// Why control gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers on the socket.
    #[error("control does not answer on {socket}", socket = socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Control refused.
    #[error("{}", refusal(*status, path, text))]
    Refused {
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// The answer cannot be understood.
    #[error("control's answer to {path} cannot be understood")]
    Unreadable {
        /// What was asked for.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Control words what is wrong with a request; what is wrong with control needs our words.
fn refusal(status: StatusCode, path: &str, text: &str) -> String {
    if status.is_client_error() && !text.is_empty() {
        return text.to_owned();
    }
    let status = status.as_u16();
    format!("control answers {path} with status {status}: {text}")
}

/// Which objects are asked for. Empty means all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObjectQuery {
    /// The kind, in any form kubectl knows.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Who a token is for and what it is bound to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest {
    /// The pod's namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The node it is on.
    pub node: String,
    /// Who will check it.
    pub audience: String,
    /// How long it is wanted for.
    pub expiration_seconds: u64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
}

/// Whether the proxies have what they need.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct Readiness {
    /// Whether all of it has arrived.
    pub ready: bool,
    /// What has not, in words.
    #[serde(default)]
    pub waiting: Vec<String>,
}

/// Control's local API.
#[derive(Clone, Debug)]
pub struct LocalApi {
    socket: PathBuf,
}

impl LocalApi {
    /// The API on `socket`; nothing is opened yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The objects that match, whole, with their status.
    pub async fn objects(&self, query: &ObjectQuery) -> Result<Vec<Value>, Error> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let ObjectQuery {
            kind,
            namespace,
            name,
        } = query;
        let pairs = [("kind", kind), ("namespace", namespace), ("name", name)].into_iter();
        let pairs = pairs.filter(|(_, value)| !value.is_empty());
        let words: Vec<String> = pairs
            .map(|(key, value)| format!("{key}={}", encode(value)))
            .collect();
        let answer: Value = self
            .ask(Method::GET, &format!("/objects?{}", words.join("&")), None)
            .await?;
        Ok(match answer {
            Value::Array(items) => items,
            Value::Object(mut list) if list.contains_key("items") => match list.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            Value::Null => Vec::new(),
            one => vec![one],
        })
    }

    /// What is wrong with the objects.
    pub async fn findings(&self) -> Result<Vec<Finding>, Error> {
        self.ask(Method::GET, "/findings", None).await
    }

    /// Whether everything has reached the proxies.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        match self.ask(Method::GET, "/readiness", None).await {
            // Not ready is an answer.
            Err(Error::Refused {
                path,
                status: StatusCode::SERVICE_UNAVAILABLE,
                text,
            }) => serde_json::from_str(&text).map_err(|source| Error::Unreadable { path, source }),
            other => other,
        }
    }

    /// A token for a pod.
    pub async fn token(&self, request: &TokenRequest) -> Result<String, Error> {
        let path = "/token";
        let body = serde_json::to_vec(request).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let answer: TokenAnswer = self.ask(Method::POST, path, Some(body)).await?;
        Ok(answer.token)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, Error> {
        // Boxed: who asks now and then does not keep room for a connection of hyper's.
        let exchange = Box::pin(self.exchange(method, path, body));
        let exchange = timeout(DEADLINE, exchange).await;
        let unreachable = |source| Error::Unreachable {
            socket: self.socket.clone(),
            source,
        };
        let (status, bytes) = exchange
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(unreachable)?;
        let path = path.to_owned();
        if !status.is_success() {
            // Control words its refusals as `{"error": …}`.
            let said: Option<Value> = serde_json::from_slice(&bytes).ok();
            let worded = said.as_ref().and_then(|said| said.get("error")?.as_str());
            let text = worded.map_or_else(
                || String::from_utf8_lossy(&bytes).trim().to_owned(),
                str::to_owned,
            );
            return Err(Error::Refused { path, status, text });
        }
        serde_json::from_slice(&bytes).map_err(|source| Error::Unreadable { path, source })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> io::Result<(StatusCode, Bytes)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "control");
        request = request.header(http::header::CONNECTION, "close");
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(io::Error::other)?;
        let answer = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(io::Error::other)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX)
                .collect()
                .await
                .map_err(io::Error::other)?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(connection, answer);
        tokio::select! {
            done = &mut answer => done,
            ended = &mut connection => {
                ended.map_err(io::Error::other)?;
                // All of the answer is already here.
                answer.await
            }
        }
    }
}

#[cfg(test)]
mod tests;
