//! What an upstream is asked beside other work: its answer is used, and nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use tidecast_proto::wire::Request;
use tokio::sync::Notify;

use super::kit::{Feed, Made, NOW, Release, build};
use super::upstream::{Answers, Stream, Upstream};
use crate::mirror::sync::Sync;
use crate::mirror::work::RootSource;
use crate::mirror::{Mirror, SyncReport};
use crate::quic::{self, Bind, Link, read_frame};

/// Far less than an upstream is given to answer.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Takes every question and answers none.
struct Silent {
    address: String,
    /// Told of each question for a root.
    asked: Arc<Notify>,
    endpoint: quinn::Endpoint,
}

impl Silent {
    /// `feed` with another node key: no root of it names this server, so that its roots are asked for.
    fn start() -> Self {
        let key = tidecast_proto::key::SecretKey::from_seed(&[99; 32]);
        let bind = Bind::udp(([127, 0, 0, 1], 0).into()).unwrap();
        let endpoint = quic::server(bind, &key).unwrap();
        let asked = Arc::new(Notify::new());
        let (accepting, told) = (endpoint.clone(), asked.clone());
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let connection = incoming.await.unwrap();
                    let mut kept = Vec::new();
                    while let Ok((send, mut receive)) = connection.accept_bi().await {
                        let (kind, body) = read_frame(&mut receive).await.unwrap().unwrap();
                        if let Request::Root(_) = Request::decode(kind, &body).unwrap() {
                            told.notify_one();
                        }
                        kept.push(send);
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
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"");
    }
}

fn two(feed: &Feed) -> (Release, Release) {
    let old = feed.release(1, None, &[("f", Made::plain(b"one"))]);
    let new = feed.release(2, Some(&old), &[("f", Made::plain(b"two"))]);
    (old, new)
}

fn sync_on(mirror: &Mirror, link: Link) -> Sync {
    Sync {
        link,
        work: mirror.work(),
        thorough: false,
        pushed: None,
    }
}

#[tokio::test]
async fn an_upstream_that_keeps_its_roots_to_itself_holds_up_no_switch() {
    let feed = Feed::new();
    let (old, new) = two(&feed);
    let mirror = feed.mirror_at(&old).await;
    let silent = Silent::start();
    let work = mirror.work();
    let nobody = RootSource::Carried(Vec::new().into_iter());
    let (trust, head) = work.judge(&new.head, NOW, nobody).await.unwrap();
    build(&work, &new).await;

    let sync = sync_on(
        &mirror,
        mirror
            .dial(&silent.address, &mirror.keys.present())
            .await
            .unwrap(),
    );
    let id = feed.id;
    let proving = tokio::spawn(async move { sync.prove_master(&id).await });
    silent.asked.notified().await;
    let mut report = SyncReport::default();
    let switched = work.go_live(&trust, &head, NOW, &new.manifest, &mut report);
    tokio::time::timeout(AT_ONCE, switched)
        .await
        .expect("the switch waits for an upstream")
        .unwrap();
    assert!(!proving.is_finished());
    // Another upstream's roots are taken meanwhile as well.
    let root = feed.next_root_with(|_| ());
    let carried = RootSource::Carried(vec![root].into_iter());
    let walked = tokio::time::timeout(AT_ONCE, work.walk_roots(carried));
    walked.await.expect("roots wait for an upstream").unwrap();
    assert_eq!(work.beliefs.root_version().0, 2);
    proving.abort();
}

#[tokio::test]
async fn a_newer_head_of_another_upstream_is_judged_and_used() {
    let feed = Feed::new();
    let (old, new) = two(&feed);
    let mirror = feed.mirror_at(&old).await;
    let behind = Upstream::start(&feed, &old, &old, Answers::bundle(Stream::Absent));
    let ahead = Upstream::start(&feed, &old, &new, Answers::bundle(Stream::Absent));
    let link = mirror
        .dial(&behind.address, &mirror.keys.present())
        .await
        .unwrap();

    let same = mirror
        .second_opinion(&behind.address, sync_on(&mirror, link.clone()))
        .await;
    assert!(same.up && same.head.is_none());
    let newer = mirror
        .second_opinion(&ahead.address, sync_on(&mirror, link.clone()))
        .await;
    assert!(newer.up);
    assert_eq!(newer.head, Some(new.head.clone()));

    // One that is refused says nothing, and its upstream is still up.
    let mut forged = new.clone();
    *forged.head.last_mut().unwrap() ^= 1;
    let liar = Upstream::start(&feed, &old, &forged, Answers::bundle(Stream::Absent));
    let refused = mirror
        .second_opinion(&liar.address, sync_on(&mirror, link))
        .await;
    assert!(refused.up && refused.head.is_none());
}
