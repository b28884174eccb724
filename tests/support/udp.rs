//! A bad line between a mirror and its upstream: loses datagrams, or is slow.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest datagram that is carried, in bytes.
const DATAGRAM_BYTES: usize = 65_535;

/// How bad the line is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Of 100 datagrams so many are lost, each way.
    pub(crate) lost_percent: u64,
    /// Says which.
    pub(crate) seed: u64,
    /// Most that goes down to the mirror in a second; 0 for no limit.
    pub(crate) bytes_per_s: u64,
}

/// What went over the line.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Datagrams delivered, both ways.
    pub(crate) delivered: AtomicU64,
    /// Datagrams lost, both ways.
    pub(crate) lost: AtomicU64,
    /// Bytes of payload that reached the mirror.
    pub(crate) down_bytes: AtomicU64,
}

/// The line; its threads end with the test process.
#[derive(Debug)]
pub(crate) struct Line {
    port: u16,
    pub(crate) carried: Arc<Carried>,
}

impl Line {
    /// A line to `upstream`. Every client gets a socket of its own towards it, as behind a NAT.
    pub(crate) fn to(upstream: SocketAddr, weather: Weather) -> Self {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let port = front.local_addr().unwrap().port();
        let carried = Arc::new(Carried::default());
        let counts = carried.clone();
        std::thread::spawn(move || {
            let mut sessions: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut luck = Luck::new(weather.seed);
            let mut datagram = vec![0; DATAGRAM_BYTES];
            loop {
                // A client that is gone answers with an error; others are still there.
                let Ok((bytes, client)) = front.recv_from(&mut datagram) else {
                    continue;
                };
                if luck.loses(weather.lost_percent) {
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let turn = sessions.len() as u64 + 1;
                let session = sessions.entry(client).or_insert_with(|| {
                    let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
                    back.connect(upstream).unwrap();
                    let down = Down {
                        back: back.clone(),
                        front: front.clone(),
                        client,
                        weather,
                        luck: Luck::new(weather.seed ^ (turn << 32)),
                        counts: counts.clone(),
                    };
                    std::thread::spawn(move || down.carry());
                    back
                });
                // Refused while the master is being restarted: lost, as on a real line.
                let sent = session.send(&datagram[..bytes]);
                counts
                    .delivered
                    .fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
            }
        });
        Self { port, carried }
    }

    /// What a mirror is told to dial.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Bytes of payload that reached the mirror.
    pub(crate) fn down_bytes(&self) -> u64 {
        self.carried.down_bytes.load(Ordering::Relaxed)
    }
}

/// The way from the upstream to one client.
struct Down {
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    weather: Weather,
    luck: Luck,
    counts: Arc<Carried>,
}

impl Down {
    fn carry(mut self) {
        let mut datagram = vec![0; DATAGRAM_BYTES];
        loop {
            let Ok(bytes) = self.back.recv(&mut datagram) else {
                continue;
            };
            if self.luck.loses(self.weather.lost_percent) {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Some(nanos) =
                (bytes as u64 * 1_000_000_000).checked_div(self.weather.bytes_per_s)
            {
                // What comes meanwhile waits in the socket, and is lost when that is full: a router does no more.
                std::thread::sleep(Duration::from_nanos(nanos));
            }
            if self.front.send_to(&datagram[..bytes], self.client).is_ok() {
                self.counts.delivered.fetch_add(1, Ordering::Relaxed);
                let bytes = bytes as u64;
                self.counts.down_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}

/// A sequence of chances that a seed repeats (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Luck(u64);

impl Luck {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn loses(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
