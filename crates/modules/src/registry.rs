//! One repository of one registry: finds out how it is spoken to, and shows it credentials.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use crate::auth::{self, Asked, Challenge};
use crate::credentials::{Credentials, Login};
use crate::dial::{Failed, Reach, is_loopback};
use crate::error::{Error, Phase, Result};
use crate::http::{Answer, Call, Web, header_value};
use crate::manifest::{self, Manifest};
use crate::settings::Settings;
use crate::{Digest, Image};

/// What is to be done with a repository.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Pull,
    Push,
}

/// A repository.
pub(crate) struct Registry<'a> {
    web: &'a Web,
    settings: &'a Settings,
    image: &'a Image,
    login: Option<&'a Login>,
    purpose: Purpose,
    /// Where it is, once it has answered.
    base: Option<Url>,
    authorization: Option<HeaderValue>,
}

/// A manifest, and what it was.
pub(crate) struct Found {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
}

/// A request to a repository.
pub(crate) struct Step<'a> {
    pub(crate) method: Method,
    /// Behind the name of the repository, or the URL the registry gave.
    pub(crate) path: Path<'a>,
    pub(crate) headers: &'a [(HeaderName, String)],
    pub(crate) body: Bytes,
    pub(crate) phase: Phase,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Name(&'a str),
    Given(&'a Url),
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        web: &'a Web,
        settings: &'a Settings,
        image: &'a Image,
        credentials: &'a Credentials,
        purpose: Purpose,
    ) -> Self {
        let repository = &image.repository;
        let login = credentials
            .login(&image.registry, repository)
            // On Docker Hub `library/` is written by nobody.
            .or_else(|| credentials.login(&image.registry, repository.strip_prefix("library/")?));
        Self {
            web,
            settings,
            image,
            login,
            purpose,
            base: None,
            authorization: None,
        }
    }

    /// Reads a manifest, by tag or digest.
    pub(crate) async fn manifest(&mut self, version: &str) -> Result<Found> {
        let path = format!("manifests/{version}");
        let accept = manifest::ACCEPTED.join(", ");
        let step = Step {
            method: Method::GET,
            path: Path::Name(&path),
            headers: &[(ACCEPT, accept)],
            body: Bytes::new(),
            phase: Phase::Manifest,
        };
        let answer = self.call(&step).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refused(&format!("the manifest {version}")).await);
        }
        let told = answer
            .header("docker-content-digest")
            .and_then(Digest::parse);
        let (bytes, digest) = answer.read(manifest::LARGEST).await?;
        let wanted = version
            .contains(':')
            .then(|| Digest::parse(version))
            .flatten();
        for other in told.iter().chain(&wanted) {
            if *other != digest {
                let why = format!("the manifest that was sent has {digest} and must have {other}");
                return Err(Error::new(Phase::Verify, why));
            }
        }
        let manifest = manifest::parse(&bytes).map_err(|why| Error::new(Phase::Manifest, why))?;
        Ok(Found { digest, manifest })
    }

    /// Reads a blob of up to `limit` bytes.
    pub(crate) async fn blob(&mut self, digest: Digest, limit: u64) -> Result<Vec<u8>> {
        let path = format!("blobs/{digest}");
        let step = Step {
            method: Method::GET,
            path: Path::Name(&path),
            headers: &[],
            body: Bytes::new(),
            phase: Phase::Blob,
        };
        let answer = self.call(&step).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refused(&format!("the layer {digest}")).await);
        }
        let (bytes, found) = answer.read(limit).await?;
        if found != digest {
            let why = format!("the layer that was sent has {found} and must have {digest}");
            return Err(Error::new(Phase::Verify, why));
        }
        Ok(bytes)
    }

    /// Sends a request, and shows credentials when they are asked for.
    pub(crate) async fn call(&mut self, step: &Step<'_>) -> Result<Answer> {
        let answer = self.send(step).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        // The answer may be that of another host, which then asks for nothing of ours.
        let is_own = self
            .base
            .as_ref()
            .is_some_and(|base| crate::http::is_same_origin(base, &answer.url));
        let challenge = auth::challenge(&answer.headers).filter(|_| is_own);
        let Some(challenge) = challenge else {
            return Ok(answer);
        };
        let Some(authorization) = self.authorize(&challenge).await? else {
            return Ok(answer);
        };
        self.authorization = Some(authorization);
        self.send(step).await
    }

    async fn authorize(&self, challenge: &Challenge) -> Result<Option<HeaderValue>> {
        match challenge {
            Challenge::Basic => {
                let basic = self.login.and_then(Login::basic);
                basic.map(|basic| header_value(&basic)).transpose()
            }
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let Some(registry) = &self.base else {
                    return Ok(None);
                };
                let actions = match self.purpose {
                    Purpose::Pull => "pull",
                    Purpose::Push => "pull,push",
                };
                let own_scope = format!("repository:{}:{actions}", self.image.repository);
                let host = registry.host_str().unwrap_or_default();
                let allowed = self.settings.auth_hosts.get(host);
                let asked = Asked {
                    registry,
                    auth_hosts: allowed.map(Vec::as_slice).unwrap_or_default(),
                    scope: &own_scope,
                    reach: reach(registry),
                };
                let challenge = (realm.as_str(), service.as_deref(), scope.as_deref());
                let token = asked.token(self.web, challenge, self.login);
                Box::pin(token).await.map(Some)
            }
        }
    }

    async fn send(&mut self, step: &Step<'_>) -> Result<Answer> {
        if let Some(base) = self.base.clone() {
            return Ok(self.send_to(&base, step).await?);
        }
        let secure = self.base_url("https")?;
        let failed = match self.send_to(&secure, step).await {
            Ok(answer) => {
                self.base = Some(secure);
                return Ok(answer);
            }
            Err(failed) => failed,
        };
        let plain = self.base_url("http")?;
        let is_worth_it = match failed {
            Failed::NotTls(_) => true,
            // Where the user named a port, there is no other.
            Failed::Silent(_) => secure.port_or_known_default() != plain.port_or_known_default(),
            Failed::Final(_) => false,
        };
        if !is_worth_it || !self.web.dialer.may_be_plain(&plain) {
            return Err(failed.into());
        }
        let answer = self.send_to(&plain, step).await;
        match answer {
            Ok(answer) => {
                self.base = Some(plain);
                Ok(answer)
            }
            Err(_) if matches!(failed, Failed::Silent(_)) => Err(failed.into()),
            Err(plain) => Err(plain.into()),
        }
    }

    async fn send_to(&self, base: &Url, step: &Step<'_>) -> Result<Answer, Failed> {
        let bad = |_| Error::new(step.phase, "its name makes no URL");
        let url = match step.path {
            Path::Name(path) => {
                let path = format!("/v2/{}/{path}", self.image.repository);
                base.join(&path).map_err(bad)?
            }
            Path::Given(url) => url.clone(),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in step.headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| Error::new(step.phase, format!("{name} cannot be sent")))?;
            headers.append(name, value);
        }
        let authorization = self.authorization.clone();
        let call = Call {
            method: step.method.clone(),
            authorization: authorization.filter(|_| crate::http::is_same_origin(base, &url)),
            url,
            headers,
            body: step.body.clone(),
            reach: reach(base),
            phase: step.phase,
        };
        // What is sent is sent to where it was meant to go.
        if step.body.is_empty() && matches!(step.method, Method::GET | Method::HEAD) {
            Box::pin(self.web.follow(call)).await
        } else {
            self.web.send(&call).await
        }
    }

    fn base_url(&self, scheme: &str) -> Result<Url> {
        let host = self.image.host();
        Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|_| Error::new(Phase::Resolve, format!("{host} is no host")))
    }
}

/// Whether this machine itself was named.
pub(crate) fn reach(url: &Url) -> Reach {
    Reach {
        loopback: is_loopback(url),
    }
}
