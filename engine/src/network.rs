//! Names and sockets, as a parameter: the simulator hands in its own.

use std::io;
use std::net::SocketAddr;

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
