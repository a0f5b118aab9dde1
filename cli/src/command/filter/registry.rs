//! `cairn filter push` and `pull`: modules in registries.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use modules::{
    Credentials, Fetcher, Image, Insecure, LoginFrom, Module, Reference, Request, Settings,
};

use super::inspect::read;
use super::{Output, what};
use crate::filter::inspect;
use crate::filter::run::What;
use crate::print;

/// How a registry is spoken to.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Login {
    /// User of the registry. Without it, what `docker login` has kept is shown to the registry.
    #[arg(long, requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input.
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Speak to it without TLS that can be trusted, or in plain HTTP.
    #[arg(long)]
    insecure: bool,
}

/// What to publish.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct PushArgs {
    /// Where: `oci://REGISTRY/NAME:TAG`.
    reference: String,
    /// The module. Without it, what the folder's filter is built to.
    module: Option<PathBuf>,
    /// What to note beside it, such as `org.opencontainers.image.source=URL`.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    login: Login,
}

/// What to get.
#[derive(Debug, clap::Args)]
pub(in crate::command) struct PullArgs {
    /// Where it is: `oci://REGISTRY/NAME:TAG`, or a URL.
    reference: String,
    /// The file to write; by default the name of the image, with `.wasm`.
    #[arg(long, short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    login: Login,
}

/// Publishes a module, if it is one that a proxy can load.
pub(super) async fn push(args: &PushArgs) -> anyhow::Result<ExitCode> {
    let image = image(&args.reference)?;
    let path = match what(args.module.as_deref())? {
        What::Module(path) => path,
        project @ What::Project(_) => project.subject().await?.module,
    };
    let bytes = read(&path)?;
    let found = inspect::inspect(&bytes)?;
    if let Some(why) = found.refused {
        bail!(
            "{} is not published: no proxy can load it: {why}",
            path.display()
        );
    }
    let annotations: BTreeMap<String, String> = args.annotations.iter().cloned().collect();
    let credentials = args.login.credentials(Some(&image))?;
    let pushed = args
        .login
        .fetcher()?
        .push(&image, bytes.into(), &annotations, &credentials)
        .await?;
    let url = format!("oci://{image}");
    match args.output {
        Output::Text => {
            print::out(format_args!("{url} is published"));
            print::out(format_args!("manifest sha256:{}", pushed.manifest.hex()));
            print::out(format_args!("module   sha256:{}", pushed.module.hex()));
        }
        Output::Json => print::out(format_args!(
            "{:#}",
            serde_json::json!({
                "url": url,
                "manifest": pushed.manifest.hex(),
                "module": pushed.module.hex(),
            })
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// Gets a module and writes it to a file.
pub(super) async fn pull(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let module = fetch(&args.reference, &args.login).await?;
    let path = match &args.file {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}.wasm", last_name(&args.reference)?)),
    };
    fs::write(&path, &module.bytes).with_context(|| format!("write {}", path.display()))?;
    print::out(format_args!("{}", path.display()));
    print::say(format_args!(
        "{}, sha256 {}",
        inspect::size(module.bytes.len() as u64),
        module.sha256.hex()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Gets a module.
pub(super) async fn fetch(reference: &str, login: &Login) -> anyhow::Result<Module> {
    let reference = Reference::parse(reference)?;
    let credentials = login.credentials(reference.image())?;
    let request = Request {
        credentials,
        ..Request::new(reference)
    };
    Ok(login.fetcher()?.fetch(&request).await?)
}

fn image(reference: &str) -> anyhow::Result<Image> {
    match Reference::parse(reference)? {
        Reference::Image(image) => Ok(image),
        Reference::Web(_) | Reference::File(_) => {
            bail!("{reference} is no image of a registry; write oci://REGISTRY/NAME:TAG")
        }
    }
}

/// The last part of a reference's path.
fn last_name(reference: &str) -> anyhow::Result<String> {
    let path = match Reference::parse(reference)? {
        Reference::Image(image) => image.repository,
        _ => reference
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let last = last.strip_suffix(".wasm").unwrap_or(last);
    if last.is_empty() || last.starts_with('.') {
        bail!("{reference} has no name for a file; say one with --file");
    }
    Ok(last.to_owned())
}

impl Login {
    fn fetcher(&self) -> anyhow::Result<Fetcher> {
        let mut settings = Settings {
            login_from: LoginFrom::CommandLine,
            ..Settings::default()
        };
        if self.insecure {
            settings.insecure = Insecure::parse("*");
        }
        Ok(Fetcher::new(settings)?)
    }

    /// What the registry is shown: what was said here, else what `docker login` kept.
    fn credentials(&self, image: Option<&Image>) -> anyhow::Result<Credentials> {
        if let (Some(user), Some(image)) = (&self.username, image) {
            let mut password = String::new();
            io::stdin()
                .lock()
                .read_line(&mut password)
                .context("read the password from standard input")?;
            let password = password.trim_end_matches(['\n', '\r']);
            return Ok(Credentials::basic(&image.registry, user, password));
        }
        let Some(path) = docker_config() else {
            return Ok(Credentials::none());
        };
        let Ok(bytes) = fs::read(&path) else {
            return Ok(Credentials::none());
        };
        let credentials = Credentials::from_docker_config(&bytes)
            .with_context(|| format!("read {}", path.display()))?;
        if let Some(helper) = image.and_then(|image| credentials.helper(image)) {
            print::warn(format_args!(
                "the credentials are kept by docker-credential-{helper}, which is not asked; \
                 say them with --username and --password-stdin"
            ));
        }
        Ok(credentials)
    }
}

/// Where `docker login` keeps what it was told.
fn docker_config() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = set("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".docker")))?;
    Some(folder.join("config.json"))
}

fn annotation(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("say it like KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
