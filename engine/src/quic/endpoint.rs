//! Endpoints: the socket, the limits, the congestion control. SPEC §6.1.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{AsyncUdpSocket, EndpointConfig, Runtime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;

use super::tls::{self, TlsError};

/// What we ask the kernel for; it may give less, and that is fine.
const SOCKET_BUFFER_BYTES: usize = 1024 * 1024;

/// What is kept of a connection's datagrams before anybody has looked at its first.
const INCOMING_BYTES: u64 = 16 * 1024;

/// Codes a connection is closed with. SPEC §6.8.
pub mod close_code {
    use quinn::VarInt;
    /// The work is done.
    pub const DONE: VarInt = VarInt::from_u32(0);
    /// The process ends.
    pub const SHUTDOWN: VarInt = VarInt::from_u32(1);
    /// The peer broke the protocol.
    pub const PROTOCOL: VarInt = VarInt::from_u32(2);
    /// The peer may not be here.
    pub const REFUSED: VarInt = VarInt::from_u32(3);
    /// The peer sent wrong bytes.
    pub const CORRUPT: VarInt = VarInt::from_u32(4);
    /// The peer was too slow.
    pub const TOO_SLOW: VarInt = VarInt::from_u32(5);
    /// There is no room for a node that is not admitted; it passes by itself.
    pub const FULL: VarInt = VarInt::from_u32(6);
}

/// Where an endpoint's datagrams go: a real socket, or a simulator's.
#[derive(Debug)]
pub struct Bind {
    /// The socket.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Spawns and sleeps for it.
    pub runtime: Arc<dyn Runtime>,
    /// What packet numbers that are skipped and the like are drawn from: the system's randomness where there is none.
    /// A simulator's runs repeat only with a seed of its own.
    pub rng_seed: Option<[u8; 32]>,
}

impl Bind {
    /// A UDP socket on this machine, to be called inside a Tokio runtime.
    ///
    /// # Errors
    /// What the system said: the address is taken, not ours, or needs a privilege.
    pub fn udp(address: SocketAddr) -> io::Result<Self> {
        let runtime = quinn::TokioRuntime;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            // One socket for both families where the system allows it.
            let _ = socket.set_only_v6(false);
        }
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&address.into())?;
        Ok(Self {
            socket: runtime.wrap_udp_socket(socket.into())?,
            runtime: Arc::new(runtime),
            rng_seed: None,
        })
    }

    /// Any free port, for dialling addresses of `peer`'s family.
    ///
    /// # Errors
    /// What the system said.
    pub fn any_port_for(peer: SocketAddr) -> io::Result<Self> {
        Self::udp(match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        })
    }
}

/// Why an endpoint cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Our own key is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket.
    #[error("cannot use the UDP socket: {0}")]
    Socket(#[from] io::Error),
}

/// An endpoint that listens.
///
/// # Errors
/// [`ListenError`].
pub fn server(bind: Bind, key: &SecretKey) -> Result<quinn::Endpoint, ListenError> {
    Ok(endpoint(bind, Some(server_config(key)?))?)
}

/// How an endpoint that listens receives connections, and the key it shows them.
///
/// # Errors
/// [`TlsError`].
pub fn server_config(key: &SecretKey) -> Result<quinn::ServerConfig, TlsError> {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls::server_config(key)?));
    config.transport_config(Arc::new(transport()));
    // Handshakes that wait for us to look at them; beyond, datagrams are dropped and clients send again.
    config.max_incoming(limits::HANDSHAKES_BEFORE_RETRY * 4);
    // What they may send meanwhile: a whole ClientHello, and again.
    config.incoming_buffer_size(INCOMING_BYTES);
    config.incoming_buffer_size_total(INCOMING_BYTES * limits::HANDSHAKES_BEFORE_RETRY as u64);
    Ok(config)
}

/// An endpoint that dials, and the configuration to dial with.
///
/// # Errors
/// [`ListenError`].
pub fn client(bind: Bind, key: &SecretKey) -> Result<quinn::Endpoint, ListenError> {
    let mut endpoint = endpoint(bind, None)?;
    endpoint.set_default_client_config(client_config(key)?);
    Ok(endpoint)
}

/// How [`client`] dials.
///
/// # Errors
/// [`TlsError`].
pub fn client_config(key: &SecretKey) -> Result<quinn::ClientConfig, TlsError> {
    let mut transport = transport();
    transport.receive_window(count(limits::MIRROR_WINDOW_BYTES));
    // Nobody is asked by an upstream.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    // The side that dials keeps the connection alive; it is the one behind a NAT.
    transport.keep_alive_interval(Some(Duration::from_millis(limits::KEEP_ALIVE_MS as u64)));
    // A mirror asks and acknowledges: its packets are small, and probes for a larger MTU would be most of the bytes
    // a short connection sends.
    transport.mtu_discovery_config(None);
    let mut config = quinn::ClientConfig::new(Arc::new(tls::client_config(key)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn endpoint(bind: Bind, server: Option<quinn::ServerConfig>) -> io::Result<quinn::Endpoint> {
    let mut config = EndpointConfig::default();
    config.rng_seed(bind.rng_seed);
    quinn::Endpoint::new_with_abstract_socket(config, server, bind.socket, bind.runtime)
}

fn count(n: usize) -> VarInt {
    VarInt::from_u32(u32::try_from(n).unwrap_or(u32::MAX))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(count(limits::BIDI_STREAMS))
        .max_concurrent_uni_streams(count(limits::UNI_STREAMS))
        .stream_receive_window(count(limits::STREAM_WINDOW_BYTES))
        .receive_window(count(limits::CONNECTION_WINDOW_BYTES))
        .send_window(limits::CONNECTION_WINDOW_BYTES as u64)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(count(limits::IDLE_MS).into()))
        // bbr fills long links better but sends twice the needed packets on short ones (measured), at the cost
        // of whoever shares the mirror's line.
        .congestion_controller_factory(Arc::new(CubicConfig::default()));
    transport
}
