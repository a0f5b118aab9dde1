use std::net::SocketAddr;

use super::canonical;

#[test]
fn an_ipv4_client_of_a_dual_stack_socket_is_an_ipv4_client() {
    let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
    assert_eq!(canonical(mapped), "10.0.0.1:80".parse().unwrap());
    let plain: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
    assert_eq!(canonical(plain), plain);
}
