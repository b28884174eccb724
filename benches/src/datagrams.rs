//! Stands between nodes and a master and counts the payload of every datagram, both ways.
//!
//! What tidecast says about itself is then only a second opinion. A datagram that is lost behind the relay counts, and so
//! does the one that repeats it, as on a paid link; on a busy machine whole files then cost some percent more.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

/// Room for datagrams that wait; the kernel gives less where it is told to.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// How often threads look whether they shall end.
const LOOK: Duration = Duration::from_millis(200);
/// Larger than any datagram.
const DATAGRAM_BYTES: usize = 1 << 16;

/// A relay on a port of its own. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Relay {
    /// Relays to `master`, each client from a port of its own.
    pub(crate) fn to(master: SocketAddr) -> Result<Self> {
        let socket = Arc::new(socket()?);
        let relay = Self {
            address: socket.local_addr()?,
            bytes: Arc::default(),
            ended: Arc::default(),
        };
        let (bytes, ended) = (Arc::clone(&relay.bytes), Arc::clone(&relay.ended));
        std::thread::spawn(move || forward(&socket, master, &bytes, &ended));
        Ok(relay)
    }

    /// Where nodes dial instead of the master.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// UDP payload so far, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK))?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    options.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

/// From clients to the master.
fn forward(
    socket: &Arc<UdpSocket>,
    master: SocketAddr,
    bytes: &Arc<AtomicU64>,
    ended: &Arc<AtomicBool>,
) {
    let mut clients: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    while !ended.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let known = clients.get(&from).map(Arc::clone);
        let Some(own) = known.or_else(|| {
            let own = Arc::new(self::socket().ok()?);
            own.connect(master).ok()?;
            clients.insert(from, Arc::clone(&own));
            let (own_back, socket) = (Arc::clone(&own), Arc::clone(socket));
            let (bytes, ended) = (Arc::clone(bytes), Arc::clone(ended));
            std::thread::spawn(move || back(&own_back, &socket, from, &bytes, &ended));
            Some(own)
        }) else {
            continue;
        };
        // A datagram that cannot be sent is a lost one.
        if own.send(&buffer[..length]).is_ok() {
            bytes.fetch_add(length as u64, Ordering::SeqCst);
        }
    }
}

/// From the master to one client.
fn back(
    own: &UdpSocket,
    socket: &UdpSocket,
    client: SocketAddr,
    bytes: &AtomicU64,
    ended: &AtomicBool,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    while !ended.load(Ordering::SeqCst) {
        if let Ok(length) = own.recv(&mut buffer)
            && socket.send_to(&buffer[..length], client).is_ok()
        {
            bytes.fetch_add(length as u64, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_is_passed_on_and_counted_both_ways() {
        let master = UdpSocket::bind("127.0.0.1:0").unwrap();
        let relay = Relay::to(master.local_addr().unwrap()).unwrap();
        let clients = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut buffer = [0; 64];
        for client in &clients {
            client.send_to(b"question", relay.address()).unwrap();
            let (length, from) = master.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"question");
            master.send_to(b"answer", from).unwrap();
            let (length, _) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"answer");
        }
        // The last is counted when it has been sent, which the receiver may see first.
        while relay.bytes() < 28 {
            std::thread::yield_now();
        }
        assert_eq!(relay.bytes(), 28);
    }
}
