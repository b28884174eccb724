//! Names and sockets, as a parameter: the simulator hands in its own.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use futures_util::future::BoxFuture;

use crate::quic::Bind;

/// Where a node's datagrams go and how names become addresses.
pub trait Network: Send + Sync + std::fmt::Debug {
    /// The addresses of `host:port`, best first.
    fn resolve<'a>(&'a self, host_and_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// A socket to dial `peer` from.
    ///
    /// # Errors
    /// What the system said.
    fn bind_for(&self, peer: SocketAddr) -> io::Result<Bind>;
}

/// The machine's network.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn resolve<'a>(&'a self, host_and_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(host_and_port).await?.collect()) })
    }

    fn bind_for(&self, peer: SocketAddr) -> io::Result<Bind> {
        Bind::any_port_for(peer)
    }
}

/// The address connections from `remote` are counted under, whatever they speak: an IPv6 customer owns a whole
/// /64, so that is one address here. `None` for loopback, which is a local proxy or relay that speaks for many.
#[must_use]
pub fn counted_address(remote: IpAddr) -> Option<IpAddr> {
    (!remote.to_canonical().is_loopback()).then(|| network_of(remote))
}

/// The same for what is counted of loopback, too.
#[must_use]
pub fn network_of(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let prefix = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(prefix).into()
        }
        canonical => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(address: &str) -> Option<IpAddr> {
        counted_address(address.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        assert_eq!(counted("2001:db8:0:1::1"), counted("2001:db8:0:1:ffff::2"));
        assert_ne!(counted("2001:db8:0:1::1"), counted("2001:db8:0:2::1"));
        assert_eq!(counted("::ffff:192.0.2.1"), counted("192.0.2.1"));
    }

    #[test]
    fn loopback_is_nobodys_address() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(counted(address), None, "{address}");
        }
    }
}
