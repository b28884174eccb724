//! An upstream that has one release, and answers for bundles and runs what a test wants.

use std::sync::{Arc, Mutex};

use quinn::{RecvStream, SendStream};
use tidecast_proto::bundle::Form;
use tidecast_proto::id::{ChunkId, ObjectId, RootVersion};
use tidecast_proto::wire::{
    BundleHeader, ChunkHeader, Encoding, FrameType, ObjectHeader, ObjectName, PROTOCOL, Request,
    Wait, Welcome, frame,
};

use super::kit::{Feed, Made, Release, chunks};
use crate::quic::{self, Bind, read_frame};

/// What comes when a bundle or runs are asked for.
#[derive(Debug, Clone)]
pub(super) enum Stream {
    Absent,
    Whole(Vec<u8>),
    /// After it has asked for patience.
    Late(Vec<u8>),
    /// The stream ends after so many bytes.
    Cut(Vec<u8>, usize),
    /// The connection ends there.
    Lost(Vec<u8>, usize),
    /// So many bytes of a bundle, if any, and then patience is asked for so many times.
    Waits(usize, usize),
    /// Announces so many bytes, and sends these.
    Claims(u64, Vec<u8>),
}

#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) bundle: Stream,
    pub(super) runs: Stream,
    /// Whether it has chunks of opened contents.
    pub(super) opened_chunks: bool,
    /// Sent with an announcement as soon as the mirror is in: where it says it starts, and the bundle.
    pub(super) push: Option<(ObjectId, Vec<u8>)>,
}

impl Answers {
    pub(super) fn bundle(bundle: Stream) -> Self {
        Self {
            bundle,
            runs: Stream::Absent,
            opened_chunks: true,
            push: None,
        }
    }
}

/// It, until dropped.
pub(super) struct Upstream {
    pub(super) address: String,
    /// What was asked for, in order.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    endpoint: quinn::Endpoint,
}

impl Upstream {
    /// Begins before the mirror is made, which is told its address; the release comes later.
    pub(super) fn start(feed: &Feed, old: &Release, release: &Release, answers: Answers) -> Self {
        let bind = Bind::udp(([127, 0, 0, 1], 0).into()).unwrap();
        let endpoint = quic::server(bind, &feed.key).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let serving = Arc::new(Serving {
            root: feed.root.to_bytes(),
            release: release.clone(),
            old: old.clone(),
            answers,
            asked: asked.clone(),
        });
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let Ok(connection) = incoming.await else {
                    continue;
                };
                let serving = serving.clone();
                tokio::spawn(async move {
                    while let Ok((send, receive)) = connection.accept_bi().await {
                        let (serving, connection) = (serving.clone(), connection.clone());
                        tokio::spawn(serving.answer(connection, send, receive));
                    }
                });
            }
        });
        Self {
            address: endpoint.local_addr().unwrap().to_string(),
            asked,
            endpoint,
        }
    }

    pub(super) fn asked(&self, what: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| *asked == what).count()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"");
    }
}

struct Serving {
    root: Vec<u8>,
    release: Release,
    old: Release,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    fn note(&self, what: &str) {
        self.asked.lock().unwrap().push(what.into());
    }

    async fn answer(
        self: Arc<Self>,
        connection: quinn::Connection,
        mut send: SendStream,
        mut receive: RecvStream,
    ) {
        let Ok(Some((kind, body))) = read_frame(&mut receive).await else {
            return;
        };
        let absent = frame(FrameType::ABSENT, &[]);
        let answer = match Request::decode(kind, &body).unwrap() {
            Request::Root(RootVersion(1)) => frame(FrameType::ROOT, &self.root),
            Request::Root(_) => absent,
            Request::Hello(_) => {
                let head = if self.answers.push.is_some() {
                    &self.old.head
                } else {
                    &self.release.head
                };
                let welcome = Welcome {
                    protocol: PROTOCOL,
                    root_version: RootVersion(1),
                    head: Some(head.clone()),
                    extensions: Vec::new(),
                };
                let _ = send.write_all(&welcome.to_frame()).await;
                let _ = send.finish();
                self.push(&connection).await;
                return;
            }
            Request::Poll(_) => frame(FrameType::UNCHANGED, &[]),
            Request::Object(name) => self.object(name).unwrap_or(absent),
            Request::Chunks(ids) => ids.iter().flat_map(|id| self.chunk(id)).collect(),
            Request::Bundle(fetch) => {
                self.note("bundle");
                assert_eq!(fetch.to, self.release.manifest.id());
                let stream = self.answers.bundle.clone();
                return self
                    .stream(&connection, send, stream, (fetch.from, fetch.to))
                    .await;
            }
            Request::Runs(_) => {
                self.note("runs");
                let none = ObjectId([0; 32]);
                let stream = self.answers.runs.clone();
                return self.stream(&connection, send, stream, (none, none)).await;
            }
        };
        let _ = send.write_all(&answer).await;
        let _ = send.finish();
    }

    async fn push(&self, connection: &quinn::Connection) {
        let Some((from, bytes)) = &self.answers.push else {
            return;
        };
        let header = BundleHeader {
            from: *from,
            to: self.release.manifest.id(),
            bytes: bytes.len() as u64,
        };
        let mut stream = connection.open_uni().await.unwrap();
        let mut all = frame(FrameType::ANNOUNCE, &self.release.head);
        all.extend(header.to_frame());
        all.extend(frame(FrameType::PART, bytes));
        let _ = stream.write_all(&all).await;
        let _ = stream.finish();
    }

    async fn stream(
        &self,
        connection: &quinn::Connection,
        mut send: SendStream,
        stream: Stream,
        (from, to): (ObjectId, ObjectId),
    ) {
        let header = |bytes: usize| {
            let bytes = bytes as u64;
            BundleHeader { from, to, bytes }.to_frame()
        };
        let mut out = Vec::new();
        let mut lost = false;
        match stream {
            Stream::Absent => out = frame(FrameType::ABSENT, &[]),
            Stream::Whole(bytes) => {
                out.extend(header(bytes.len()));
                // In pieces that end anywhere.
                for piece in bytes.chunks(97) {
                    out.extend(frame(FrameType::PART, piece));
                }
            }
            Stream::Late(bytes) => {
                out.extend(Wait { ms: 50 }.to_frame());
                out.extend(Wait { ms: 50 }.to_frame());
                out.extend(header(bytes.len()));
                out.extend(frame(FrameType::PART, &bytes));
            }
            Stream::Cut(bytes, at) | Stream::Lost(bytes, at) if at == 0 => {
                out.extend(header(bytes.len()));
            }
            Stream::Cut(bytes, at) => {
                out.extend(header(bytes.len()));
                out.extend(frame(FrameType::PART, &bytes[..at]));
            }
            Stream::Lost(bytes, at) => {
                out.extend(header(bytes.len()));
                out.extend(frame(FrameType::PART, &bytes[..at]));
                lost = true;
            }
            Stream::Waits(begun, waits) => {
                if begun > 0 {
                    out.extend(header(1000));
                    out.extend(frame(FrameType::PART, &vec![1; begun]));
                }
                for _ in 0..waits {
                    out.extend(Wait { ms: 1 }.to_frame());
                }
            }
            Stream::Claims(claimed, bytes) => {
                let bytes_claimed = claimed;
                out.extend(
                    BundleHeader {
                        from,
                        to,
                        bytes: bytes_claimed,
                    }
                    .to_frame(),
                );
                out.extend(frame(FrameType::PART, &bytes));
            }
        }
        let _ = send.write_all(&out).await;
        if lost {
            // What was written must arrive first.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            connection.close(9_u32.into(), b"");
        }
        let _ = send.finish();
    }

    fn object(&self, name: ObjectName) -> Option<Vec<u8>> {
        let made = || self.release.files.values();
        let opened = || made().filter_map(|made| made.opened.as_ref());
        let bytes = match name {
            ObjectName::Manifest(id) => {
                self.note("manifest");
                (id == self.release.manifest.id()).then(|| self.release.manifest.to_bytes())?
            }
            ObjectName::Recipe(id) => {
                let recipe = opened().map(|(.., recipe)| recipe).find(|r| r.id() == id);
                recipe?.encode()
            }
            ObjectName::List(id) => {
                let lists = made().map(|made| &made.stored);
                let mut lists = lists.chain(opened().map(|(_, list, _)| list));
                lists.find(|list| list.id() == id)?.encode()
            }
        };
        let header = ObjectHeader {
            encoding: Encoding::PLAIN,
            opened_bytes: bytes.len() as u64,
            packed_bytes: bytes.len() as u64,
        };
        let mut answer = header.to_frame();
        answer.extend(frame(FrameType::PART, &bytes));
        Some(answer)
    }

    fn chunk(&self, id: &ChunkId) -> Vec<u8> {
        let find = |form: Form, made: &Made| {
            let (content, list) = made.content(form);
            chunks(content, list).find(|chunk| ChunkId::of(chunk) == *id)
        };
        let made = || self.release.files.values();
        let stored = made().find_map(|made| find(Form::Stored, made));
        let found = match stored {
            Some(chunk) => {
                self.note("stored chunk");
                Some(chunk)
            }
            None if self.answers.opened_chunks => {
                self.note("opened chunk");
                made().find_map(|made| find(Form::Opened, made))
            }
            None => None,
        };
        let Some(chunk) = found else {
            return frame(FrameType::ABSENT, &[]);
        };
        let header = ChunkHeader {
            encoding: Encoding::PLAIN,
            opened_bytes: u32::try_from(chunk.len()).unwrap(),
        };
        let mut out = header.to_frame_start(chunk.len());
        out.extend(chunk);
        out
    }
}
