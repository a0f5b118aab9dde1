//! Which addresses are called.

use std::net::IpAddr;

use url::Url;

use super::{Dialer, Names, Reach};
use crate::error::Phase;
use crate::settings::{Insecure, Settings};

fn dialer(names: Vec<(&'static str, Vec<&str>)>, blocked: &str) -> Dialer {
    let settings = Settings {
        blocked: Settings::parse_blocked(blocked).unwrap(),
        insecure: Insecure::parse("*"),
        ..Settings::default()
    };
    let names = names.into_iter();
    let names = names.map(|(name, ips)| (name, ips.iter().map(|ip| ip.parse().unwrap()).collect()));
    Dialer {
        names: Names::Fixed(names.collect()),
        ..Dialer::new(&settings)
    }
}

async fn refusal(dialer: &Dialer, url: &str, loopback: bool) -> Option<String> {
    let url = Url::parse(url).unwrap();
    let found = dialer.addresses(&url, Reach { loopback }).await;
    found.err().map(|error| {
        assert_eq!(error.phase, Phase::Resolve);
        error.why().to_owned()
    })
}

#[tokio::test]
async fn metadata_services_and_link_local_addresses_are_never_called() {
    let dialer = dialer(vec![], "");
    for host in [
        "169.254.169.254",
        "169.254.0.1",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[::169.254.169.254]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        for scheme in ["http", "https"] {
            let why = refusal(&dialer, &format!("{scheme}://{host}/x"), true).await;
            assert!(
                why.is_some_and(|why| why.contains("is not called")),
                "{host}"
            );
        }
    }
    assert_eq!(refusal(&dialer, "https://10.0.0.1/x", false).await, None);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_blocked_address_is_refused() {
    let names = vec![
        ("metadata.google.internal", vec!["169.254.169.254"]),
        ("rebind.example", vec!["192.0.2.1", "169.254.169.254"]),
        ("inside.example", vec!["10.1.2.3"]),
        ("admin.example", vec!["127.0.0.1"]),
        ("good.example", vec!["192.0.2.1", "2001:db8::1"]),
    ];
    let dialer = dialer(names, "10.0.0.0/8, 203.0.113.7");
    for (host, why) in [
        ("metadata.google.internal", "a metadata service"),
        ("rebind.example", "a metadata service"),
        (
            "inside.example",
            "10.0.0.0/8, which BLOCKED_CIDRS_IN_WASM_FETCH forbids",
        ),
        ("admin.example", "this machine itself"),
        ("203.0.113.7", "BLOCKED_CIDRS_IN_WASM_FETCH"),
        ("nowhere.example", "cannot be resolved"),
    ] {
        // A name is not allowed more because the user named this machine before.
        let told = refusal(&dialer, &format!("https://{host}/"), true).await;
        assert!(
            told.as_ref().is_some_and(|told| told.contains(why)),
            "{host}: {told:?}"
        );
    }
    let url = Url::parse("https://good.example:444/").unwrap();
    let found = dialer
        .addresses(&url, Reach { loopback: false })
        .await
        .unwrap();
    let ips: Vec<IpAddr> = found.iter().map(std::net::SocketAddr::ip).collect();
    assert_eq!(
        ips,
        [
            "192.0.2.1".parse::<IpAddr>().unwrap(),
            "2001:db8::1".parse().unwrap()
        ]
    );
}

#[tokio::test]
async fn this_machine_is_called_only_by_its_own_name_and_by_nobodys_redirect() {
    let dialer = dialer(vec![("localhost", vec!["127.0.0.1"])], "");
    for url in [
        "http://127.0.0.1:15000/",
        "http://localhost:15000/",
        "http://[::1]:1/",
    ] {
        assert_eq!(refusal(&dialer, url, true).await, None, "{url}");
        assert!(refusal(&dialer, url, false).await.is_some(), "{url}");
    }
}

#[tokio::test]
async fn plain_http_is_for_hosts_that_were_called_insecure() {
    let settings = Settings {
        insecure: Insecure::parse("plain.example, ported.example:5000"),
        ..Settings::default()
    };
    let dialer = Dialer::new(&settings);
    let plain = |url: &str| dialer.may_be_plain(&Url::parse(url).unwrap());
    assert!(plain("http://plain.example/") && plain("http://plain.example:81/"));
    assert!(plain("http://ported.example:5000/") && !plain("http://ported.example/"));
    assert!(!plain("http://plain.example.evil/") && !plain("http://x.example/"));
    assert!(plain("http://127.0.0.1:5000/") && plain("http://localhost/"));
    let url = Url::parse("http://x.example/").unwrap();
    let Err(error) = dialer.dial(&url, Reach { loopback: false }).await else {
        panic!("it was called");
    };
    let error = crate::Error::from(error).to_string();
    assert!(error.contains("WASM_INSECURE_REGISTRIES"), "{error}");
}
