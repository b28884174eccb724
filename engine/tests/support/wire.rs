//! A path to a good upstream on which datagrams get lost by a rule.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// What gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing.
    Silence,
    /// Nothing, and every datagram is answered by one of noise.
    Noise,
    /// One datagram of the client's: it hears the server out and cannot answer.
    ClientOnce,
    /// One datagram of the server's.
    ServerOnce,
    /// Everything, until `holes` is set; from then on nothing from the server, and from the client only datagrams
    /// of [`LONG`] bytes: what it sends has holes that are never filled, since it is never told of them.
    ClientHoles,
    /// The same with the parts exchanged.
    ServerHoles,
}

/// Datagrams of at least so many bytes get through.
pub(crate) const LONG: usize = 200;

/// It, until dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) dropped: Arc<AtomicUsize>,
    running: AbortHandle,
}

impl Relay {
    pub(crate) async fn start(good: SocketAddr, rule: Rule) -> Self {
        Self::start_with(good, rule, Arc::default()).await
    }

    /// As [`Self::start`], told by `holes` when there are some.
    pub(crate) async fn start_with(good: SocketAddr, rule: Rule, holes: Arc<AtomicBool>) -> Self {
        let (front, back) = (socket(), socket());
        back.connect(good).await.unwrap();
        let address = front.local_addr().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = dropped.clone();
        let open = holes;
        let running = tokio::spawn(async move {
            let (mut here, mut there) = ([0; 2048], [0; 2048]);
            let (mut asked, mut answered) = (0, 0);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut here) => {
                        client = Some(from);
                        asked += 1;
                        let through = match rule {
                            Rule::Silence => false,
                            Rule::Noise => {
                                let noise = [0x5a_u8 ^ here[20]; 900];
                                let _ = front.send_to(&noise, from).await;
                                false
                            }
                            Rule::ClientOnce => asked == 1,
                            Rule::ServerOnce => true,
                            Rule::ClientHoles => !open.load(Ordering::SeqCst) || length >= LONG,
                            Rule::ServerHoles => !open.load(Ordering::SeqCst),
                        };
                        if through {
                            let _ = back.send(&here[..length]).await;
                        } else {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    Ok(length) = back.recv(&mut there) => {
                        answered += 1;
                        let open = open.load(Ordering::SeqCst);
                        let lost = match rule {
                            Rule::ServerOnce => answered > 1,
                            Rule::ClientHoles => open,
                            Rule::ServerHoles => open && length < LONG,
                            _ => false,
                        };
                        if lost {
                            counted.fetch_add(1, Ordering::SeqCst);
                        } else if let Some(client) = client {
                            let _ = front.send_to(&there[..length], client).await;
                        }
                    }
                    else => return,
                }
            }
        });
        Self {
            address,
            dropped,
            running: running.abort_handle(),
        }
    }
}

/// With room for a burst.
fn socket() -> UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    UdpSocket::from_std(socket).unwrap()
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}
