//! A hostile host among the mirrors' upstreams: with keys stolen from a master, or with none but its own.

mod answers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tidecast_engine::clock::Clock;
use tidecast_engine::quic::{self, read_frame};
use tidecast_engine::store::Store;
use tidecast_proto::id::{ObjectId, ReleaseNumber};
use tidecast_proto::key::SecretKey;
use tidecast_proto::wire::{FrameType, Request, Wait, frame};

use crate::chance::Chance;
use crate::clock::{EPOCH_MS, HostClock};
use crate::forgery::Forger;
use crate::network::HostNetwork;
use crate::trace;

/// What hostile hosts did, by name.
pub(crate) type Tally = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// What a thief knows: everything that is public, and what it stole.
#[derive(Debug, Default)]
pub(crate) struct Loot {
    /// Every root so far.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Every head that was seen, oldest first.
    pub(crate) heads: Vec<Vec<u8>>,
    /// Releases, oldest first.
    pub(crate) releases: Vec<(ReleaseNumber, ObjectId)>,
}

/// The world as it was at one moment.
#[derive(Debug)]
pub(crate) struct Frozen {
    head: Vec<u8>,
    roots: u64,
    newest: (ReleaseNumber, ObjectId),
}

/// A hostile host.
pub(crate) struct Thief {
    pub(crate) name: String,
    pub(crate) network: HostNetwork,
    pub(crate) clock: HostClock,
    /// What it shows in TLS.
    pub(crate) node_key: SecretKey,
    pub(crate) loot: Arc<Mutex<Loot>>,
    /// The store of a master, which it could have fetched piece by piece.
    pub(crate) store_folder: PathBuf,
    pub(crate) store: OnceLock<Option<Store>>,
    /// How many answers in a hundred are what a master would have said.
    pub(crate) honest: u64,
    /// From when on it shows a world in which nothing new happens, in milliseconds.
    pub(crate) freezes_ms: Option<u64>,
    pub(crate) frozen: OnceLock<Frozen>,
    pub(crate) chance: Mutex<Chance>,
    pub(crate) forger: Option<Forger>,
    pub(crate) tally: Tally,
}

impl std::fmt::Debug for Thief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Thief").field(&self.name).finish()
    }
}

/// What becomes of an answer, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// Never comes.
    Stall,
    /// Comes a byte a second.
    Trickle,
    /// Its stream is reset.
    Reset,
    /// The connection is closed instead.
    Hangup,
    /// Ends in the middle.
    Cut,
    /// A bit is wrong.
    Flip,
    /// Something else altogether.
    Garbage,
    /// Patience is asked for, again and again.
    Wait,
    /// The frame says it is as long as can be.
    Huge,
}

impl Thief {
    fn says(&self, what: &'static str) {
        *self.tally.lock().unwrap().entry(what).or_default() += 1;
        trace::note(&self.name, format_args!("attack: {what}"));
    }

    fn draw<T>(&self, with: impl FnOnce(&mut Chance) -> T) -> T {
        with(&mut self.chance.lock().unwrap())
    }

    /// What it shows of the world, if it hides what came later.
    fn frozen(&self) -> Option<&Frozen> {
        let since = EPOCH_MS + self.freezes_ms?;
        if self.clock.now().0 < since {
            return None;
        }
        let loot = self.loot.lock().unwrap();
        let (head, newest) = (loot.heads.last()?, *loot.releases.last()?);
        Some(self.frozen.get_or_init(|| Frozen {
            head: head.clone(),
            roots: loot.roots.len() as u64,
            newest,
        }))
    }

    /// The head of a world in which nothing happens: fresh as long as it has a key to sign it with.
    fn frozen_head(&self, frozen: &Frozen) -> Vec<u8> {
        self.says("frozen head");
        let fresh = self.forger.as_ref().and_then(|forger| {
            let manifest = self.manifest(frozen.newest.1)?;
            forger.fresh(&frozen.head, &manifest, self.clock.now())
        });
        fresh.unwrap_or_else(|| frozen.head.clone())
    }

    fn is_honest(&self) -> bool {
        // Whoever freezes wants to be stayed with.
        if self.frozen.get().is_some() {
            return true;
        }
        self.draw(|chance| chance.below(100)) < self.honest
    }

    /// Serves for as long as the host is up.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        let bind = self.network.bind(4873)?;
        let endpoint = quic::server(bind, &self.node_key)?;
        tokio::spawn(self.clone().throw_packets());
        while let Some(incoming) = endpoint.accept().await {
            let thief = self.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else {
                    return;
                };
                tokio::spawn(thief.clone().speak_unasked(connection.clone()));
                while let Ok((send, receive)) = connection.accept_bi().await {
                    let question = thief.clone().answer(connection.clone(), send, receive);
                    tokio::spawn(question);
                }
            });
        }
        Ok(())
    }

    /// Datagrams that are no QUIC, to the masters.
    async fn throw_packets(self: Arc<Self>) {
        let Ok(socket) = turmoil::net::UdpSocket::bind("0.0.0.0:0").await else {
            return;
        };
        loop {
            let (pause, bytes, to) = self.draw(|chance| {
                let len = usize::try_from(chance.between(1, 1400)).unwrap();
                let to = *chance.pick(&crate::feed::MASTERS);
                (chance.between(5, 60), chance.bytes(len), to)
            });
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let _ = socket.try_send_to(&bytes, (turmoil::lookup(to), 4873));
        }
    }

    /// Announcements with and without bundles, and frames that nobody asked for.
    async fn speak_unasked(self: Arc<Self>, connection: Connection) {
        let mut unfinished = Vec::new();
        loop {
            let pause = self.draw(|chance| chance.between(1, 90));
            tokio::time::sleep(Duration::from_secs(pause)).await;
            if connection.close_reason().is_some() {
                return;
            }
            if self.frozen().is_some() {
                continue;
            }
            let Ok(mut stream) = connection.open_uni().await else {
                return;
            };
            let bytes = match self.draw(|chance| chance.below(6)) {
                0 => frame(FrameType::ADMITTED, &[]),
                1 => {
                    self.says("unasked garbage");
                    self.draw(|chance| chance.bytes(200))
                }
                2 => frame(FrameType::RECEIPT, b"not yours to send"),
                kind => {
                    let Some(head) = self.head() else {
                        continue;
                    };
                    self.says("unasked head");
                    let mut bytes = frame(FrameType::ANNOUNCE, &head);
                    if kind > 3 {
                        self.says("unasked bundle");
                        bytes.extend(self.unasked_bundle());
                    }
                    bytes
                }
            };
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
            if self.draw(|chance| chance.one_in(4)) {
                self.says("unasked stall");
                unfinished.push(stream);
            } else {
                let _ = stream.finish();
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        connection: Connection,
        mut send: SendStream,
        mut receive: RecvStream,
    ) {
        let Ok(Some((kind, body))) = read_frame(&mut receive).await else {
            return;
        };
        let Ok(request) = Request::decode(kind, &body) else {
            return;
        };
        let way = if self.is_honest() {
            Way::Plain
        } else {
            self.way(&request)
        };
        if let Some(store) = self.open_store() {
            let _ = store.refresh();
        }
        let mut bytes = self.reply(&request);
        match way {
            Way::Plain => {}
            Way::Stall => std::future::pending().await,
            Way::Trickle => {
                for byte in bytes {
                    if send.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                return;
            }
            Way::Reset => {
                let _ = send.reset(VarInt::from_u32(7));
                return;
            }
            Way::Hangup => return connection.close(VarInt::from_u32(9), b"goodbye"),
            Way::Cut => bytes.truncate(self.draw(|chance| chance.index(bytes.len()))),
            Way::Flip => self.draw(|chance| {
                let at = chance.index(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }),
            Way::Garbage => bytes = self.draw(|chance| chance.bytes(300)),
            Way::Wait => {
                let wait = Wait { ms: u32::MAX }.to_frame();
                bytes = wait.repeat(4);
                let _ = send.write_all(&bytes).await;
                std::future::pending::<()>().await;
            }
            Way::Huge => bytes[1..5].copy_from_slice(&u32::MAX.to_le_bytes()),
        }
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
        // Kept until it was read.
        let _ = send.stopped().await;
    }

    fn way(&self, request: &Request) -> Way {
        let (what, way) = self.draw(|chance| match chance.below(20) {
            0 => ("stall", Way::Stall),
            1 => ("trickle", Way::Trickle),
            2 => ("stream reset", Way::Reset),
            3 => ("hangup", Way::Hangup),
            4 | 5 => ("cut short", Way::Cut),
            6..10 => ("flipped bit", Way::Flip),
            10 => ("garbage", Way::Garbage),
            11 => ("endless patience", Way::Wait),
            12 => ("u32::MAX length", Way::Huge),
            _ => ("plain", Way::Plain),
        });
        // A mirror that never gets past the greeting never sees the rest.
        if matches!(request, Request::Hello(_) | Request::Root(_))
            && self.draw(|chance| chance.below(4)) > 0
        {
            return Way::Plain;
        }
        if way != Way::Plain {
            self.says(what);
        }
        way
    }
}
