//! One connection, from handshake to goodbye. What to answer, [`Session`] decides; this carries it out.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connection, Incoming, RecvStream, SendStream};
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::session::{Admission, FeedView, Reply, Session};
use tidecast_proto::wire::{FetchBundle, FrameType, Request};
use tokio::sync::{Notify, watch};

use super::Master;
use super::sessions::{Entry, Peer, Standing};
use crate::quic::{StreamError, close_code, peer_key, read_frame, write_frame};

/// The handshake and the first question must be through by then.
const HELLO_TIMEOUT: Duration = Duration::from_millis(limits::HELLO_MS as u64);

/// A request's one frame must have come by then: a peer cannot hold streams open with half a question.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Handshakes under way beyond which new ones are refused, from addresses that proved themselves, too: each holds
/// some 50 KiB and costs a signature, so these are 25 MiB at worst and a second's work of one core.
const HANDSHAKES_MAX: usize = 8 * limits::HANDSHAKES_BEFORE_RETRY;

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
}

impl Master {
    /// Takes an incoming connection on a task of its own.
    pub(super) fn admit_connection(self: Arc<Self>, incoming: Incoming) {
        // Under a flood, addresses must prove themselves before they cost a handshake.
        let handshakes = self.sessions.handshakes();
        if handshakes >= HANDSHAKES_MAX {
            incoming.refuse();
            return;
        }
        if handshakes >= limits::HANDSHAKES_BEFORE_RETRY && !incoming.remote_address_validated() {
            // Fails only for an address that is validated already.
            let _ = incoming.retry();
            return;
        }
        let handshake = self.sessions.begin_handshake();
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
        });
        let error = served.run(news).await;
        tracing::debug!(node = %served.node, %address, %error, "connection ended");
    }
}

impl Served {
    async fn run(self: &Arc<Self>, mut news: watch::Receiver<u64>) -> quinn::ConnectionError {
        let mut telling = pin!(self.tell(news.clone()));
        let mut greeting = pin!(tokio::time::sleep(HELLO_TIMEOUT));
        let mut greeted = false;
        loop {
            tokio::select! {
                stream = self.connection.accept_bi() => match stream {
                    // Bounded by the streams a peer may open.
                    Ok((send, receive)) => {
                        let served = self.clone();
                        tokio::spawn(async move { served.question(send, receive).await });
                    }
                    Err(error) => return error,
                },
                stream = self.connection.accept_uni() => match stream {
                    Ok(receive) => {
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

    fn close_over(&self) {
        self.connection
            .close(close_code::REFUSED, b"no longer admitted");
    }

    /// Answers one stream's question.
    async fn question(&self, mut send: SendStream, mut receive: RecvStream) {
        let asked = tokio::time::timeout(REQUEST_TIMEOUT, read_frame(&mut receive)).await;
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
            Reply::Object(name) => self.master.send_object(&mut send, name).await,
            Reply::Chunks(ids) => self.master.send_chunks(&mut send, &ids).await,
            Reply::Bundle(fetch) => {
                let root = self.root_version();
                let sent = self.master.send_bundle(&mut send, self.node, fetch, root);
                sent.await
            }
            Reply::Runs(fetch) => self.master.send_runs(&mut send, self.node, fetch).await,
            // Never the answer to a question.
            Reply::Announce { frame, .. } => write_frame(&mut send, &frame).await,
            Reply::Close(why) => return self.close(why),
        };
        match sent {
            Ok(()) => {
                let _ = send.finish();
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
        let Ok(Ok(Some((kind, body)))) =
            tokio::time::timeout(REQUEST_TIMEOUT, read_frame(&mut receive)).await
        else {
            return;
        };
        if kind != FrameType::RECEIPT {
            return self.close("only receipts are sent unasked");
        }
        let judged = self.lock().receipt(&body, &self.master.feed.id);
        match judged {
            Ok(receipt) => {
                tracing::info!(node = %self.node, release = %receipt.release, state = receipt.state.word(), "receipt");
                self.master.hear_receipt(self.node, &receipt);
                self.entry.receipt(self.node, (*receipt).clone());
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
            master
                .send_announcement(&mut stream, frame, bundle, root)
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
