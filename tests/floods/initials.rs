//! Connections that are begun and never finished: valid Initial packets (RFC 9000 §17.2.2), each of a connection of its
//! own, from many addresses.
//!
//! The `ClientHello` is one that a mirror's endpoint sent; it is sealed anew for each connection, as RFC 9001 §5.2 says.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::quic::{Keys, Version};
use rustls::{Side, Tls13CipherSuite};
use tidecast_engine::quic::{self, Bind};
use tidecast_proto::key::SecretKey;

/// Connection ids of ours, in bytes.
const ID_BYTES: usize = 8;

/// Shortest datagram that may carry a client's Initial.
const DATAGRAM_BYTES: usize = 1200;

/// Seal at the end of a packet, in bytes.
const TAG_BYTES: usize = 16;

fn keys(destination: &[u8]) -> Keys {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite: &'static Tls13CipherSuite = suite.tls13().unwrap();
    let quic = suite.quic.unwrap();
    Keys::initial(Version::V1, suite, quic, destination, Side::Client)
}

/// A first packet's content: frames, and the source id that stands in its transport parameters.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    source: Vec<u8>,
    frames: Vec<u8>,
}

/// A variable-length integer and what follows it.
fn integer(bytes: &[u8]) -> (usize, &[u8]) {
    let length = 1 << (bytes[0] >> 6);
    let value = bytes[1..length]
        .iter()
        .fold(usize::from(bytes[0] & 0x3f), |sum, byte| {
            (sum << 8) | usize::from(*byte)
        });
    (value, &bytes[length..])
}

/// An id with its length in front, and what follows it.
fn id(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[1..].split_at(bytes[0].into())
}

impl Hello {
    /// What a mirror's endpoint says first.
    pub(crate) async fn record() -> Self {
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = sink.local_addr().unwrap();
        let key = SecretKey::from_seed(&[3; 32]);
        let endpoint = quic::client(Bind::any_port_for(address).unwrap(), &key).unwrap();
        let _connecting = endpoint.connect(address, "tidecast").unwrap();
        let mut datagram = [0; 2048];
        let length = sink.recv(&mut datagram).await.unwrap();
        Self::open(&mut datagram[..length])
    }

    fn open(datagram: &mut [u8]) -> Self {
        let all = datagram.len();
        let (destination, rest) = id(&datagram[5..]);
        let (source, rest) = id(rest);
        let (token, rest) = integer(rest);
        let (length, rest) = integer(&rest[token..]);
        let (destination, source) = (destination.to_vec(), source.to_vec());
        let number = all - rest.len();
        let keys = keys(&destination);
        let (header, packet) = datagram.split_at_mut(number);
        let (number_bytes, sample) = packet.split_at_mut(4);
        let sealer = &keys.local;
        sealer
            .header
            .decrypt_in_place(&sample[..16], &mut header[0], number_bytes)
            .unwrap();
        let number_len = usize::from(header[0] & 3) + 1;
        let sequence = number_bytes[..number_len]
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let (header, packet) = datagram.split_at_mut(number + number_len);
        let packet = &mut packet[..length - number_len];
        let frames = sealer
            .packet
            .decrypt_in_place(sequence, header, packet)
            .unwrap();
        Self {
            source,
            frames: frames.to_vec(),
        }
    }

    /// The first packet of a connection to `destination`.
    fn seal(&self, destination: &[u8], token: &[u8], datagram: &mut Vec<u8>) {
        datagram.clear();
        // Initial, a packet number of four bytes.
        datagram.push(0xc3);
        datagram.extend(1_u32.to_be_bytes());
        for id in [destination, &self.source] {
            datagram.push(u8::try_from(id.len()).unwrap());
            datagram.extend(id);
        }
        datagram.extend((0x4000 | u16::try_from(token.len()).unwrap()).to_be_bytes());
        datagram.extend(token);
        let frames_at = datagram.len() + 2 + 4;
        let frames = self
            .frames
            .len()
            .max(DATAGRAM_BYTES - frames_at - TAG_BYTES);
        let length = u16::try_from(4 + frames + TAG_BYTES).unwrap();
        datagram.extend((0x4000 | length).to_be_bytes());
        datagram.extend(0_u32.to_be_bytes());
        datagram.extend(&self.frames);
        // Padding frames.
        datagram.resize(frames_at + frames, 0);
        let keys = keys(destination);
        let (header, packet) = datagram.split_at_mut(frames_at);
        let tag = keys
            .local
            .packet
            .encrypt_in_place(0, header, packet)
            .unwrap();
        datagram.extend(tag.as_ref());
        let (header, packet) = datagram.split_at_mut(frames_at - 4);
        let (number, sample) = packet.split_at_mut(4);
        let first = &mut header[0];
        keys.local
            .header
            .encrypt_in_place(&sample[..16], first, number)
            .unwrap();
    }
}

/// Counts of a flood.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) initials: AtomicU64,
    /// Retries that came back.
    pub(crate) retries: AtomicU64,
    /// Addresses proved by answering them.
    pub(crate) proved: AtomicU64,
}

/// A flood, until dropped.
pub(crate) struct Flood {
    pub(crate) sent: Arc<Sent>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    /// From `addresses` of 127.0.0.0/8, as fast as one thread can; every `prove_each`-th address answers what it is sent,
    /// so that a Retry does not keep it out.
    pub(crate) fn start(hello: Hello, target: SocketAddr, addresses: u16, prove_each: u16) -> Self {
        let sent = Arc::new(Sent::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (counts, stopped) = (sent.clone(), stop.clone());
        let sockets: Vec<UdpSocket> = (0..addresses)
            .map(|n| {
                let [high, low] = n.to_be_bytes();
                let socket = UdpSocket::bind((Ipv4Addr::new(127, 7, high, low), 0)).unwrap();
                socket.connect(target).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let thread = std::thread::spawn(move || {
            let mut datagram = Vec::with_capacity(2048);
            let mut answer = [0; 2048];
            let mut connection = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                for (socket, n) in sockets.iter().zip(0_u16..) {
                    connection += 1;
                    let destination = blake3::hash(&connection.to_le_bytes());
                    hello.seal(&destination.as_bytes()[..ID_BYTES], &[], &mut datagram);
                    counts.initials.fetch_add(1, Ordering::Relaxed);
                    if matches!(socket.send(&datagram), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
                    {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    while let Ok(length) = socket.recv(&mut answer) {
                        let answer = &answer[..length];
                        // A long header of type 3.
                        if answer[0] & 0xf0 != 0xf0 {
                            continue;
                        }
                        counts.retries.fetch_add(1, Ordering::Relaxed);
                        if n % prove_each == 0 {
                            let (_ours, rest) = id(&answer[5..]);
                            let (server, rest) = id(rest);
                            let token = &rest[..rest.len() - TAG_BYTES];
                            hello.seal(server, token, &mut datagram);
                            let _ = socket.send(&datagram);
                            counts.proved.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        });
        Self {
            sent,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
