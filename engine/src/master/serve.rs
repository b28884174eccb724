//! One connection, from handshake to goodbye. What to answer, [`Session`] decides; this carries it out.

use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connection, Incoming, RecvStream, SendStream};
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::session::{Admission, FeedView, Reply, Session};
use tidecast_proto::wire::{FetchBundle, FrameType, Request, WireError};
use tokio::sync::{Notify, watch};

use super::Master;
use super::crowd::Membership;
use super::pace::Outlet;
use super::sessions::{Door, Entry, Peer, Standing};
use crate::metrics::{Refused, Sent};
use crate::quic::{StreamError, close_code, peer_key, read_frame_if, write_frame};

/// The handshake and the first question must be through by then.
const HELLO_TIMEOUT: Duration = Duration::from_millis(limits::HELLO_MS as u64);

/// A request's one frame must have come by then: a peer cannot hold streams open with half a question.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Streams a connection may open before it is welcome, whatever it does with them: the questions it may ask, and some
/// that are given up.
const STRANGE_STREAMS: usize = limits::ROOT_WALK + 64;

/// A connection that was let through the handshake.
struct Served {
    master: Arc<Master>,
    connection: Connection,
    node: PublicKey,
    session: Mutex<Session>,
    entry: Entry,
    /// Held while a Hello is answered: what follows from the answer must not overtake it.
    greeting: tokio::sync::Mutex<()>,
    /// Told when a Hello has been answered: news may have come meanwhile.
    greeted: Notify,
    /// Told when the node has too many connections and this one is to go.
    leave: Arc<Notify>,
    /// Its place among those of its node, once it is welcome.
    membership: Mutex<Option<Membership>>,
}

impl Master {
    /// Takes an incoming connection on a task of its own.
    pub(super) fn admit_connection(self: Arc<Self>, incoming: Incoming) {
        // Under a flood, addresses must prove themselves before they cost a handshake.
        let proved = incoming.remote_address_validated();
        let (from, now) = (incoming.remote_address().ip(), self.clock.now());
        let handshake = match self.sessions.door(from, proved, now) {
            Door::Open(handshake) => handshake,
            Door::Prove => {
                self.counters.retries.inc();
                // Fails only for an address that is validated already.
                let _ = incoming.retry();
                return;
            }
            Door::Later => {
                self.counters.refused(Refused::Handshakes);
                return incoming.ignore();
            }
            Door::Closed => {
                self.counters.refused(Refused::Handshakes);
                return incoming.refuse();
            }
        };
        tokio::spawn(async move {
            let connection = match tokio::time::timeout(HELLO_TIMEOUT, incoming).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "handshake failed");
                    return;
                }
                Err(_) => return,
            };
            drop(handshake);
            self.serve_connection(connection).await;
        });
    }

    async fn serve_connection(self: Arc<Self>, connection: Connection) {
        let address = connection.remote_address();
        let Some(node) = peer_key(&connection) else {
            connection.close(close_code::REFUSED, b"no usable key");
            return;
        };
        let admitted = self.view.load().admission(&node) == Admission::Admitted;
        let peer = Peer {
            node,
            address,
            connected: self.clock.now(),
            hello: None,
            standing: if admitted {
                Standing::Admitted
            } else {
                Standing::Stranger
            },
            receipt: None,
        };
        let Some(entry) = self.sessions.enter(peer) else {
            self.counters.refused(Refused::Strangers);
            connection.close(close_code::FULL, b"too many nodes wait to be admitted");
            return;
        };
        let session = match entry.standing() {
            Standing::TurnedAway => Session::without_room(node),
            _ => Session::new(node),
        };
        let news = self.news.subscribe();
        let served = Arc::new(Served {
            master: self,
            connection,
            node,
            session: Mutex::new(session),
            entry,
            greeting: tokio::sync::Mutex::default(),
            greeted: Notify::new(),
            leave: Arc::default(),
            membership: Mutex::default(),
        });
        let error = served.run(news).await;
        tracing::debug!(node = %served.node, %address, %error, "connection ended");
    }
}

/// The one frame of a stream whose type `due` lets pass; an error of the outer kind when it does not come in time.
async fn read_one(
    receive: &mut RecvStream,
    due: impl FnOnce(FrameType) -> Result<(), WireError>,
) -> Result<Result<Option<(FrameType, Vec<u8>)>, StreamError>, tokio::time::error::Elapsed> {
    let received = AtomicU64::new(0);
    tokio::time::timeout(REQUEST_TIMEOUT, read_frame_if(receive, due, &received)).await
}

impl Served {
    async fn run(self: &Arc<Self>, mut news: watch::Receiver<u64>) -> quinn::ConnectionError {
        let mut telling = pin!(self.tell(news.clone()));
        let mut greeting = pin!(tokio::time::sleep(HELLO_TIMEOUT));
        let mut greeted = false;
        let mut strange_streams = 0;
        loop {
            tokio::select! {
                stream = self.connection.accept_bi() => match stream {
                    // Bounded by the streams a peer may open.
                    Ok((send, receive)) => {
                        self.count_stream(&mut strange_streams);
                        let served = self.clone();
                        tokio::spawn(async move { served.question(send, receive).await });
                    }
                    Err(error) => return error,
                },
                stream = self.connection.accept_uni() => match stream {
                    Ok(receive) => {
                        self.count_stream(&mut strange_streams);
                        let served = self.clone();
                        tokio::spawn(async move { served.statement(receive).await });
                    }
                    Err(error) => return error,
                },
                // Apart from telling, which a peer that reads nothing can hold up.
                Ok(()) = news.changed() => {
                    if self.lock().is_over(&**self.master.view.load()) {
                        self.close_over();
                    }
                }
                () = self.leave.notified() => self.make_room(),
                () = &mut telling => {}
                () = &mut greeting, if !greeted => {
                    greeted = self.lock().has_greeted();
                    if !greeted {
                        self.close("no Hello in time");
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, why: &str) {
        self.connection.close(close_code::PROTOCOL, why.as_bytes());
    }

    /// Streams that are opened and reset cost next to nothing to open.
    fn count_stream(&self, strange: &mut usize) {
        if self.lock().is_welcome() {
            return;
        }
        *strange += 1;
        if *strange > STRANGE_STREAMS {
            self.close("too many streams before the Welcome");
        }
    }

    /// Counts among the connections of its node, for which the oldest may have to go.
    fn join_crowd(&self) {
        let mut membership = self
            .membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if membership.is_none() {
            *membership = Some(self.master.enter_crowd(self.node, self.leave.clone()));
        }
    }

    fn make_room(&self) {
        tracing::warn!(node = %self.node, address = %self.connection.remote_address(),
            "closed: this node has more connections than it may; is its key used elsewhere?");
        self.master.counters.refused(Refused::Crowded);
        self.connection.close(
            close_code::FULL,
            b"newer connections of this node took its place",
        );
    }

    fn outlet<'a>(&self, stream: &'a mut SendStream, kind: Sent) -> Outlet<'a> {
        self.master.outlet(stream, &self.node, kind)
    }

    fn close_over(&self) {
        self.connection
            .close(close_code::REFUSED, b"no longer admitted");
    }

    /// Answers one stream's question.
    async fn question(&self, mut send: SendStream, mut receive: RecvStream) {
        let asked = read_one(&mut receive, Request::check_type).await;
        let request = match asked {
            Ok(Ok(Some((kind, body)))) => Request::decode(kind, &body),
            Ok(Err(StreamError::Wire(error))) => Err(error),
            _ => {
                // A stream given up or a question never finished concerns nobody else.
                let _ = send.reset(close_code::PROTOCOL);
                return;
            }
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return self.close(&error.to_string()),
        };
        let greeting = match &request {
            Request::Hello(_) => Some(self.greeting.lock().await),
            _ => None,
        };
        if let Request::Hello(body) = &request {
            self.master.hear_hello(&self.node, body);
        }
        let reply = {
            let view = self.master.view.load_full();
            let mut session = self.lock();
            let reply = session.request(request, &*view);
            if matches!(reply, Reply::Welcome(_) | Reply::Pending(_)) {
                let hello = session.hello().cloned();
                let welcome = matches!(reply, Reply::Welcome(_));
                self.entry.update(|peer| {
                    peer.hello = hello;
                    if welcome {
                        peer.standing = Standing::Admitted;
                    }
                });
            }
            reply
        };
        let sent = match reply {
            Reply::Frame(frame) => write_frame(&mut send, &frame).await,
            Reply::Welcome(frame) => {
                self.join_crowd();
                tracing::info!(node = %self.node, "mirror connected");
                write_frame(&mut send, &frame).await
            }
            Reply::Pending(frame) => {
                tracing::info!(node = %self.node, address = %self.connection.remote_address(),
                    "a node waits to be admitted");
                write_frame(&mut send, &frame).await
            }
            Reply::Refuse(frame) => {
                let sent = write_frame(&mut send, &frame).await;
                let _ = send.finish();
                // The refusal must arrive before the connection goes; the peer is given a moment to read it.
                let _ = tokio::time::timeout(Duration::from_secs(1), send.stopped()).await;
                self.connection.close(close_code::REFUSED, b"refused");
                sent
            }
            Reply::Object(name) => {
                let mut outlet = self.outlet(&mut send, Sent::Object);
                self.master.send_object(&mut outlet, name).await
            }
            Reply::Chunks(ids) => {
                let mut outlet = self.outlet(&mut send, Sent::Chunks);
                self.master.send_chunks(&mut outlet, &ids).await
            }
            Reply::Bundle(fetch) => {
                let root = self.root_version();
                let mut outlet = self.outlet(&mut send, Sent::Bundle);
                let sent = self.master.send_bundle(&mut outlet, self.node, fetch, root);
                sent.await
            }
            Reply::Runs(fetch) => {
                let mut outlet = self.outlet(&mut send, Sent::Runs);
                self.master.send_runs(&mut outlet, self.node, fetch).await
            }
            // Never the answer to a question.
            Reply::Announce { frame, .. } => write_frame(&mut send, &frame).await,
            Reply::Close(why) => return self.close(why),
        };
        match sent {
            Ok(()) => {
                let _ = send.finish();
            }
            Err(error @ StreamError::NotRead) => {
                tracing::info!(node = %self.node, %error, "a mirror that does not read is left");
                self.connection
                    .close(close_code::TOO_SLOW, b"nothing is read");
            }
            Err(error) => tracing::debug!(node = %self.node, %error, "answer not sent"),
        }
        if greeting.is_some() {
            drop(greeting);
            self.greeted.notify_one();
        }
    }

    /// Takes in what a mirror says unasked.
    async fn statement(&self, mut receive: RecvStream) {
        let due = |got| match got {
            FrameType::RECEIPT => Ok(()),
            got => Err(WireError::Unexpected {
                got,
                expected: "RECEIPT",
            }),
        };
        let body = match read_one(&mut receive, due).await {
            Ok(Ok(Some((_, body)))) => body,
            Ok(Err(StreamError::Wire(error))) => return self.close(&error.to_string()),
            _ => return,
        };
        let judged = self.lock().receipt(&body, &self.master.feed.id);
        match judged {
            Ok(receipt) => {
                self.master.hear_receipt(self.node, &receipt);
                // Once for each thing it says: nobody fills a log by saying it again.
                let news = self.entry.receipt(self.node, (*receipt).clone());
                let (release, state) = (receipt.release, receipt.state.word());
                if news
                    && self
                        .master
                        .receipts_told
                        .allow(&self.node, self.master.clock.now())
                {
                    tracing::info!(node = %self.node, %release, state, "receipt");
                } else {
                    tracing::debug!(node = %self.node, %release, state, "receipt");
                }
            }
            Err(why) => self.close(why),
        }
    }

    /// Sends what changes and concerns this node, one thing after the other. Never ends.
    ///
    /// While a peer lets no stream through, what comes meanwhile is one message: the newest.
    async fn tell(&self, mut news: watch::Receiver<u64>) {
        loop {
            tokio::select! {
                Ok(()) = news.changed() => {}
                () = self.greeted.notified() => {}
            }
            let reply = {
                let _answered = self.greeting.lock().await;
                let view = self.master.view.load_full();
                self.lock().news(&*view)
            };
            match reply {
                Some(Reply::Frame(frame)) => self.send_unasked(frame, None).await,
                Some(Reply::Announce { frame, bundle }) => {
                    self.send_unasked(frame, bundle).await;
                }
                Some(_) => self.close_over(),
                None => {}
            }
        }
    }

    async fn send_unasked(&self, frame: Vec<u8>, bundle: Option<FetchBundle>) {
        let sent = async {
            let opened = self.connection.open_uni().await;
            let mut stream = opened.map_err(quinn::WriteError::ConnectionLost)?;
            let root = self.root_version();
            let master = &self.master;
            let mut outlet = self.outlet(&mut stream, Sent::Announcement);
            master
                .send_announcement(&mut outlet, frame, bundle, root)
                .await?;
            let _ = stream.finish();
            Ok::<(), StreamError>(())
        };
        if let Err(error) = sent.await {
            tracing::debug!(node = %self.node, %error, "news not sent");
        }
    }

    /// The newest root the mirror said it has.
    fn root_version(&self) -> u64 {
        let session = self.lock();
        session.hello().map_or(0, |hello| hello.root_version.0)
    }
}
