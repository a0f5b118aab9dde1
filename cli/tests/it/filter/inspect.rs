//! What is in a module, word by word.

use super::{Folder, guest, prebuilt};

const SIGNS: &str = "\
signs.wasm can be loaded
  abi        0.2.1
  size       SIZE B
  sha256     DIGEST
  memory     128.0 KiB at the start
  functions  4, with names
  callbacks
    proxy_on_context_create
    proxy_on_response_headers
  imports
    env.proxy_replace_header_map_value
  other exports
    memory
    proxy_abi_version_0_2_1
    proxy_on_memory_allocate
";

const REFUSES: &str = "\
refuses.wasm can be loaded
  abi        0.2.1
  size       SIZE B
  sha256     DIGEST
  memory     128.0 KiB at the start
  functions  4, without names
  callbacks
    proxy_on_context_create
    proxy_on_configure
  other exports
    memory
    proxy_abi_version_0_2_1
    proxy_on_memory_allocate
note: it has no callback for requests or connections, so it never sees traffic
note: it has no name section: a crash will tell numbers instead of functions; build without stripping names
";

const WANTS_MORE: &str = "\
more.wasm cannot be loaded: REASON
  abi        unknown
";

#[test]
fn a_module_is_told_in_full() {
    let folder = Folder::new();
    let modules = [
        ("signs.wasm", guest::signs("one"), SIGNS),
        ("refuses.wasm", guest::refuses(), REFUSES),
    ];
    for (name, bytes, expected) in modules {
        folder.write(name, &bytes);
        let told = folder.filter(&["inspect", name]).ends(0).stdout;
        let digest = told
            .lines()
            .find_map(|line| line.strip_prefix("  sha256     "));
        let expected = expected
            .replace("DIGEST", digest.unwrap())
            .replace("SIZE", &bytes.len().to_string());
        assert_eq!(told, expected);
    }

    let json = folder
        .filter(&["inspect", "signs.wasm", "--output", "json"])
        .ends(0)
        .json();
    assert_eq!(json["loadable"], true);
    assert_eq!(json["abiVersion"], "0.2.1");
    assert_eq!(json["memory"]["initialBytes"], 2 << 16);
}

/// Whatever is named, an answer comes at once, and says what is wrong.
#[test]
fn what_is_no_file_of_a_module_is_told_at_once() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(folder.path("empty")).unwrap();
    let sparse = std::fs::File::create(folder.path("sparse.wasm")).unwrap();
    sparse.set_len(5 << 30).unwrap();
    for (name, why) in [
        ("/dev/zero", "/dev/zero is no file"),
        ("pipe", "pipe is no file"),
        ("empty", "empty is no folder of a filter"),
        ("sparse.wasm", "sparse.wasm has more than 256.0 MiB"),
        ("none.wasm", "none.wasm cannot be read: No such file"),
    ] {
        for command in [
            &["inspect", name][..],
            &["push", "oci://127.0.0.1:1/a:b", name],
        ] {
            let told = folder.filter(command).ends(1);
            assert!(told.stderr.contains(why), "{command:?}: {told:?}");
        }
    }
}

#[test]
fn what_no_proxy_can_load_is_told_with_the_reason() {
    let folder = Folder::new();
    folder.write("more.wasm", guest::wants_more());
    let told = folder.filter(&["inspect", "more.wasm"]).ends(1);
    assert!(told.stdout.contains("env.proxy_make_coffee"), "{told:?}");
    let reason = told
        .stdout
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("more.wasm cannot be loaded: "))
        .unwrap();
    assert!(
        told.stdout
            .starts_with(&WANTS_MORE.replace("REASON", reason))
    );
    assert!(
        told.stdout
            .contains("  unknown imports\n    env.proxy_make_coffee\n")
    );

    folder.write("page.wasm", "<html>");
    let told = folder.filter(&["inspect", "page.wasm"]).ends(1);
    assert!(told.stdout.contains("web page"), "{told:?}");
    let told = folder.filter(&["inspect", "none.wasm"]).ends(1);
    assert!(told.stderr.contains("none.wasm"), "{told:?}");
}

#[test]
fn a_real_filter_has_names() {
    let folder = Folder::new();
    let module = prebuilt("add-header.wasm");
    let told = folder
        .filter(&["inspect", module.to_str().unwrap()])
        .ends(0);
    assert!(told.stdout.contains(", with names"), "{told:?}");
}
