//! Beginning and building filters, in every language whose compiler is here.

use std::process::Command;

use super::{Folder, run};

const LANGUAGES: [&str; 4] = ["rust", "go", "assemblyscript", "c"];

#[test]
fn every_language_begins_builds_and_holds_its_tests() {
    let folder = Folder::new();
    let list = folder.filter(&["new", "--list"]).ends(0).stdout;
    for language in LANGUAGES {
        let line = list.lines().find(|line| line.starts_with(language));
        let line = line.unwrap_or_else(|| panic!("{language} is missing in\n{list}"));
        if line.ends_with("no") {
            skipped(language);
            continue;
        }
        let name = format!("demo-{language}");
        folder.filter(&["new", "--lang", language, &name]).ends(0);
        let again = folder.filter(&["new", "--lang", language, &name]).ends(1);
        assert!(again.stderr.contains("is there already"), "{again:?}");

        let built = folder.filter(&["build", &name]).ends(0);
        assert!(built.stdout.contains("proxy-wasm 0.2."), "{built:?}");
        let held = folder.filter(&["test", "--filter", &name]).ends(0);
        assert!(held.stdout.ends_with("4 passed, 0 failed\n"), "{held:?}");
        let module = format!("{name}/build/{name}.wasm");
        let inspected = folder.filter(&["inspect", &module, "-o", "json"]).ends(0);
        let callbacks = inspected.json()["callbacks"].to_string();
        assert!(
            callbacks.contains("proxy_on_request_headers"),
            "{callbacks}"
        );
    }
}

#[expect(clippy::print_stderr, reason = "who runs the tests has to hear of it")]
fn skipped(language: &str) {
    assert!(
        std::env::var_os("REQUIRE_COMPILERS").is_none(),
        "REQUIRE_COMPILERS is set and there is no compiler for {language}"
    );
    eprintln!("\n*** SKIPPED: there is no compiler for {language} here ***\n");
}

#[test]
fn without_a_compiler_the_command_that_installs_it_is_told() {
    let folder = Folder::new();
    for (language, command) in [
        ("rust", "-t wasm32-unknown-unknown"),
        ("go", "https://go.dev/dl/"),
        ("assemblyscript", "apt-get install nodejs npm"),
        ("c", "apt-get install clang lld"),
    ] {
        let name = format!("none-{language}");
        folder.filter(&["new", "--lang", language, &name]).ends(0);
        for words in [
            &["build", &name][..],
            &["test", "--filter", &name],
            &["run", &name],
        ] {
            let mut cairn = folder.command(words);
            cairn.env("PATH", "/nowhere");
            let told = run(cairn).ends(69);
            assert!(told.stderr.contains(command), "{told:?}");
            assert!(told.stdout.is_empty(), "{told:?}");
        }
    }
}

#[test]
fn rust_without_a_wasm_target_is_told_both_ways_to_get_one() {
    let folder = Folder::new();
    folder.filter(&["new", "demo"]).ends(0);
    // A machine with cargo and rustc, and nothing for WebAssembly.
    let programs = folder.path("bin");
    for program in ["cargo", "rustc"] {
        folder.write(&format!("bin/{program}"), "#!/bin/sh\nexit 1\n");
        let mode = ["+x", &format!("bin/{program}")].map(str::to_owned);
        let mut chmod = Command::new("chmod");
        assert!(
            chmod
                .args(mode)
                .current_dir(&folder.0)
                .status()
                .unwrap()
                .success()
        );
    }
    let mut build = folder.command(&["build", "demo"]);
    build.env("PATH", &programs);
    let told = run(build).ends(69);
    for command in [
        "rustup target add wasm32-unknown-unknown",
        "apt-get install --no-install-recommends rustc-web rust-web-src lld-22",
    ] {
        assert!(told.stderr.contains(command), "{told:?}");
    }
}

#[test]
fn a_build_that_fails_or_writes_nothing_is_a_failure() {
    let folder = Folder::new();
    let manifest = |build: &str| format!("name: demo\nlang: c\nbuild: {build}\n");
    folder.write("filter.yaml", manifest("'exit 3'"));
    assert!(folder.filter(&["build"]).ends(1).stderr.contains("failed"));
    folder.write("filter.yaml", manifest("'true'"));
    let told = folder.filter(&["build"]).ends(1);
    assert!(told.stderr.contains("build/demo.wasm"), "{told:?}");
    folder.write("filter.yaml", "name: demo\nlang: cobol\n");
    let told = folder.filter(&["build"]).ends(1);
    assert!(told.stderr.contains("filter.yaml"), "{told:?}");
}

#[test]
fn outside_of_a_filter_that_is_told() {
    let folder = Folder::new();
    for step in ["build", "test", "run", "bench", "inspect"] {
        let told = folder.filter(&[step]);
        assert!(matches!(told.code, Some(1 | 2)), "{told:?}");
        assert!(told.stderr.contains("cairn filter new NAME"), "{told:?}");
    }
    let told = folder.filter(&["new", "No Good"]).ends(1);
    assert!(told.stderr.contains("lower-case"), "{told:?}");
}
