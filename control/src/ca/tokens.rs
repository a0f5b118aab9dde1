//! Bearer tokens: whose they are, and, on one machine, where they come from.
//!
//! A token is bound to a pod: it is worth nothing once that pod is gone, even if another of the
//! same name takes its place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use tonic::metadata::MetadataMap;
use zeroize::{Zeroize, Zeroizing};

use super::pods::PodLookup;
use super::storage;

#[cfg(test)]
mod tests;

/// Whom the mesh's tokens are for; Istio's name, so that its proxies can come with theirs.
pub const AUDIENCE: &str = "istio-ca";
/// How long a token lives; Istio's charts ask the kubelet for the same.
pub const TOKEN_LIFETIME: Duration = Duration::from_hours(12);

/// Who issues the tokens of one machine; a Kubernetes API server's usual name.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Longer texts are no tokens.
const MAX_TOKEN: usize = 16 << 10;
const KEY: &str = "token-key.pem";

/// A service account by namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ServiceAccount {
    /// The account `name` of `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for ServiceAccount {
    type Err = InvalidServiceAccount;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self::new(namespace, name))
            }
            _ => Err(InvalidServiceAccount(text.to_owned())),
        }
    }
}

/// A text that names no service account.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` names no service account; write namespace/name")]
pub struct InvalidServiceAccount(String);

/// One pod of a name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PodRef {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Whose a token is, once that is sure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authenticated {
    /// The account.
    pub account: ServiceAccount,
    /// The pod the token is bound to.
    pub pod: PodRef,
    /// The pod's node.
    pub node: Option<Arc<str>>,
    /// When the token ceases to be valid.
    pub expires: SystemTime,
}

/// Why a token is refused; for the log, never for the caller.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("no bearer token was sent")]
    Missing,
    /// It is forged, expired, for others, or not a token.
    #[error("the token is invalid")]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// The account it names does not fit the rest of it.
    #[error("the token's subject does not fit its pod")]
    Subject,
    /// Its pod is gone, or is not the one it was issued to.
    #[error("the token's pod {namespace}/{name} is gone or another one now")]
    Pod {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        name: String,
    },
    /// Another reviewer's reason.
    #[error("the token was not accepted: {0}")]
    Review(String),
}

/// Says whose a token is. The shape of Kubernetes' TokenReview.
#[tonic::async_trait]
pub trait TokenReviewer: Send + Sync + 'static {
    /// Answers for a token that must have been issued for `audience`.
    async fn review(&self, token: &BearerToken, audience: &str) -> Result<Authenticated, Refused>;
}

/// A token as it came; shows itself to nobody.
#[derive(Clone)]
pub struct BearerToken(Arc<str>);

impl BearerToken {
    /// The token of a request's `authorization` header.
    ///
    /// # Errors
    /// [`Refused::Missing`] when there is none, or it is of another scheme or absurdly long.
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Self, Refused> {
        let header = metadata
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let (scheme, token) = header
            .and_then(|text| text.split_once(' '))
            .ok_or(Refused::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > MAX_TOKEN {
            return Err(Refused::Missing);
        }
        Ok(Self(token.trim().into()))
    }

    /// The text, for whoever reviews it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for BearerToken {
    fn from(token: &str) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(<redacted>)")
    }
}

/// Whom a token is issued to.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The account the pod runs as.
    pub account: ServiceAccount,
    /// The pod.
    pub pod: PodRef,
    /// Its node.
    pub node: String,
}

/// A token that was issued.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub token: BearerToken,
    /// When it ceases to be valid.
    pub expires: SystemTime,
}

/// Why no token could be issued or kept.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key file cannot be read or written.
    #[error("the token key {path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The key is none, or cannot be made.
    #[error("the token key is unusable")]
    Key(#[from] rcgen::Error),
    /// The token could not be signed.
    #[error("the token could not be signed")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// Issues tokens as a kubelet would project them, and recognises them.
pub struct LocalTokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    pods: Arc<dyn PodLookup>,
}

/// The body of a token. Source: Kubernetes' bound service account tokens.
#[derive(Deserialize, Serialize)]
struct Claims {
    aud: Vec<String>,
    exp: u64,
    iat: u64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Binding,
    nbf: u64,
    sub: String,
}

/// What a token is bound to.
#[derive(Deserialize, Serialize)]
struct Binding {
    namespace: String,
    node: Option<Named>,
    pod: PodRef,
    serviceaccount: Named,
}

#[derive(Deserialize, Serialize)]
struct Named {
    name: String,
}

impl LocalTokens {
    /// Takes the key in `folder`, or makes one and puts it there, readable by its owner alone.
    ///
    /// # Errors
    /// When the key cannot be read, made or kept.
    pub fn open(folder: &Path, pods: Arc<dyn PodLookup>) -> Result<Self, TokenError> {
        let path = folder.join(KEY);
        let file = |source| TokenError::File {
            path: path.clone(),
            source,
        };
        let pem = match std::fs::read_to_string(&path) {
            Ok(pem) => Zeroizing::new(pem),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pem = Zeroizing::new(new_key()?);
                storage::create_folder(folder).map_err(file)?;
                storage::write(&path, storage::PRIVATE, &pem).map_err(file)?;
                pem
            }
            Err(error) => return Err(file(error)),
        };
        let mut pair = KeyPair::from_pem(&pem)?;
        let public = pair.public_key_pem();
        pair.zeroize();
        Ok(Self {
            signing: EncodingKey::from_ec_pem(pem.as_bytes())?,
            verifying: DecodingKey::from_ec_pem(public.as_bytes())?,
            pods,
        })
    }

    /// Issues a token for `audience` that lives [`TOKEN_LIFETIME`].
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, subject: &Subject, audience: &str) -> Result<Token, TokenError> {
        let now = SystemTime::now();
        let expires = now + TOKEN_LIFETIME;
        let account = &subject.account;
        let claims = Claims {
            aud: vec![audience.to_owned()],
            exp: seconds(expires),
            iat: seconds(now),
            iss: ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Binding {
                namespace: account.namespace.to_string(),
                node: Some(Named {
                    name: subject.node.clone(),
                }),
                pod: subject.pod.clone(),
                serviceaccount: Named {
                    name: account.name.to_string(),
                },
            },
            nbf: seconds(now),
            sub: sub(account),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.signing)?;
        Ok(Token {
            token: token.as_str().into(),
            expires,
        })
    }

    fn authenticate(&self, token: &str, audience: &str) -> Result<Authenticated, Refused> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["aud", "exp", "iss", "nbf", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation)?.claims;
        let Binding {
            namespace,
            node,
            pod,
            serviceaccount,
        } = claims.kubernetes;
        let account = ServiceAccount::new(&namespace, &serviceaccount.name);
        if claims.sub != sub(&account) {
            return Err(Refused::Subject);
        }
        let node = node.map(|node| node.name);
        let live = self.pods.pod(&namespace, &pod.name).filter(|live| {
            *live.uid == *pod.uid
                && live.service_account == account.name
                && (node.is_none() || live.node.as_deref() == node.as_deref())
        });
        let Some(live) = live else {
            return Err(Refused::Pod {
                namespace,
                name: pod.name,
            });
        };
        let expires = UNIX_EPOCH + Duration::from_secs(claims.exp);
        Ok(Authenticated {
            account,
            pod,
            node: live.node,
            expires,
        })
    }
}

#[tonic::async_trait]
impl TokenReviewer for LocalTokens {
    async fn review(&self, token: &BearerToken, audience: &str) -> Result<Authenticated, Refused> {
        self.authenticate(token.expose(), audience)
    }
}

impl fmt::Debug for LocalTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalTokens")
    }
}

/// A P-256 key as PEM.
fn new_key() -> Result<String, rcgen::Error> {
    let mut pair = KeyPair::generate()?;
    let pem = pair.serialize_pem();
    pair.zeroize();
    Ok(pem)
}

fn sub(account: &ServiceAccount) -> String {
    format!(
        "system:serviceaccount:{}:{}",
        account.namespace, account.name
    )
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
