//! What a registry wants to be shown: challenges, and tokens for them.

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::credentials::Login;
use crate::dial::{Reach, authority};
use crate::error::{Error, Phase, Result};
use crate::http::{Call, Web, header_value, is_same_origin};

#[cfg(test)]
mod tests;

/// Largest answer of a token server.
const LARGEST: u64 = 256 << 10;

/// What a server wants to be shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token from elsewhere.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Where a token may be got, and for what.
pub(crate) struct Asked<'a> {
    /// The registry that wants it.
    pub(crate) registry: &'a Url,
    /// Further hosts it may send us to.
    pub(crate) auth_hosts: &'a [String],
    /// What is to be done, if the challenge does not say.
    pub(crate) scope: &'a str,
    pub(crate) reach: Reach,
}

/// The challenge of an answer that can be met best.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter();
    let found = texts.filter_map(|text| text.to_str().ok()).flat_map(parse);
    let mut best = None;
    for challenge in found {
        let is_bearer = matches!(challenge, Challenge::Bearer { .. });
        if is_bearer || best.is_none() {
            best = Some(challenge);
        }
        if is_bearer {
            break;
        }
    }
    best
}

/// Reads the challenges in one header; those of other kinds are left out.
pub(crate) fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches(' ');
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = value_of(value.trim_start());
            if let Some((_, pairs)) = found.last_mut() {
                pairs.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            if !word.is_empty() {
                found.push((word.to_ascii_lowercase(), vec![]));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found
        .into_iter()
        .filter_map(|(scheme, pairs)| {
            let get = |key: &str| {
                let pair = pairs.iter().find(|(name, _)| name == key);
                pair.map(|(_, value)| value.clone())
            };
            match scheme.as_str() {
                "basic" => Some(Challenge::Basic),
                "bearer" => Some(Challenge::Bearer {
                    realm: get("realm")?,
                    service: get("service"),
                    scope: get("scope"),
                }),
                _ => None,
            }
        })
        .collect()
}

/// A value, quoted or not, and what comes behind it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

impl Asked<'_> {
    /// Gets a token, as an `Authorization` header.
    pub(crate) async fn token(
        &self,
        web: &Web,
        challenge: (&str, Option<&str>, Option<&str>),
        login: Option<&Login>,
    ) -> Result<HeaderValue> {
        let (realm, service, scope) = challenge;
        if let Some(Login::Bearer(token)) = login {
            return header_value(&format!("Bearer {token}"));
        }
        let realm = self.realm(web, realm)?;
        let scope = scope.unwrap_or(self.scope);
        let call = call(realm, service, scope, login, self.reach)?;
        // A token server that sends elsewhere would be a way around the rules for realms.
        let answer = web.send(&call).await.map_err(Error::from)?;
        if !answer.status.is_success() {
            let hint = match login {
                Some(_) => "",
                None => "; no credentials for this registry were given",
            };
            let error = answer.refused("a token").await;
            return Err(error.and(hint));
        }
        let host = authority(&call.url);
        let (bytes, _) = answer.read(LARGEST).await?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token = token.filter(|token| !token.is_empty()).ok_or_else(|| {
            let why = format!("the answer of the token server {host} has no token in it");
            Error::new(Phase::Authenticate, why)
        })?;
        header_value(&format!("Bearer {token}"))
    }

    /// The URL of a token server, if the registry may send us there.
    fn realm(&self, web: &Web, text: &str) -> Result<Url> {
        let registry = self.registry.host_str().unwrap_or_default();
        let asker = authority(self.registry);
        let bad = |why: String| Error::new(Phase::Authenticate, format!("{asker} {why}"));
        let realm = Url::parse(text)
            .map_err(|_| bad("sends us for a token to what is no URL".to_owned()))?;
        let host = realm.host_str().unwrap_or_default();
        if !realm.username().is_empty() || realm.password().is_some() {
            return Err(bad(
                "sends us for a token to a URL with a password in it".into()
            ));
        }
        let is_known = host == registry || self.auth_hosts.iter().any(|known| known == host);
        if !is_known {
            return Err(bad(format!(
                "sends us for a token to {host}, which is another host; if that is meant, set \
                 WASM_REGISTRY_AUTH_HOSTS={registry}={host}"
            )));
        }
        let is_plain = realm.scheme() == "http"
            && (is_same_origin(&realm, self.registry) || web.dialer.may_be_plain(&realm));
        if realm.scheme() != "https" && !is_plain {
            return Err(bad("sends us for a token to a place without TLS".to_owned()));
        }
        Ok(realm)
    }
}

/// The request for a token.
fn call(
    mut url: Url,
    service: Option<&str>,
    scope: &str,
    login: Option<&Login>,
    reach: Reach,
) -> Result<Call> {
    if let Some(Login::Identity(token)) = login {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "cairn")
            .append_pair("scope", scope)
            .append_pair("refresh_token", token);
        if let Some(service) = service {
            form.append_pair("service", service);
        }
        let mut call = Call::get(url, Phase::Authenticate, reach);
        call.method = Method::POST;
        call.body = form.finish().into();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        call.headers.insert(CONTENT_TYPE, kind);
        return Ok(call);
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            query.append_pair("scope", scope);
        }
    }
    let mut call = Call::get(url, Phase::Authenticate, reach);
    if let Some(basic) = login.and_then(Login::basic) {
        call.authorization = Some(header_value(&basic)?);
    }
    Ok(call)
}
