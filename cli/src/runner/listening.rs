//! Whether somebody in a pod listens on a port, without knocking.
//!
//! To connect would be seen by the program, and one that speaks first would answer. The kernel's
//! own list of sockets tells the same.
//!
//! Source: `proc_pid_net(5)`, files `tcp`, `tcp6`, `udp` and `udp6`.

use std::{collections::BTreeSet, fs, io};

use nlink::netlink::namespace::Netns;

use crate::world::services::Transport;

const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";
/// Connections to a loopback address never come from outside.
const LOOPBACK_V4: &str = "0100007F";
const LOOPBACK_V6: &str = "00000000000000000000000001000000";

/// The ports on which sockets of `netns` take connections from outside.
pub(super) fn ports(netns: &Netns) -> io::Result<BTreeSet<(Transport, u16)>> {
    let read = || {
        let table = |name: &str| {
            fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
        };
        (table("tcp") + &table("tcp6"), table("udp") + &table("udp6"))
    };
    let (tcp, udp) = netns.run(read).map_err(io::Error::other)?;
    let of = |transport, table: &str, state| {
        parse(table, state)
            .map(move |port| (transport, port))
            .collect::<Vec<_>>()
    };
    Ok(of(Transport::Tcp, &tcp, TCP_LISTEN)
        .into_iter()
        .chain(of(Transport::Udp, &udp, UDP_UNCONNECTED))
        .collect())
}

/// The local ports of a table's sockets that are in `state`.
fn parse<'t>(table: &'t str, state: &'t str) -> impl Iterator<Item = u16> + 't {
    table.lines().filter_map(move |line| {
        let mut words = line.split_whitespace().skip(1);
        let (address, port) = words.next()?.split_once(':')?;
        let is_meant = words.nth(1)? == state && address != LOOPBACK_V4 && address != LOOPBACK_V6;
        if is_meant {
            u16::from_str_radix(port, 16).ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
             1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
             2: 02015B0A:1F92 03015B0A:ABCD 01 00000000:00000000 00:00000000 00000000\n\
             3: 00000000000000000000000000000000:1F93 00000000000000000000000000000000:0000 0A 0:0\n";
        assert_eq!(
            parse(table, TCP_LISTEN).collect::<Vec<_>>(),
            [0x1f90, 0x1f93]
        );
    }

    #[test]
    fn open_sockets_are_found() {
        let (tcp, udp) = (
            TcpListener::bind("0.0.0.0:0").unwrap(),
            UdpSocket::bind("[::]:0").unwrap(),
        );
        let found = ports(&Netns::current().unwrap()).unwrap();
        assert!(found.contains(&(Transport::Tcp, tcp.local_addr().unwrap().port())));
        assert!(found.contains(&(Transport::Udp, udp.local_addr().unwrap().port())));
    }
}
