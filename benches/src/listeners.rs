//! Mirrors that only listen: they greet, hear announcements and poll, and fetch nothing.
//!
//! Sixty whole mirrors on one machine would measure each other. These cost the master exactly what
//! real ones do, and nearly nothing else.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tidecast_engine::quic::{self, Bind, Link};
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{ObjectId, ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::wire::{FrameType, Hello, PROTOCOL, Poll, Serves};

use crate::tidecast::{Site, lossless};

/// Bytes of IPv4 and UDP headers around each datagram's payload.
const DATAGRAM_HEADER_BYTES: u64 = 28;

/// One connection, admitted and welcomed.
#[derive(Debug)]
pub(crate) struct Listener {
    link: Link,
    head: Option<ObjectId>,
    root_version: RootVersion,
    // Keeps the socket.
    _endpoint: quinn::Endpoint,
}

/// What one poll cost, both ways.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Polled {
    /// UDP payload, as rsync counts TCP's.
    pub(crate) payload_bytes: f64,
    /// With the headers of IP and UDP.
    pub(crate) wire_bytes: f64,
    pub(crate) seconds: f64,
}

/// A key of its own for each listener, admitted at the master.
pub(crate) fn admitted_keys(site: &Site, count: usize) -> Result<Vec<SecretKey>> {
    (0..count)
        .map(|_| {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).context("random bytes for a node key")?;
            let key = SecretKey::from_seed(&seed);
            site.admit(&key.public().to_string())?;
            Ok(key)
        })
        .collect()
}

impl Listener {
    /// Dials, greets and is welcomed.
    pub(crate) async fn connect(site: &Site, key: &SecretKey) -> Result<Self> {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let endpoint = quic::client(Bind::udp(any)?, key)?;
        let link = Link::connect(&endpoint, site.address).await?;
        let hello = Hello {
            protocol: PROTOCOL,
            feed: site
                .fingerprint
                .parse()
                .ok()
                .context("a fingerprint in hex")?,
            root_version: RootVersion(1),
            seqs: Vec::new(),
            release: ReleaseNumber(0),
            manifest: None,
            serves: Serves::NOTHING,
            name: "listener".into(),
            contact: String::new(),
            hosts: Vec::new(),
            extensions: Vec::new(),
        };
        let welcome = link.greet(&hello).await?;
        let head = welcome.head.as_deref().map(head_id).transpose()?;
        Ok(Self {
            link,
            head,
            root_version: welcome.root_version,
            _endpoint: endpoint,
        })
    }

    /// Waits for an announcement and says when it came, in Unix milliseconds.
    pub(crate) async fn announced(&mut self) -> Result<f64> {
        loop {
            let news = self.link.news().await?;
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
            if news.kind == FrameType::ANNOUNCE {
                self.head = Some(head_id(&news.body)?);
                return Ok(since_1970.as_secs_f64() * 1e3);
            }
        }
    }

    /// Polls when there is nothing new.
    pub(crate) async fn poll(&self) -> Result<Polled> {
        let (payload, wire) = self.traffic();
        let start = std::time::Instant::now();
        let poll = Poll {
            root_version: self.root_version,
            head: self.head,
        };
        if self.link.poll(poll).await?.is_some() {
            bail!("the master has news although nothing was published");
        }
        let seconds = start.elapsed().as_secs_f64();
        // The last acknowledgement leaves up to 25 ms later (RFC 9000, max_ack_delay).
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let (payload_after, wire_after) = self.traffic();
        Ok(Polled {
            payload_bytes: lossless(payload_after - payload),
            wire_bytes: lossless(wire_after - wire),
            seconds,
        })
    }

    /// Bytes both ways so far: UDP payload, and the same with the headers of IP and UDP.
    fn traffic(&self) -> (u64, u64) {
        let stats = self.link.connection().stats();
        let datagrams = stats.udp_rx.datagrams + stats.udp_tx.datagrams;
        let payload = stats.udp_rx.bytes + stats.udp_tx.bytes;
        (payload, payload + datagrams * DATAGRAM_HEADER_BYTES)
    }
}

fn head_id(bytes: &[u8]) -> Result<ObjectId> {
    let head = SignedHead::from_bytes(bytes);
    Ok(head
        .ok()
        .context("an announced head that does not decode")?
        .id())
}
