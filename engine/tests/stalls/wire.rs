//! A path to a good upstream on which datagrams get lost by a rule.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
}

/// It, until dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) dropped: Arc<AtomicUsize>,
    running: AbortHandle,
}

impl Relay {
    pub(crate) async fn start(good: SocketAddr, rule: Rule) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        back.connect(good).await.unwrap();
        let address = front.local_addr().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = dropped.clone();
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
                        };
                        if through {
                            let _ = back.send(&here[..length]).await;
                        } else {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    Ok(length) = back.recv(&mut there) => {
                        answered += 1;
                        if rule == Rule::ServerOnce && answered > 1 {
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

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}
