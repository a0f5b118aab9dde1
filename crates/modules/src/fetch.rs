//! Gets modules: from the cache, else from where they are published, with a few tries.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use url::Url;

use crate::cache::{Cache, Entry, Key};
use crate::credentials::{Credentials, Login};
use crate::dial::{authority, brief};
use crate::error::{Error, Phase, Result};
use crate::http::{Call, Web, header_value};
use crate::manifest::{Candidate, Manifest};
use crate::registry::{Found, Purpose, Registry, reach};
use crate::settings::{BadSetting, Files, Settings};
use crate::tally::{Counts, Tally};
use crate::unpack::{self, Wanted};
use crate::{Digest, Image, Reference};

/// Manifests of one index that are tried.
const MOST_MANIFESTS: usize = 8;

/// Gets modules and publishes them. Clones share cache, counters and what is under way.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    pub(crate) settings: Settings,
    pub(crate) web: Web,
    cache: Arc<Cache>,
    flights: Mutex<HashMap<Flight, Weak<OnceCell<Result<Module>>>>>,
    tally: Tally,
}

/// What several callers may ask for at once and get with one fetch.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Flight(Key, PullPolicy, String, Option<Digest>);

/// What is to be fetched, and for whom.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it is.
    pub reference: Reference,
    /// What it must be: the digest of the module or, for an image, of its manifest.
    pub sha256: Option<Digest>,
    /// Whether what was fetched before will do.
    pub policy: PullPolicy,
    /// Version of the object that asks; see [`PullPolicy::Always`].
    pub revision: String,
    /// On whose behalf; nobody gets what was fetched for another.
    pub tenant: String,
    /// What registries are shown.
    pub credentials: Credentials,
}

/// Whether what was fetched before will do.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum PullPolicy {
    /// Always for the tag `latest`, else if not present.
    #[default]
    Unspecified,
    /// It will.
    IfNotPresent,
    /// Only for the version of the object that it was fetched for.
    Always,
}

/// A module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its code; it begins as modules do, and more is not known of it.
    pub bytes: Bytes,
    /// Its digest.
    pub sha256: Digest,
    /// For an image, the digest of the manifest it came from.
    pub manifest: Option<Digest>,
    /// Whether nothing was asked of a network for it but, maybe, whether it has changed.
    pub is_cached: bool,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Default for Fetcher {
    /// A fetcher with the usual bounds that keeps modules in memory.
    fn default() -> Self {
        Self::with(Settings::default(), Cache::Memory(Mutex::default()))
    }
}

impl Request {
    /// A request for nobody in particular, with no conditions.
    pub fn new(reference: Reference) -> Self {
        Self {
            reference,
            sha256: None,
            policy: PullPolicy::default(),
            revision: String::new(),
            tenant: String::new(),
            credentials: Credentials::none(),
        }
    }

    fn is_always(&self) -> bool {
        match self.policy {
            PullPolicy::Always => true,
            PullPolicy::IfNotPresent => false,
            PullPolicy::Unspecified => self.reference.image().is_some_and(Image::is_latest),
        }
    }

    fn key(&self) -> Key {
        let secret = match &self.reference {
            Reference::Image(image) => self
                .credentials
                .identity(&image.registry, &image.repository),
            Reference::Web(url) => self.credentials.identity(&authority(url), path(url)),
            Reference::File(_) => String::new(),
        };
        let reference = match &self.reference {
            // Shown without its query, which may be all that tells two apart.
            Reference::Web(url) => url.to_string(),
            other => other.to_string(),
        };
        Key::new(&self.tenant, &secret, &reference)
    }

    /// Checks what was fetched against what it must be.
    fn verify(&self, fetched: &Fetched) -> Result<()> {
        let module = Digest::of(&fetched.bytes);
        let Some(wanted) = self.sha256 else {
            return Ok(());
        };
        if wanted == module || fetched.manifests.contains(&wanted) {
            return Ok(());
        }
        let found = match fetched.manifests.first() {
            Some(manifest) => format!(
                "sha256 must be {} and is neither that of the manifest, {}, nor that of the \
                 module, {}",
                wanted.hex(),
                manifest.hex(),
                module.hex()
            ),
            None => format!("sha256 is {} and must be {}", module.hex(), wanted.hex()),
        };
        Err(Error::new(Phase::Verify, found))
    }
}

/// What came from a network.
struct Fetched {
    bytes: Bytes,
    /// Digests of the manifest and of the index that led to it.
    manifests: Vec<Digest>,
}

impl Fetcher {
    /// Makes a fetcher and opens its cache.
    ///
    /// # Errors
    /// When the folder of the cache cannot be used.
    pub fn new(settings: Settings) -> Result<Self, BadSetting> {
        let cache = Cache::open(settings.cache.as_deref()).map_err(|error| {
            let folder = settings.cache.as_deref().unwrap_or(Path::new(""));
            BadSetting::new(format!(
                "the cache of modules {} cannot be used: {}",
                folder.display(),
                brief(&error)
            ))
        })?;
        Ok(Self::with(settings, cache))
    }

    fn with(settings: Settings, cache: Cache) -> Self {
        Self(Arc::new(Inner {
            web: Web::new(&settings),
            settings,
            cache: Arc::new(cache),
            flights: Mutex::default(),
            tally: Tally::default(),
        }))
    }

    /// Gets a module. Whoever asks for the same at the same time gets the same answer.
    ///
    /// # Errors
    /// When it cannot be had within the time and tries of the settings.
    pub async fn fetch(&self, request: &Request) -> Result<Module> {
        let flight = Flight(
            request.key(),
            request.policy,
            request.revision.clone(),
            request.sha256,
        );
        let cell = self.flight(flight);
        let fetched = cell.get_or_init(|| Box::pin(self.once(request))).await;
        fetched.clone()
    }

    /// Removes modules from the cache that were not asked for in a while. To be called hourly.
    ///
    /// * `in_use` — whether a module, by its digest in hexadecimal digits, is not to be removed.
    pub async fn purge(&self, in_use: impl Fn(&str) -> bool + Send + 'static) {
        let (cache, expiry) = (Arc::clone(&self.0.cache), self.0.settings.expiry);
        let purging = tokio::task::spawn_blocking(move || cache.purge(expiry, &in_use));
        // Nothing is lost when it is not done: the next hour comes.
        let _ = purging.await;
    }

    /// How many modules the cache has. Blocks for as long as a folder is listed.
    pub fn cached(&self) -> usize {
        self.0.cache.len()
    }

    /// How often what happened.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn web(&self) -> &Web {
        &self.0.web
    }

    fn flight(&self, flight: Flight) -> Arc<OnceCell<Result<Module>>> {
        let mut flights = self.0.flights.lock();
        flights.retain(|_, cell| cell.strong_count() > 0);
        let known = flights.get(&flight).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let cell = Arc::default();
            flights.insert(flight, Arc::downgrade(&cell));
            cell
        })
    }

    async fn once(&self, request: &Request) -> Result<Module> {
        if let Reference::File(path) = &request.reference {
            let module = self.file(request, path.clone()).await;
            return module.map_err(|error| error.of(&request.reference));
        }
        let known = self.known(request).await;
        if let Some((entry, bytes)) = &known
            && (!request.is_always() || entry.revision == request.revision)
        {
            self.0.tally.lookup(true);
            return Ok(module_of(entry, bytes.clone()));
        }
        self.0.tally.lookup(false);
        let limit = self.0.settings.timeout;
        let fetched = tokio::time::timeout(limit, Box::pin(self.tries(request, known))).await;
        let fetched = fetched.unwrap_or_else(|_| {
            let why = format!("it could not be had within {limit:?}");
            Err(Error::passing(Phase::Connect, why))
        });
        self.0.tally.fetched(&fetched);
        fetched.map_err(|error| error.of(&request.reference))
    }

    /// What the cache has, if it is what is asked for.
    async fn known(&self, request: &Request) -> Option<(Entry, Bytes)> {
        let (cache, key) = (Arc::clone(&self.0.cache), request.key());
        let (entry, bytes) = tokio::task::spawn_blocking(move || cache.get(key))
            .await
            .ok()??;
        let fits = request.sha256.is_none_or(|wanted| {
            let digests = entry.manifests.iter().chain([&entry.module]);
            digests
                .filter_map(|text| Digest::parse(text))
                .any(|digest| digest == wanted)
        });
        fits.then_some((entry, bytes))
    }

    async fn tries(&self, request: &Request, known: Option<(Entry, Bytes)>) -> Result<Module> {
        let settings = &self.0.settings;
        let mut wait = settings.first_wait;
        let mut tries = 1;
        loop {
            let error = match self.attempt(request, known.as_ref()).await {
                Ok(module) => return Ok(module),
                Err(error) => error,
            };
            if !error.is_retryable || tries >= settings.tries {
                return Err(if tries > 1 {
                    error.and(&format!("; it was tried {tries} times"))
                } else {
                    error
                });
            }
            tries += 1;
            tokio::time::sleep(jittered(wait)).await;
            wait *= 2;
        }
    }

    async fn attempt(&self, request: &Request, known: Option<&(Entry, Bytes)>) -> Result<Module> {
        let fetched = match &request.reference {
            Reference::Image(image) => {
                let mut registry = Registry::new(
                    &self.0.web,
                    &self.0.settings,
                    image,
                    &request.credentials,
                    Purpose::Pull,
                );
                let found = registry.manifest(&image.version()).await?;
                if let Some((entry, bytes)) = known
                    && entry.manifests.last() == Some(&found.digest.hex())
                {
                    // The same as before, so that only this has to be noted.
                    let entry = Entry {
                        revision: request.revision.clone(),
                        ..entry.clone()
                    };
                    self.keep(request, &entry, bytes).await;
                    return Ok(module_of(&entry, bytes.clone()));
                }
                self.image(&mut registry, found).await?
            }
            Reference::Web(url) => self.download(request, url).await?,
            Reference::File(path) => return self.file(request, path.clone()).await,
        };
        request.verify(&fetched)?;
        let hex = |digest: &Digest| digest.hex();
        let entry = Entry {
            module: Digest::of(&fetched.bytes).hex(),
            manifests: fetched.manifests.iter().map(hex).collect(),
            revision: request.revision.clone(),
        };
        self.keep(request, &entry, &fetched.bytes).await;
        Ok(Module {
            is_cached: false,
            ..module_of(&entry, fetched.bytes)
        })
    }

    async fn keep(&self, request: &Request, entry: &Entry, bytes: &Bytes) {
        let (cache, key) = (Arc::clone(&self.0.cache), request.key());
        let (entry, bytes) = (entry.clone(), bytes.clone());
        let keeping = tokio::task::spawn_blocking(move || cache.put(key, &entry, &bytes));
        if let Ok(Err(error)) = keeping.await {
            tracing::warn!(reference = %request.reference, %error, "a module cannot be kept in the cache");
        }
    }

    /// Gets the module of an image; of an index, that of the first image that has one.
    async fn image(&self, registry: &mut Registry<'_>, found: Found) -> Result<Fetched> {
        let mut budget = self.0.settings.max_download;
        let index = found.digest;
        let digests = match found.manifest {
            Manifest::Image(candidates) => {
                let bytes = self.layers(registry, &candidates, &mut budget).await?;
                return Ok(Fetched {
                    bytes,
                    manifests: vec![index],
                });
            }
            Manifest::Index(digests) => digests,
        };
        let mut first = None;
        for digest in digests.into_iter().take(MOST_MANIFESTS) {
            let tried = match registry.manifest(&digest.to_string()).await {
                Ok(Found {
                    manifest: Manifest::Image(candidates),
                    ..
                }) => self.layers(registry, &candidates, &mut budget).await,
                Ok(_) => Err(Error::new(Phase::Manifest, "it is an index of indexes")),
                Err(error) => Err(error),
            };
            match tried {
                Ok(bytes) => {
                    return Ok(Fetched {
                        bytes,
                        manifests: vec![digest, index],
                    });
                }
                Err(error) if error.is_retryable => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let none = || Error::new(Phase::Manifest, "there is no image in it");
        Err(first.unwrap_or_else(none))
    }

    async fn layers(
        &self,
        registry: &mut Registry<'_>,
        candidates: &[Candidate],
        budget: &mut u64,
    ) -> Result<Bytes> {
        let mut first = None;
        for candidate in candidates {
            if candidate.size > *budget {
                let limit = self.0.settings.max_download;
                let why = format!(
                    "the layer {} has {} bytes, and no more than {limit} are read",
                    candidate.digest, candidate.size
                );
                first = first.or_else(|| Some(Error::new(Phase::Blob, why)));
                continue;
            }
            let bytes = registry.blob(candidate.digest, *budget).await?;
            *budget = budget.saturating_sub(bytes.len() as u64);
            match self.unpack(bytes, candidate.wanted).await {
                Ok(module) => return Ok(module),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::new(Phase::Unpack, "there is no layer in it")))
    }

    async fn download(&self, request: &Request, url: &Url) -> Result<Fetched> {
        let mut call = Call::get(url.clone(), Phase::Blob, reach(url));
        if url.scheme() == "https"
            && let Some(login) = request.credentials.login(&authority(url), path(url))
        {
            let value = match login {
                Login::Bearer(token) => Some(format!("Bearer {token}")),
                other => other.basic(),
            };
            call.authorization = value.map(|value| header_value(&value)).transpose()?;
        }
        let answer = Box::pin(self.0.web.follow(call)).await?;
        if answer.status != http::StatusCode::OK {
            return Err(answer.refused("the module").await);
        }
        let (bytes, _) = answer.read(self.0.settings.max_download).await?;
        Ok(Fetched {
            bytes: self.unpack(bytes, Wanted::First).await?,
            manifests: vec![],
        })
    }

    async fn unpack(&self, bytes: Vec<u8>, wanted: Wanted) -> Result<Bytes> {
        let limit = self.0.settings.max_module;
        // Not where connections are served: it may take a while.
        let unpacking = tokio::task::spawn_blocking(move || unpack::module(&bytes, wanted, limit));
        let unpacked = unpacking
            .await
            .unwrap_or_else(|_| Err("unpacking it failed".into()));
        let module = unpacked.map_err(|why| Error::new(Phase::Unpack, why))?;
        Ok(module.into())
    }

    async fn file(&self, request: &Request, path: PathBuf) -> Result<Module> {
        let (files, limit) = (self.0.settings.files.clone(), self.0.settings.max_module);
        let reading = tokio::task::spawn_blocking(move || read_file(&path, &files, limit));
        let read = reading.await;
        let bytes = read.map_err(|_| Error::new(Phase::Blob, "reading it failed"))??;
        let fetched = Fetched {
            bytes: bytes.into(),
            manifests: vec![],
        };
        request.verify(&fetched)?;
        Ok(Module {
            sha256: Digest::of(&fetched.bytes),
            bytes: fetched.bytes,
            manifest: None,
            is_cached: false,
        })
    }
}

fn module_of(entry: &Entry, bytes: Bytes) -> Module {
    Module {
        sha256: Digest::of(&bytes),
        bytes,
        manifest: entry.manifests.first().and_then(|text| Digest::parse(text)),
        is_cached: true,
    }
}

fn path(url: &Url) -> &str {
    url.path().trim_start_matches('/')
}

/// Between half of a wait and one and a half of it, so that not everybody comes back at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64())
}

/// Reads a file. Blocks.
fn read_file(path: &Path, files: &Files, limit: u64) -> Result<Vec<u8>> {
    let unread = |error: io::Error| Error::passing(Phase::Blob, brief(&error));
    if let Files::Under(folder) = files {
        let (real, folder) = (path.canonicalize().map_err(unread)?, folder.canonicalize());
        let folder = folder.map_err(unread)?;
        if !real.starts_with(&folder) {
            let why = format!(
                "it is not in {}, and files from elsewhere are not read here; publish it, or ask \
                 who runs the mesh about MODULE_FILES",
                folder.display()
            );
            return Err(Error::new(Phase::Resolve, why));
        }
    }
    // Looked at first: opening a pipe would wait for somebody to write to it.
    if !path.metadata().map_err(unread)?.is_file() {
        return Err(Error::new(Phase::Blob, "it is no file"));
    }
    let file = File::open(path).map_err(unread)?;
    let mut bytes = vec![];
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(
            Phase::Blob,
            format!("it has more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
