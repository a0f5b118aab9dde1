//! What a proxy shows the control plane with every call: its token and its cluster.

use std::fmt;
use std::path::PathBuf;

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, KeyAndValueRef, MetadataMap};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::Error;

#[cfg(test)]
mod tests;

/// Where the bearer token comes from.
#[derive(Clone)]
pub enum Token {
    /// A projected token, read for every call because the kubelet renews it in place.
    File(PathBuf),
    /// The token itself.
    Literal(String),
    /// No authentication by token.
    None,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Literal(_) => f.write_str("Literal(<redacted>)"),
            Self::None => f.write_str("None"),
        }
    }
}

/// Adds `authorization` and `clusterid`, and what headers else were configured, to every call.
#[derive(Clone, Debug)]
pub struct Credentials {
    token: Token,
    cluster_id: AsciiMetadataValue,
    headers: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
}

impl Credentials {
    /// Credentials of a proxy of cluster `cluster_id`.
    pub fn new(token: Token, cluster_id: AsciiMetadataValue) -> Self {
        Self {
            token,
            cluster_id,
            headers: Vec::new(),
        }
    }

    /// Sends `value` as header `name`, too.
    #[must_use]
    pub fn with_header(mut self, name: AsciiMetadataKey, value: AsciiMetadataValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What a call made now has to carry.
    ///
    /// Reading the token's file blocks, for a kilobyte in memory.
    ///
    /// # Errors
    /// [`Error::Token`] when the token cannot be read.
    pub fn metadata(&self) -> Result<MetadataMap, Error> {
        let mut metadata = MetadataMap::new();
        if let Some(token) = self.token()? {
            let mut value =
                AsciiMetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    Error::Token {
                        reason: "it holds characters no token has".to_owned(),
                    }
                })?;
            value.set_sensitive(true);
            metadata.insert("authorization", value);
        }
        metadata.insert("clusterid", self.cluster_id.clone());
        for (name, value) in &self.headers {
            metadata.insert(name.clone(), value.clone());
        }
        Ok(metadata)
    }

    fn token(&self) -> Result<Option<String>, Error> {
        match &self.token {
            Token::File(path) => match std::fs::read_to_string(path) {
                Ok(token) => Ok(Some(token.trim().to_owned())),
                Err(error) => Err(Error::Token {
                    reason: format!("{}: {error}", path.display()),
                }),
            },
            Token::Literal(token) => Ok(Some(token.clone())),
            Token::None => Ok(None),
        }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let own = self
            .metadata()
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        let metadata = request.metadata_mut();
        for entry in own.iter() {
            if let KeyAndValueRef::Ascii(name, value) = entry {
                metadata.insert(name.clone(), value.clone());
            }
        }
        Ok(request)
    }
}
