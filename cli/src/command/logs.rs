//! `cairn logs`: what a pod's containers have written.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use tokio::time::sleep;

use super::target;
use crate::{
    print,
    runner::report::PodReport,
    state::{MeshName, StateDir},
};

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Whose logs to print.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The namespace of the pod.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// A Deployment, a pod, `control`, `ztunnel-NODE` or a waypoint.
    name: String,
    /// Go on printing what is written, until interrupted.
    #[arg(long, short)]
    follow: bool,
}

/// Prints the logs; of several containers each line says whose it is.
pub(super) async fn run(mesh: &MeshName, args: Args) -> anyhow::Result<ExitCode> {
    let state = StateDir::new(mesh);
    let mut readers: BTreeMap<PathBuf, Reader> = BTreeMap::new();
    loop {
        let pods = target::pods(mesh)?;
        // A pod that is replaced has its successor followed, and one that is gone stays silent.
        let found = match target::find(&pods, &args.namespace, &args.name) {
            Ok(found) => found,
            Err(e) if readers.is_empty() => return Err(e),
            Err(_) => Vec::new(),
        };
        let files: Vec<(PathBuf, String)> =
            found.iter().flat_map(|pod| files(&state, pod)).collect();
        for (path, label) in files {
            readers.entry(path).or_insert_with(|| Reader {
                label,
                offset: 0,
                rest: Vec::new(),
            });
        }
        let several = readers.len() > 1;
        for (path, reader) in &mut readers {
            let text = reader
                .read(path)
                .with_context(|| path.display().to_string())?;
            reader.print(&text, several, !args.follow)?;
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(POLL).await;
    }
}

fn files<'s>(
    state: &'s StateDir,
    pod: &'s PodReport,
) -> impl Iterator<Item = (PathBuf, String)> + use<'s> {
    let several = pod.containers.len() > 1;
    pod.containers.iter().map(move |container| {
        let path = state.log(&pod.namespace, &pod.name, &container.name);
        let label = if several {
            format!("{}/{}", pod.name, container.name)
        } else {
            pod.name.clone()
        };
        (path, label)
    })
}

/// One log and how far it has been read.
#[derive(Debug)]
struct Reader {
    label: String,
    offset: u64,
    /// A line whose end is still to come.
    rest: Vec<u8>,
}

impl Reader {
    /// What is new.
    fn read(&mut self, path: &Path) -> std::io::Result<Vec<u8>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            // Nothing has been written yet.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        if file.metadata()?.len() < self.offset {
            // It has begun anew.
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = Vec::new();
        self.offset += file.read_to_end(&mut text)? as u64;
        Ok(text)
    }

    /// Prints whole lines; what is left of one waits for its end unless this is the last time.
    fn print(&mut self, text: &[u8], labelled: bool, is_last: bool) -> std::io::Result<()> {
        if !labelled {
            let begun = std::mem::take(&mut self.rest);
            return if begun.is_empty() && text.is_empty() {
                Ok(())
            } else {
                print::out_bytes(&[&begun, text].concat())
            };
        }
        self.rest.extend_from_slice(text);
        let end = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let take = if is_last { self.rest.len() } else { end };
        let whole: Vec<u8> = self.rest.drain(..take).collect();
        for line in String::from_utf8_lossy(&whole).lines() {
            print::out(format_args!("{} | {line}", self.label));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_read_on_from_where_it_was_and_anew_when_it_begins_anew() {
        let path = std::env::temp_dir().join(format!("cairn-reader-{}", std::process::id()));
        let mut reader = Reader {
            label: "web".to_owned(),
            offset: 0,
            rest: Vec::new(),
        };
        assert_eq!(reader.read(&path).unwrap(), b"");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntwo").unwrap();
        assert_eq!(reader.read(&path).unwrap(), b"one\ntwo");
        file.write_all(b" three\n").unwrap();
        assert_eq!(reader.read(&path).unwrap(), b" three\n");
        std::fs::write(&path, b"new\n").unwrap();
        assert_eq!(reader.read(&path).unwrap(), b"new\n");
        std::fs::remove_file(path).unwrap();
    }
}
