//! The files containers write to, kept from filling the machine's memory: `/run` is no disk.

use std::{fs, io, path::Path};

/// A log grows to this size, then its text moves to `NAME.1` and it begins anew.
const LOG_MAX: u64 = 10 << 20;

/// Begins every log anew that has grown too long.
pub(super) fn bound(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log
            && entry
                .metadata()
                .is_ok_and(|metadata| metadata.len() > LOG_MAX)
        {
            // A log that cannot be turned over now is tried again soon.
            let _ = turn_over(&path);
        }
    }
}

/// The writer keeps its descriptor and writes at the end, so the file must stay the same one.
fn turn_over(path: &Path) -> io::Result<()> {
    fs::copy(path, path.with_extension("log.1"))?;
    fs::OpenOptions::new().write(true).open(path)?.set_len(0)
}

/// The last lines of a text.
pub(super) fn tail(text: &str, lines: usize) -> Vec<String> {
    let mut last: Vec<String> = text.lines().rev().take(lines).map(str::to_owned).collect();
    last.reverse();
    last
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_long_log_begins_anew_under_its_writer() {
        let folder = std::env::temp_dir().join(format!("cairn-logs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("default_web_app.log");
        let mut writer = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        writer
            .write_all(&vec![b'x'; usize::try_from(LOG_MAX).unwrap() + 1])
            .unwrap();
        bound(&folder);
        writer.write_all(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(
            fs::metadata(path.with_extension("log.1")).unwrap().len(),
            LOG_MAX + 1
        );
        bound(&folder);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_last_lines_are_in_order() {
        assert_eq!(tail("a\nb\nc\n", 2), ["b", "c"]);
        assert_eq!(tail("", 2), Vec::<String>::new());
    }
}
