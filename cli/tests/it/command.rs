//! `cairn` as people call it, where it needs no control.

use std::process::{Command, Output};

use crate::support::{cairn, with_mesh};

fn run(words: &[&str]) -> Output {
    Command::new(cairn())
        .args(words)
        .env_remove("CAIRN_MESH")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_is_asked_for_and_wrong_usage_is_not() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for command in ["up", "down", "exec", "logs", "status", "get", "sample"] {
        assert!(
            text.lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command} is missing in\n{text}"
        );
    }
    assert!(text.contains("--mesh"), "{text}");
    assert_eq!(run(&["--nonsense"]).status.code(), Some(64));
    assert_eq!(run(&["up", "--nodes", "0"]).status.code(), Some(64));
    assert_eq!(run(&["--mesh", "../x", "down"]).status.code(), Some(64));
}

#[test]
fn down_is_idempotent() {
    with_mesh(async |mesh| {
        for _ in 0..2 {
            let output = run(&["--mesh", mesh.as_str(), "down"]);
            assert!(output.status.success(), "{}", stderr(&output));
            assert_eq!(stderr(&output).trim(), format!("mesh {mesh} was not up"));
        }
    });
}

#[test]
fn commands_on_a_mesh_that_is_not_up_say_so() {
    with_mesh(async |mesh| {
        for words in [
            &["exec", "web", "--", "true"][..],
            &["logs", "web"],
            &["status"],
        ] {
            let output = run(&[&["--mesh", mesh.as_str()], words].concat());
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(
                stderr(&output).trim(),
                format!("error: mesh {mesh} is not up; cairn up starts it")
            );
            assert!(output.stdout.is_empty());
        }
        let output = run(&["--mesh", mesh.as_str(), "get", "pods"]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    });
}

#[test]
fn a_path_that_is_not_there_is_named() {
    with_mesh(async |mesh| {
        let output = run(&["--mesh", mesh.as_str(), "up", "/no/such/folder"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("/no/such/folder"),
            "{}",
            stderr(&output)
        );
    });
}

#[test]
fn without_privileges_up_says_what_is_missing() {
    with_mesh(async |_| {
        let words = [
            "--bounding-set",
            "-sys_admin",
            "--",
            env!("CARGO_BIN_EXE_cairn"),
            "up",
        ];
        let output = Command::new("setpriv").args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(
            said.contains("lacks CAP_SYS_ADMIN to make and enter network namespaces"),
            "{said}"
        );
        assert!(!said.contains("CAP_NET_ADMIN"), "{said}");
    });
}
