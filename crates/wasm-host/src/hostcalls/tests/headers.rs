use super::said;
use crate::pairs;
use crate::reference::covers;
use crate::testing::{Exchange, Guest, OUT, limited, lines_of};
use crate::{HeaderMap as _, Headers, Limits, Map, Notice, Outcome, Refused, StreamHost};

fn get(guest: &mut Guest, map: i32, key: &str) -> String {
    let key = guest.text(key);
    format!("(call $say_and_show (call $proxy_get_header_map_value (i32.const {map}) {key} {OUT}))")
}

fn write(guest: &mut Guest, function: &str, map: i32, key: &[u8], value: &[u8]) -> String {
    let (key, value) = (guest.bytes(key), guest.bytes(value));
    format!("(call $say (call ${function} (i32.const {map}) {key} {value}))")
}

fn remove(guest: &mut Guest, map: i32, key: &str) -> String {
    let key = guest.text(key);
    format!("(call $say (call $proxy_remove_header_map_value (i32.const {map}) {key}))")
}

const SET: &str = "proxy_replace_header_map_value";
const ADD: &str = "proxy_add_header_map_value";

/// Runs the request headers callback and returns the exchange, the lines, and the notices.
fn run(guest: Guest, body: &str, mut exchange: Exchange) -> (Exchange, String, Vec<Notice>) {
    let (vm, recorder) = guest.on("proxy_on_request_headers", body, 0).start();
    let outcome = vm.new_stream().on_request_headers(&mut exchange, true);
    assert!(matches!(outcome, Outcome::Continue), "{outcome:?}");
    let notices = recorder.notices.borrow().clone();
    (exchange, said(&recorder.lines()), notices)
}

#[test]
fn values_are_found_whatever_the_case_and_absence_is_not_found() {
    covers!("proxy_get_header_map_value");
    let mut guest = Guest::new();
    let body = [
        get(&mut guest, 0, ":path"),
        get(&mut guest, 0, "X-REQUEST-ID"),
        get(&mut guest, 0, "x-empty"),
        get(&mut guest, 0, "x-absent"),
        get(&mut guest, 0, "not a name"),
        get(&mut guest, 0, ""),
    ]
    .concat();
    let mut exchange = Exchange::get("/a");
    exchange.request.push("x-empty", "");
    assert_eq!(run(guest, &body, exchange).1, "0 /a 0 id-1 0  1 1 1");
}

#[test]
fn the_first_abi_does_not_tell_absence_from_emptiness() {
    covers!("proxy_get_header_map_value");
    let mut guest = Guest::abi("proxy_abi_version_0_1_0");
    let body = get(&mut guest, 0, "x-absent");
    assert_eq!(run(guest, &body, Exchange::get("/")).1, "0 ");
}

#[test]
fn a_map_that_is_not_there_reads_as_empty_and_ignores_writes() {
    covers!("proxy_remove_header_map_value");
    covers!("proxy_get_header_map_pairs");
    let mut guest = Guest::new();
    let mut body = String::new();
    for map in 1..8 {
        body += &get(&mut guest, map, "a");
        let show = format!(
            "(call $say_and_show (call $proxy_get_header_map_pairs (i32.const {map}) {OUT}))"
        );
        body += &show;
        body += &write(&mut guest, SET, map, b"a", b"1");
        body += &remove(&mut guest, map, "a");
    }
    let (_, lines, notices) = run(guest, &body, Exchange::get("/"));
    assert_eq!(lines, ["1 0  0 0"; 7].join(" "));
    assert_eq!(notices, [Notice::WriteIgnored; 14]);
}

#[test]
fn maps_beyond_the_eight_are_bad_arguments() {
    covers!("proxy_remove_header_map_value");
    covers!(
        "proxy_get_header_map_pairs",
        "proxy_get_header_map_size",
        "proxy_set_header_map_pairs"
    );
    let mut guest = Guest::new();
    let body = [
        get(&mut guest, 8, "a"),
        write(&mut guest, ADD, -1, b"a", b"1"),
        remove(&mut guest, 99, "a"),
        format!("(call $say (call $proxy_get_header_map_pairs (i32.const 8) {OUT}))"),
        "(call $say (call $proxy_set_header_map_pairs (i32.const 8) (i32.const 0) (i32.const 0)))"
            .to_owned(),
        "(call $say (call $proxy_get_header_map_size (i32.const 8) (i32.const 0)))".to_owned(),
    ];
    assert_eq!(
        run(guest, &body.concat(), Exchange::get("/")).1,
        "2 2 2 2 2 2"
    );
}

#[test]
fn setting_adding_and_removing_reach_the_proxy_in_lower_case() {
    covers!("proxy_remove_header_map_value");
    let mut guest = Guest::new();
    let body = [
        write(&mut guest, SET, 0, b"X-New", b"1"),
        write(&mut guest, ADD, 0, b"X-New", b"2"),
        write(&mut guest, SET, 0, b":path", b"/rewritten"),
        remove(&mut guest, 0, "X-Request-Id"),
        remove(&mut guest, 0, "x-absent"),
    ];
    let (exchange, lines, notices) = run(guest, &body.concat(), Exchange::get("/"));
    assert_eq!((lines.as_str(), notices.len()), ("0 0 0 0 0", 0));
    let expected = [
        (":authority", "shop"),
        (":path", "/rewritten"),
        (":method", "GET"),
        ("x-new", "1"),
        ("x-new", "2"),
    ];
    assert_eq!(exchange.request, expected.into_iter().collect());
}

#[test]
fn what_no_header_can_carry_is_refused_and_told_though_the_guest_hears_ok() {
    let mut guest = Guest::new();
    let bad: [(&[u8], &[u8]); 7] = [
        (b"a", b"1\r\nx-evil: 2"),
        (b"a", b"1\0"),
        (b"a b", b"1"),
        (b"a\r\nb", b"1"),
        (b"", b"1"),
        (b":made-up", b"1"),
        (b"\xff", b"1"),
    ];
    let mut body = String::new();
    for (key, value) in bad {
        body += &write(&mut guest, SET, 0, key, value);
        body += &write(&mut guest, ADD, 0, key, value);
    }
    let before = Exchange::get("/").request;
    let (exchange, lines, notices) = run(guest, &body, Exchange::get("/"));
    assert_eq!(lines, ["0"; 14].join(" "));
    assert_eq!(notices, [Notice::HeaderRefused; 14]);
    assert_eq!(exchange.request, before);
}

#[test]
fn all_pairs_come_in_order_and_their_size_is_told() {
    covers!(
        "proxy_get_header_map_pairs",
        "proxy_get_header_map_size",
        "proxy_log"
    );
    let mut guest = Guest::new();
    guest.text("");
    let body = format!(
        "(call $say (call $proxy_get_header_map_pairs (i32.const 0) {OUT}))
         ;; Count of pairs, and the last byte but one: the end of the last value.
         (call $say (i32.load (i32.load (i32.const 0))))
         (i32.store8 (i32.const 100)
           (i32.load8_u (i32.add (i32.load (i32.const 0)) (i32.sub (i32.load (i32.const 4)) (i32.const 2)))))
         (drop (call $proxy_log (i32.const 2) (i32.const 100) (i32.const 1)))
         (call $say (call $proxy_get_header_map_size (i32.const 0) (i32.const 8)))
         (call $say (i32.sub (i32.load (i32.const 8)) (i32.const 48)))"
    );
    let (exchange, lines, _) = run(guest, &body, Exchange::get("/"));
    let size: usize = exchange
        .request
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    // `say` adds 48 to make a digit, so the size appears as the character with its number.
    let size = char::from(u8::try_from(size).unwrap());
    assert_eq!(lines, format!("0 4 1 0 {size}"));
}

#[test]
fn a_whole_map_is_replaced_at_once() {
    covers!("proxy_set_header_map_pairs");
    let mut guest = Guest::new();
    let mut serialised = Vec::new();
    let new: [(&[u8], &[u8]); 4] = [
        (b":path", b"/b"),
        (b"A", b"1"),
        (b"a", b"2"),
        (b"bad name", b"3"),
    ];
    pairs::write(&mut serialised, new.into_iter());
    let serialised = guest.bytes(&serialised);
    let body = format!("(call $say (call $proxy_set_header_map_pairs (i32.const 0) {serialised}))");
    let (exchange, lines, notices) = run(guest, &body, Exchange::get("/"));
    assert_eq!(
        (lines.as_str(), notices),
        ("0", vec![Notice::HeaderRefused])
    );
    assert_eq!(
        exchange.request,
        [(":path", "/b"), ("a", "1"), ("a", "2")]
            .into_iter()
            .collect()
    );
}

#[test]
fn a_malformed_or_oversized_map_changes_nothing() {
    covers!("proxy_set_header_map_pairs");
    let mut guest = Guest::new();
    let truncated = guest.bytes(b"\x01\0\0\0\x01");
    let many = guest.bytes(b"\x01\x04\0\0");
    let set =
        |span: &str| format!("(call $say (call $proxy_set_header_map_pairs (i32.const 0) {span}))");
    let (exchange, lines, notices) =
        run(guest, &(set(&truncated) + &set(&many)), Exchange::get("/"));
    assert_eq!(
        (lines.as_str(), notices),
        ("2 0", vec![Notice::HeaderRefused])
    );
    assert_eq!(exchange.request, Exchange::get("/").request);
}

#[test]
fn header_bytes_are_bounded_per_callback() {
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let body = write(&mut guest, ADD, 0, b"a", b"123456789").repeat(3);
    let guest = guest.on("proxy_on_request_headers", &body, 0);
    let (vm, recorder) = guest.start_with(limited(Limits {
        header_bytes: 20,
        ..Limits::default()
    }));
    let (mut stream, mut exchange) = (vm.new_stream(), Exchange::get("/"));
    let _ = stream.on_request_headers(&mut exchange, true);
    assert_eq!(exchange.request.len(), 6);
    assert_eq!(*recorder.notices.borrow(), [Notice::HeaderRefused]);
    let _ = stream.on_request_headers(&mut exchange, true);
    assert_eq!(exchange.request.len(), 8);
}

#[test]
fn request_headers_stay_readable_in_the_response_phase() {
    covers!("proxy_get_header_map_value");
    covers!("proxy_on_response_headers");
    let mut guest = Guest::new();
    let body = get(&mut guest, 0, ":path") + &get(&mut guest, 2, ":status");
    let (vm, recorder) = guest.on("proxy_on_response_headers", &body, 0).start();
    let mut exchange = Exchange::get("/still-there").answered("204");
    let _ = vm.new_stream().on_response_headers(&mut exchange, true);
    assert_eq!(said(&recorder.lines()), "0 /still-there 0 204");
}

/// A proxy that has sent its headers already.
struct Sent(Headers);

impl StreamHost for Sent {
    fn headers(&mut self, _: Map) -> Option<&mut dyn crate::HeaderMap> {
        Some(self)
    }
}

impl crate::HeaderMap for Sent {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, name: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
        self.0.get(name)
    }
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.0.each(visit);
    }
    fn set(&mut self, _: &str, _: &[u8]) -> Result<(), Refused> {
        Err("they were sent already".into())
    }
    fn add(&mut self, _: &str, _: &[u8]) -> Result<(), Refused> {
        Err("they were sent already".into())
    }
    fn remove(&mut self, _: &str) -> Result<(), Refused> {
        Err("they were sent already".into())
    }
}

#[test]
fn what_the_proxy_refuses_is_told_with_its_reason() {
    covers!("proxy_remove_header_map_value");
    covers!("proxy_on_request_headers");
    let mut guest = Guest::new();
    let body = write(&mut guest, SET, 0, b"a", b"1") + &remove(&mut guest, 0, ":path");
    let (vm, recorder) = guest.on("proxy_on_request_headers", &body, 0).start();
    let mut sent = Sent([(":path", "/")].into_iter().collect());
    let _ = vm.new_stream().on_request_headers(&mut sent, true);
    assert_eq!(said(&recorder.lines()), "0 0");
    assert_eq!(
        recorder.remarks(),
        [
            "header_refused in proxy_on_request_headers (1 so far): header \"a\": they were sent already"
        ]
    );
}

#[test]
fn the_root_context_has_no_headers() {
    covers!("proxy_get_header_map_value");
    covers!("proxy_on_tick");
    let mut guest = Guest::new();
    let body = get(&mut guest, 0, ":path") + &write(&mut guest, SET, 0, b"a", b"1");
    let (vm, recorder) = guest.on("proxy_on_tick", &body, 0).start();
    vm.on_tick().unwrap();
    assert_eq!(said(&recorder.lines()), "1 0");
}

#[test]
fn time_is_told_in_nanoseconds() {
    covers!("proxy_get_current_time_nanoseconds");
    let body = "(call $say (call $proxy_get_current_time_nanoseconds (i32.const 0)))
        ;; After 2020 and before 2200.
        (call $say (i64.gt_u (i64.load (i32.const 0)) (i64.const 1577836800000000000)))
        (call $say (i64.lt_u (i64.load (i32.const 0)) (i64.const 7258118400000000000)))";
    assert_eq!(said(&lines_of(body, Guest::new())), "0 1 1");
}
