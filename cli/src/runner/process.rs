//! From a container to a process: program, arguments, environment, working directory.
//!
//! Source: Kubernetes API reference, Container v1 core (`command`, `args`, `env`) and its rules for
//! `$(NAME)`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use k8s_openapi::api::core::v1::{Container, EnvVar};

use super::pod::PodIdentity;

/// The program that `cairn` in a manifest means; it need not be on the PATH.
const CAIRN: &str = "cairn";

/// What a process is started with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Invocation {
    /// What the program is called in the manifest, which is how it sees itself.
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) dir: PathBuf,
}

impl Invocation {
    /// What `container` of `pod` says to run; `given` are variables it may override, and `cairn` is
    /// the program meant by that word.
    ///
    /// `None` when it names no program.
    pub(super) fn of(
        container: &Container,
        pod: &PodIdentity,
        given: &BTreeMap<String, String>,
        cairn: &Path,
    ) -> Option<Self> {
        let mut env = given.clone();
        for variable in container.env.iter().flatten() {
            if let Some(value) = value_of(variable, pod, &env) {
                env.insert(variable.name.clone(), value);
            }
        }
        let args = container.command.iter().chain(&container.args).flatten();
        let mut words = args.map(|word| expand(word, &env));
        let name = words.next()?;
        Some(Self {
            program: if name == CAIRN {
                cairn.to_owned()
            } else {
                PathBuf::from(&name)
            },
            name,
            args: words.collect(),
            dir: container
                .working_dir
                .clone()
                .unwrap_or_else(|| "/".to_owned())
                .into(),
            env,
        })
    }

    /// Another program in the same surroundings.
    pub(super) fn with_words(&self, words: &[String]) -> Option<Self> {
        let (program, args) = words.split_first()?;
        Some(Self {
            name: program.clone(),
            program: program.into(),
            args: args.to_vec(),
            ..self.clone()
        })
    }

    /// The command, with both outputs at the end of `log`.
    pub(super) fn command(&self, log: &Path) -> io::Result<Command> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = self.bare_command();
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// The command, saying nothing.
    pub(super) fn bare_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(&self.name);
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.dir);
        // A group of its own: a Ctrl-C at the terminal is for the runner, which ends pods in order.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        command
    }
}

/// What every process is given: the host's PATH and home, and its pod's name.
pub(super) fn given_env(path: &OsString, pod: &PodIdentity) -> BTreeMap<String, String> {
    let hostname = pod.spec().hostname.unwrap_or_else(|| pod.name.clone());
    BTreeMap::from([
        ("HOME".to_owned(), "/root".to_owned()),
        ("HOSTNAME".to_owned(), hostname),
        ("PATH".to_owned(), path.to_string_lossy().into_owned()),
    ])
}

fn value_of(
    variable: &EnvVar,
    pod: &PodIdentity,
    env: &BTreeMap<String, String>,
) -> Option<String> {
    match &variable.value_from {
        None => Some(expand(variable.value.as_deref().unwrap_or_default(), env)),
        Some(source) => field(&source.field_ref.as_ref()?.field_path, pod),
    }
}

/// The downward API.
fn field(path: &str, pod: &PodIdentity) -> Option<String> {
    let quoted = |prefix: &str| {
        Some(
            path.strip_prefix(prefix)?
                .strip_prefix("['")?
                .strip_suffix("']")?
                .to_owned(),
        )
    };
    if let Some(key) = quoted("metadata.labels") {
        return Some(pod.labels().remove(&key).unwrap_or_default());
    }
    if let Some(key) = quoted("metadata.annotations") {
        return Some(pod.annotations().remove(&key).unwrap_or_default());
    }
    Some(match path {
        "metadata.name" => pod.name.clone(),
        "metadata.namespace" => pod.namespace.clone(),
        "metadata.uid" => pod.uid.clone(),
        "spec.nodeName" => pod.node.clone(),
        "spec.serviceAccountName" => pod.service_account(),
        "status.hostIP" | "status.hostIPs" => pod.node_ip.to_string(),
        "status.podIP" | "status.podIPs" => pod.ip.to_string(),
        _ => return None,
    })
}

/// Replaces `$(NAME)` where NAME is known; `$$` stands for `$`.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        let known = reference.and_then(|(name, after)| Some((env.get(name)?, after)));
        if let Some((value, after)) = known {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::runner::pod::tests::identity;

    fn invocation(container: &Value) -> Invocation {
        let pod = identity(&json!({"containers": [container]}));
        let given = given_env(&"/usr/bin:/bin".into(), &pod);
        Invocation::of(
            &pod.spec().containers[0],
            &pod,
            &given,
            Path::new("/opt/cairn"),
        )
        .unwrap()
    }

    #[test]
    fn command_and_args_are_joined_and_references_replaced() {
        let invocation = invocation(&json!({
            "name": "app",
            "command": ["serve", "--name=$(NAME)"],
            "args": ["$(NAME)-$(HOSTNAME)", "$(UNKNOWN)", "$$(NAME)", "100$"],
            "env": [{"name": "NAME", "value": "web"}],
        }));
        assert_eq!(invocation.program, Path::new("serve"));
        assert_eq!(
            invocation.args,
            [
                "--name=web",
                "web-web-abc-xyz",
                "$(UNKNOWN)",
                "$(NAME)",
                "100$"
            ]
        );
        assert_eq!(invocation.dir, Path::new("/"));
    }

    #[test]
    fn the_environment_is_the_containers_own() {
        let reference = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let invocation = invocation(&json!({
            "name": "app", "command": ["x"], "workingDir": "/tmp",
            "env": [
                reference("POD", "metadata.name"),
                reference("IP", "status.podIP"),
                reference("APP", "metadata.labels['app']"),
                reference("NONE", "metadata.annotations['none']"),
                {"name": "URL", "value": "http://$(IP)/"},
                {"name": "PATH", "value": "/opt/bin:$(PATH)"},
            ],
        }));
        let expected = [
            ("APP", "web"),
            ("HOME", "/root"),
            ("HOSTNAME", "web-abc-xyz"),
            ("IP", "10.91.1.2"),
            ("NONE", ""),
            ("PATH", "/opt/bin:/usr/bin:/bin"),
            ("POD", "web-abc-xyz"),
            ("URL", "http://10.91.1.2/"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(invocation.env, BTreeMap::from(expected));
        assert_eq!(invocation.dir, Path::new("/tmp"));
    }

    #[test]
    fn cairn_in_a_manifest_means_this_program() {
        let invocation = invocation(&json!({"name": "app", "command": ["cairn", "sample"]}));
        assert_eq!(invocation.bare_command().get_program(), "/opt/cairn");
    }

    #[test]
    fn without_a_command_there_is_nothing_to_run() {
        let pod = identity(&json!({"containers": [{"name": "app", "image": "x"}]}));
        let found = Invocation::of(
            &pod.spec().containers[0],
            &pod,
            &BTreeMap::new(),
            Path::new("/opt/cairn"),
        );
        assert_eq!(found, None);
    }
}
