//! A mirror that is admitted and asks for more than anybody needs, on every stream it may have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::Connection;
use tidecast_engine::master::Feed;
use tidecast_engine::quic::{self, Bind, read_frame};
use tidecast_engine::store::Store;
use tidecast_proto::id::{ChunkId, ListId, ObjectId, ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::wire::{
    FetchBundle, FetchRuns, FrameType, Hello, PROTOCOL, Poll, Request, Serves,
};
use tokio::task::JoinSet;

/// It, until dropped.
pub(crate) struct Greedy {
    asked: Arc<AtomicUsize>,
    _asking: JoinSet<()>,
    _endpoint: quinn::Endpoint,
}

/// Of a release: its manifest, the list of its one file, and chunks in it.
fn release(feed: &Feed, store: &Store, number: u64) -> (ObjectId, ListId, Vec<ChunkId>) {
    let signed = store.manifest(ReleaseNumber(number)).unwrap().unwrap();
    let manifest = signed.verify_stored(&feed.root, &feed.id).unwrap();
    let file = &manifest.files[0];
    let id = file.list.unwrap();
    let list = store.list(&id).unwrap().open().unwrap();
    let list = List::decode(&list, id, file.size).unwrap();
    let chunks = list.entries().iter().map(|entry| entry.id);
    (
        manifest.id(),
        id,
        chunks.take(limits::CHUNKS_PER_REQUEST).collect(),
    )
}

impl Greedy {
    pub(crate) async fn start(feed: &Feed, key: &SecretKey, master: SocketAddr) -> Self {
        let store = Store::open(&feed.store_folder()).unwrap();
        let (old, old_list, _) = release(feed, &store, 1);
        let (new, new_list, chunks) = release(feed, &store, 2);
        let mut endpoint = quic::client(Bind::any_port_for(master).unwrap(), key).unwrap();
        let mut config = quic::client_config(key).unwrap();
        // What it does not read holds up nothing else.
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(quinn::VarInt::from_u32(64 * 1024));
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        let connection = endpoint.connect(master, "tidecast").unwrap().await.unwrap();
        let hello = Hello {
            protocol: PROTOCOL,
            feed: feed.id,
            root_version: RootVersion(1),
            seqs: Vec::new(),
            release: ReleaseNumber(1),
            manifest: Some(old),
            serves: Serves::NOTHING,
            name: String::new(),
            contact: String::new(),
            hosts: Vec::new(),
            extensions: Vec::new(),
        };
        let mut answer = ask(&connection, hello.to_frame().unwrap()).await.unwrap().1;
        assert_eq!(
            read_frame(&mut answer).await.unwrap().unwrap().0,
            FrameType::WELCOME
        );

        let asked = Arc::new(AtomicUsize::new(0));
        let mut asking = JoinSet::new();
        // Half of its streams ask for chunks and are never read.
        let unread = Request::Chunks(chunks).to_frame();
        for _ in 0..limits::BIDI_STREAMS / 2 {
            let (connection, unread, asked) = (connection.clone(), unread.clone(), asked.clone());
            asking.spawn(async move {
                let _held = ask(&connection, unread).await;
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            });
        }
        // The others have things built, or looked up, again and again.
        let bundle = FetchBundle { from: old, to: new };
        let runs = FetchRuns {
            list: new_list,
            bases: vec![old_list],
        };
        let poll = Poll {
            root_version: RootVersion(1),
            head: None,
        };
        for request in [
            Request::Bundle(bundle),
            Request::Runs(runs),
            Request::Poll(poll),
        ] {
            for _ in 0..4 {
                let (connection, asked) = (connection.clone(), asked.clone());
                let frame = request.to_frame();
                asking.spawn(async move {
                    while let Some((_send, mut answer)) = ask(&connection, frame.clone()).await {
                        // Until there is something, which is thrown away.
                        while let Ok(Some((FrameType::WAIT, _))) = read_frame(&mut answer).await {}
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        Self {
            asked,
            _asking: asking,
            _endpoint: endpoint,
        }
    }

    /// How often so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn ask(
    connection: &Connection,
    frame: Vec<u8>,
) -> Option<(quinn::SendStream, quinn::RecvStream)> {
    let (mut send, receive) = connection.open_bi().await.ok()?;
    send.write_all(&frame).await.ok()?;
    send.finish().ok()?;
    Some((send, receive))
}
