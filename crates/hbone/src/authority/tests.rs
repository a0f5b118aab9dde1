use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: Result<&str, Error>) {
    let parsed = text.parse::<Authority>().map(|a| a.to_string());
    assert_eq!(parsed, expected.map(str::to_owned), "{text:?}");
}

#[test]
fn accepts_addresses_and_names() {
    check("10.244.2.5:8080", Ok("10.244.2.5:8080"));
    check("[fd00::5]:80", Ok("[fd00::5]:80"));
    check("[FD00:0:0::5]:80", Ok("[fd00::5]:80"));
    check(
        "echo.app.svc.cluster.local:80",
        Ok("echo.app.svc.cluster.local:80"),
    );
    check("localhost:1", Ok("localhost:1"));
    check("my_db.example.com:65535", Ok("my_db.example.com:65535"));
    check("3scale.example:80", Ok("3scale.example:80"));
}

#[test]
fn normalises_names_so_that_equal_targets_compare_equal() {
    check(
        "Echo.App.SVC.cluster.local.:80",
        Ok("echo.app.svc.cluster.local:80"),
    );
}

#[test]
fn tells_an_address_from_a_name() {
    let socket: Authority = "10.0.0.1:80".parse().unwrap();
    assert_eq!(socket.ip(), Some("10.0.0.1".parse().unwrap()));
    let host: Authority = "cart.shop:8080".parse().unwrap();
    assert_eq!((host.ip(), host.port()), (None, 8080));
}

#[test]
fn refuses_what_has_no_port() {
    for text in ["garbage", "10.0.0.1", "[::1]", "[::1]80", "cart.shop"] {
        check(text, Err(Error::NoPort));
    }
}

#[test]
fn refuses_ports_that_are_not_plain_decimal() {
    for port in [
        "",
        "0",
        "080",
        "+80",
        "-1",
        " 80",
        "80 ",
        "65536",
        "99999999999",
        "http",
        "8o",
    ] {
        check(&format!("10.0.0.1:{port}"), Err(Error::Port));
        check(&format!("[::1]:{port}"), Err(Error::Port));
        check(&format!("cart.shop:{port}"), Err(Error::Port));
    }
}

#[test]
fn refuses_hosts_that_could_be_read_in_two_ways() {
    let hosts = [
        "",
        ".",
        "..",
        "user@10.0.0.1",
        "user:secret@cart.shop",
        "cart.shop/path",
        "cart%2eshop",
        "cart..shop",
        ".cart.shop",
        "-cart.shop",
        "cart-.shop",
        "cart shop",
        "cart\u{e9}.shop",
        "*.shop",
        "::1",
        "fe80::1",
        "[::1",
        "[fe80::1%25eth0]",
        "[10.0.0.1]",
        "[]",
        "10.0.0",
        "127.1",
        "010.0.0.1",
        "10.0.0.256",
        "0x7f.0x1",
        "2130706433",
        "10.0.0.1.",
    ];
    for host in hosts {
        check(&format!("{host}:80"), Err(Error::Host));
    }
}

#[test]
fn refuses_oversized_input_without_reading_it() {
    check("", Err(Error::Length));
    check(&format!("{}:80", "a".repeat(300)), Err(Error::Length));
    check(&format!("{}:80", "a".repeat(64)), Err(Error::Host));
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    check(
        &format!("{longest}.:65535"),
        Ok(&format!("{longest}:65535")),
    );
    check(&format!("{longest}b:80"), Err(Error::Host));
}

/// Any authority we print is one `h2` accepts in a request line, and reads back the same.
fn any_authority() -> impl Strategy<Value = Authority> {
    let socket = (any::<IpAddr>(), 1u16..).prop_map(|(ip, port)| SocketAddr::new(ip, port).into());
    let host =
        ("[a-z_]([a-z0-9-]{0,8}[a-z_])?(\\.[a-z]{1,8}){0,4}", 1u16..).prop_map(|(host, port)| {
            Authority::Host {
                host: host.into(),
                port,
            }
        });
    prop_oneof![socket, host]
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(authority in any_authority()) {
        let text = authority.to_string();
        prop_assert!(text.parse::<http::uri::Authority>().is_ok());
        prop_assert_eq!(text.parse(), Ok(authority));
    }

    #[test]
    fn parsing_never_panics_and_is_idempotent(text in "\\PC{0,40}(:[0-9]{0,6})?") {
        if let Ok(authority) = text.parse::<Authority>() {
            prop_assert_eq!(authority.to_string().parse(), Ok(authority));
        }
    }

    #[test]
    fn accepts_nothing_the_standard_library_reads_as_another_address(text in "[0-9a-fx.:\\[\\]]{1,24}") {
        let (Ok(ours), Ok(std)) = (text.parse::<Authority>(), text.parse::<SocketAddr>()) else {
            return Ok(());
        };
        prop_assert_eq!(ours, Authority::Socket(std));
    }
}
