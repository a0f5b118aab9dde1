//! The table of paths, and the properties that hold for all of them.

use proptest::prelude::*;

use super::{InvalidPath, Normalization, normalize, split_query};

const MODES: [Normalization; 4] = [
    Normalization::None,
    Normalization::Base,
    Normalization::MergeSlashes,
    Normalization::DecodeAndMergeSlashes,
];

/// Path, then what it becomes under BASE, `MERGE_SLASHES` and `DECODE_AND_MERGE_SLASHES`; `=` is
/// the column before, `!` is refused.
const TABLE: [[&str; 4]; 108] = [
    // Nothing to do.
    ["/", "=", "=", "="],
    ["/a", "=", "=", "="],
    ["/a/", "=", "=", "="],
    ["/a/b", "=", "=", "="],
    ["/a/b/", "=", "=", "="],
    ["/a.b", "=", "=", "="],
    ["/a..b", "=", "=", "="],
    ["/a...", "=", "=", "="],
    ["/...", "=", "=", "="],
    ["/.../a", "=", "=", "="],
    ["/a./b", "=", "=", "="],
    ["/a../b", "=", "=", "="],
    ["/.a", "=", "=", "="],
    ["/..a", "=", "=", "="],
    ["/A/b", "=", "=", "="],
    ["/a;b=c", "=", "=", "="],
    ["/admin;x", "=", "=", "="],
    ["/a:b", "=", "=", "="],
    ["/a@b", "=", "=", "="],
    ["/a,b", "=", "=", "="],
    ["/a+b", "=", "=", "="],
    ["/a*b", "=", "=", "="],
    ["/$&'()!", "=", "=", "="],
    ["/pkg.Service/Method", "=", "=", "="],
    ["/~user", "=", "=", "="],
    ["/a=b&c", "=", "=", "="],
    ["/{x}", "=", "=", "="],
    ["/a|b", "=", "=", "="],
    // Dot segments.
    ["/.", "/", "=", "="],
    ["/./", "/", "=", "="],
    ["/./a", "/a", "=", "="],
    ["/a/.", "/a/", "=", "="],
    ["/a/./", "/a/", "=", "="],
    ["/a/./b", "/a/b", "=", "="],
    ["/a/././b", "/a/b", "=", "="],
    ["/..", "/", "=", "="],
    ["/../", "/", "=", "="],
    ["/../a", "/a", "=", "="],
    ["/../../a", "/a", "=", "="],
    ["/a/..", "/", "=", "="],
    ["/a/../", "/", "=", "="],
    ["/a/../b", "/b", "=", "="],
    ["/a/b/..", "/a/", "=", "="],
    ["/a/b/../", "/a/", "=", "="],
    ["/a/b/../c", "/a/c", "=", "="],
    ["/a/b/../../c", "/c", "=", "="],
    ["/a/b/../../../c", "/c", "=", "="],
    ["/a/./../b", "/b", "=", "="],
    ["/a/.././b", "/b", "=", "="],
    ["/a/b/c/./../../g", "/a/g", "=", "="],
    // Dots that were escaped.
    ["/%2e", "/", "=", "="],
    ["/%2E", "/", "=", "="],
    ["/%2e%2e", "/", "=", "="],
    ["/a/%2e%2e/b", "/b", "=", "="],
    ["/a/.%2e/b", "/b", "=", "="],
    ["/a/%2E./b", "/b", "=", "="],
    ["/a/%2e/b", "/a/b", "=", "="],
    ["/%2e%2e%2e", "/...", "=", "="],
    // Backslashes.
    ["\\a", "!", "!", "!"],
    ["/\\", "//", "/", "/"],
    ["/a\\b", "/a/b", "=", "="],
    ["/a\\..\\b", "/b", "=", "="],
    ["/a\\.\\b", "/a/b", "=", "="],
    ["/\\..\\a", "/a", "=", "="],
    ["/a\\\\b", "/a//b", "/a/b", "/a/b"],
    // Runs of slashes.
    ["//", "=", "/", "/"],
    ["///", "=", "/", "/"],
    ["//a", "=", "/a", "/a"],
    ["/a//b", "=", "/a/b", "/a/b"],
    ["/a///b", "=", "/a/b", "/a/b"],
    ["/a//", "=", "/a/", "/a/"],
    ["/a//../b", "/a/b", "=", "="],
    ["/a//./b", "/a//b", "/a/b", "/a/b"],
    ["/a/..//b", "//b", "/b", "/b"],
    ["//..//a", "//a", "/a", "/a"],
    ["/.//a", "//a", "/a", "/a"],
    // Escaped slashes.
    ["/a%2fb", "/a%2Fb", "=", "/a/b"],
    ["/a%2Fb", "=", "=", "/a/b"],
    ["/a%5cb", "/a%5Cb", "=", "/a/b"],
    ["/a%5Cb", "=", "=", "/a/b"],
    ["/a%2f%2fb", "/a%2F%2Fb", "=", "/a/b"],
    ["/a%2f..%2fb", "/a%2F..%2Fb", "=", "/b"],
    ["/a/..%2fb", "/a/..%2Fb", "=", "/b"],
    ["/a/%2e%2e%2fb", "/a/..%2Fb", "=", "/b"],
    ["/%2f", "/%2F", "=", "/"],
    ["/%2fadmin", "/%2Fadmin", "=", "/admin"],
    ["/a%2f", "/a%2F", "=", "/a/"],
    ["/a%2e%5c..", "/a.%5C..", "=", "/"],
    // Other escapes.
    ["/%61", "/a", "=", "="],
    ["/%41", "/A", "=", "="],
    ["/%7e", "/~", "=", "="],
    ["/%2d%5f", "/-_", "=", "="],
    ["/%30", "/0", "=", "="],
    ["/%20", "=", "=", "="],
    ["/%c3%a9", "/%C3%A9", "=", "="],
    ["/%3f", "/%3F", "=", "="],
    ["/%23", "=", "=", "="],
    ["/%25", "=", "=", "="],
    ["/%252e%252e", "=", "=", "="],
    ["/%252f", "=", "=", "="],
    ["/%2561", "=", "=", "="],
    ["/%61dmin", "/admin", "=", "="],
    ["/a%3bb", "/a%3Bb", "=", "="],
    // Refused.
    ["/%", "!", "!", "!"],
    ["/%2", "!", "!", "!"],
    ["/%zz", "!", "!", "!"],
    ["/%%32e", "!", "!", "!"],
    ["/a%00b", "!", "!", "!"],
];

#[test]
fn normalizes_as_the_table_says() {
    for [path, columns @ ..] in TABLE {
        let mut expected = path;
        for (column, mode) in columns.into_iter().zip(MODES.into_iter().skip(1)) {
            if column != "=" {
                expected = column;
            }
            let found = normalize(path, mode).map_or("!".to_owned(), String::from);
            assert_eq!(found, expected, "{path} under {mode:?}");
        }
    }
}

#[test]
fn refuses_what_no_path_may_hold_in_every_mode() {
    for mode in MODES {
        for (path, why) in [
            ("", InvalidPath::NotAbsolute),
            ("a", InvalidPath::NotAbsolute),
            ("*", InvalidPath::NotAbsolute),
            ("http://a/b", InvalidPath::NotAbsolute),
            ("/a b", InvalidPath::Byte(b' ')),
            ("/a\tb", InvalidPath::Byte(b'\t')),
            ("/a\nb", InvalidPath::Byte(b'\n')),
            ("/a\0b", InvalidPath::Byte(0)),
            ("/a\x7fb", InvalidPath::Byte(0x7f)),
            ("/a#b", InvalidPath::Byte(b'#')),
            ("/\u{e9}", InvalidPath::Byte(0xc3)),
            ("/a%00", InvalidPath::Nul),
        ] {
            assert_eq!(normalize(path, mode), Err(why), "{path:?} under {mode:?}");
        }
    }
}

#[test]
fn leaves_everything_else_alone_without_normalization() {
    for path in ["/a/../b", "/a//b", "/%2e", "/a\\b", "/%zz"] {
        assert_eq!(normalize(path, Normalization::None).unwrap(), path);
    }
}

#[test]
fn splits_the_query_at_the_first_question_mark() {
    assert_eq!(split_query("/a?b=/../?c"), ("/a", Some("b=/../?c")));
    assert_eq!(split_query("/a?"), ("/a", Some("")));
    assert_eq!(split_query("/a"), ("/a", None));
}

#[test]
fn reads_the_modes_of_the_mesh_configuration() {
    assert_eq!(Normalization::parse("DEFAULT"), Some(Normalization::Base));
    for mode in MODES {
        let name = serde_json_name(mode);
        assert_eq!(Normalization::parse(&name), Some(mode), "{name}");
    }
    assert_eq!(Normalization::parse("base"), None);
}

fn serde_json_name(mode: Normalization) -> String {
    // Enum names in SCREAMING_SNAKE_CASE, as `Serialize` writes them.
    let mut name = String::new();
    for char in format!("{mode:?}").chars() {
        if char.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(char.to_ascii_uppercase());
    }
    name
}

/// Paths of the pieces that matter.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "//", ".", "..", "a", "B", "%2e", "%2E", "%2f", "%5C", "%25", "%41", "%c3", "\\",
        ";x", "%2", "%", "%00",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn normalizing_twice_is_normalizing_once(path in paths()) {
        for mode in MODES {
            if let Ok(once) = normalize(&path, mode) {
                let twice = normalize(&once, mode);
                prop_assert_eq!(twice, Ok(once.clone()), "{:?}", mode);
            }
        }
    }

    #[test]
    fn nothing_normalized_climbs(path in paths()) {
        for mode in MODES.into_iter().skip(1) {
            if let Ok(normal) = normalize(&path, mode) {
                prop_assert!(normal.starts_with('/'));
                prop_assert!(normal.split('/').all(|segment| segment != ".." && segment != "."));
                prop_assert!(!normal.contains('\\'));
                if mode != Normalization::Base {
                    prop_assert!(!normal.contains("//"));
                }
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(path in any::<String>()) {
        for mode in MODES {
            let _ = normalize(&path, mode);
        }
    }
}
