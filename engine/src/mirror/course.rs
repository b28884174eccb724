//! The loop: feeds what happens into [`proto::mirror::Mirror`](tidecast_proto::mirror::Mirror) and carries out
//! what it says.

use std::sync::Arc;
use std::time::Duration;

use tidecast_proto::mirror::{Action, Event, Mirror as Course, SyncOutcome};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::rate::Millis;
use tidecast_proto::receipt::{ReceiptBody, ServingState, SignedReceipt};
use tidecast_proto::wire::{FrameType, Poll, RefusalReason, Refused, Welcome, frame};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Mirror;
use super::error::SyncError;
use super::status::SyncReport;
use super::sync::Sync;
use crate::quic::{Link, LinkError, close_code};

/// How often the docroot is looked after: old trees go when their grace is over.
const TIDY: Duration = Duration::from_secs(30);

/// How often names, links and sizes are checked and mended.
const MEND: Duration = Duration::from_secs(3 * 3600);

/// Something that happened, with the number of the connection it happened on.
#[derive(Debug)]
struct Happened {
    connection: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Dialled(Link),
    Greeted(Result<Welcome, SyncError>),
    News(FrameType, Vec<u8>),
    Polled(Result<Option<Vec<u8>>, SyncError>),
    Synced(Result<SyncReport, SyncError>),
    Probed(bool),
    /// The docroot was looked after; the report is for whoever asked.
    Mended {
        damaged: Vec<ReleasePath>,
        report: Option<SyncReport>,
    },
    Lost(SyncError),
}

/// What the outside is told of while the loop runs.
#[derive(Debug)]
pub(super) enum Notice {
    /// We wait to be admitted.
    Pending,
    /// We may not be here.
    Refused(Refused),
    /// The upstream has no release yet.
    NoRelease,
    /// A sync ended well.
    Synced(Box<SyncReport>),
    /// A sync ended badly.
    SyncFailed(Box<SyncError>),
    /// One upstream failed.
    UpstreamFailed {
        upstream: String,
        why: Box<SyncError>,
    },
    /// All of them did; the mirror pauses.
    AllFailed,
}

/// What the loop is asked from outside.
#[derive(Debug)]
pub(super) enum Wish {
    /// Look for news now.
    Look,
}

/// The running loop.
pub(super) struct Running {
    mirror: Arc<Mirror>,
    course: Course,
    started: Instant,
    /// Counts connections, so that late word of an old one is not taken for the present one's.
    connection: u64,
    link: Option<Link>,
    syncing: bool,
    /// Somebody waits for what a look comes to: then the docroot is checked although nothing is new.
    asked: bool,
    /// The connection broke while a sync was under way; said when the sync has ended.
    lost: Option<SyncError>,
    happened: mpsc::UnboundedSender<Happened>,
    queue: mpsc::UnboundedReceiver<Happened>,
    notices: mpsc::UnboundedSender<Notice>,
}

impl Running {
    /// For somebody who waits for what the first look comes to.
    pub(super) fn asked(self) -> Self {
        Self {
            asked: true,
            ..self
        }
    }

    pub(super) fn new(mirror: Arc<Mirror>, notices: mpsc::UnboundedSender<Notice>) -> Self {
        let (happened, queue) = mpsc::unbounded_channel();
        let mut seed = [0; 8];
        // Without randomness mirrors merely march in step.
        let _ = getrandom::fill(&mut seed);
        Self {
            course: Course::new(
                Millis(0),
                mirror.config.upstreams.len(),
                u64::from_le_bytes(seed),
            ),
            mirror,
            started: Instant::now(),
            connection: 0,
            link: None,
            syncing: false,
            asked: false,
            lost: None,
            happened,
            queue,
            notices,
        }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Runs until `wishes` is closed.
    pub(super) async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let mut tidy = tokio::time::interval(TIDY);
        let mut mend_at = Instant::now() + MEND;
        self.handle(Event::Tick);
        loop {
            while let Some(action) = self.course.poll() {
                self.carry_out(action);
            }
            let wake = self
                .course
                .poll_timeout()
                .map(|at| self.started + Duration::from_millis(at.0));
            tokio::select! {
                happened = self.queue.recv() => {
                    // Never `None`: this struct holds a sender.
                    if let Some(happened) = happened {
                        self.take_in(happened);
                    }
                }
                wish = wishes.recv() => match wish {
                    Some(Wish::Look) => {
                        self.asked = true;
                        self.handle(Event::Wanted);
                    }
                    None => break,
                },
                () = sleep_until(wake) => self.handle(Event::Tick),
                _ = tidy.tick() => {
                    // On tasks of their own: they wait for the disk, and this loop must not.
                    let mirror = self.mirror.clone();
                    tokio::spawn(async move { mirror.tidy().await });
                    if Instant::now() >= mend_at && !self.syncing {
                        mend_at = Instant::now() + MEND;
                        let mirror = self.mirror.clone();
                        self.start(async move {
                            let damaged = mirror.mend().await;
                            What::Mended { damaged, report: None }
                        });
                    }
                }
            }
        }
        if let Some(link) = &self.link {
            link.connection()
                .close(close_code::SHUTDOWN, b"shutting down");
            // The goodbye should get out; then the process may end.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn handle(&mut self, event: Event) {
        let was_down = self.course.is_down();
        self.course.handle(self.now(), event);
        if self.course.is_down() && !was_down {
            self.mirror.set_connection("down", None);
            self.notice(Notice::AllFailed);
        }
    }

    fn notice(&self, notice: Notice) {
        // Nobody may be listening.
        let _ = self.notices.send(notice);
    }

    fn upstream(&self) -> &str {
        let index = self.course.upstream();
        self.mirror
            .config
            .upstreams
            .get(index)
            .map_or("", String::as_str)
    }

    fn sync_on(&self, link: &Link) -> Sync {
        Sync {
            link: link.clone(),
            trust: self.mirror.trust.clone(),
            memory: self.mirror.memory.clone(),
            disk: self.mirror.disk.clone(),
            clock: self.mirror.clock.clone(),
            progress: self.mirror.progress.clone(),
        }
    }

    /// Starts `work` for the present connection; its result comes back as something that happened.
    fn start(&self, work: impl Future<Output = What> + Send + 'static) {
        let (happened, connection) = (self.happened.clone(), self.connection);
        tokio::spawn(async move {
            let what = work.await;
            // The loop has ended otherwise.
            let _ = happened.send(Happened { connection, what });
        });
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Connect(index) => {
                self.connection += 1;
                self.link = None;
                let Some(upstream) = self.mirror.config.upstreams.get(index).cloned() else {
                    return;
                };
                self.mirror.set_connection("connecting", Some(&upstream));
                let mirror = self.mirror.clone();
                self.start(async move {
                    match mirror.dial(&upstream).await {
                        Ok(link) => What::Dialled(link),
                        Err(error) => What::Lost(error.into()),
                    }
                });
            }
            Action::Probe(index) => {
                let upstream = self.mirror.config.upstreams.get(index).cloned();
                let mirror = self.mirror.clone();
                self.start(async move {
                    let Some(upstream) = upstream else {
                        return What::Probed(false);
                    };
                    let up = match mirror.dial(&upstream).await {
                        Ok(link) => {
                            link.connection().close(close_code::DONE, b"");
                            true
                        }
                        Err(_) => false,
                    };
                    What::Probed(up)
                });
            }
            Action::Disconnect => {
                if let Some(link) = self.link.take() {
                    link.connection().close(close_code::DONE, b"");
                }
                self.connection += 1;
            }
            Action::Greet | Action::Poll | Action::Sync(_) | Action::Receipt => {
                let Some(link) = self.link.clone() else {
                    // Cannot happen: these follow a welcome. An ended sync keeps the course from waiting for one.
                    if matches!(action, Action::Sync(_)) {
                        self.handle(Event::SyncEnded(SyncOutcome::UpstreamAtFault));
                    }
                    return;
                };
                self.use_link(&link, action);
            }
        }
    }

    fn use_link(&mut self, link: &Link, action: Action) {
        let sync = self.sync_on(link);
        let mirror = self.mirror.clone();
        match action {
            Action::Greet => self.start(async move {
                let greeted = match sync.prove_master(&mirror.feed).await {
                    Ok(()) => sync.greet(mirror.feed, &mirror.config).await,
                    Err(error) => Err(error),
                };
                What::Greeted(greeted)
            }),
            Action::Poll => self.start(async move {
                let poll = {
                    let guard = sync.trust.lock().await;
                    let Some(trust) = guard.as_ref() else {
                        return What::Polled(Ok(None));
                    };
                    Poll {
                        root_version: trust.root().version,
                        head: trust.newest_head().map(|(signed, _)| signed.id()),
                    }
                };
                What::Polled(sync.link.poll(poll).await.map_err(Into::into))
            }),
            Action::Sync(head) => {
                self.syncing = true;
                self.start(async move { What::Synced(sync.run(&head).await) });
            }
            Action::Receipt => {
                let link = link.clone();
                tokio::spawn(async move {
                    if let Some(frame) = mirror.receipt().await
                        && let Err(error) = link.tell(&frame).await
                    {
                        tracing::debug!(%error, "receipt not sent");
                    }
                });
            }
            Action::Connect(_) | Action::Probe(_) | Action::Disconnect => {}
        }
    }

    fn take_in(&mut self, happened: Happened) {
        // A sync's end is always of interest: the disk was busy with it whichever connection it used.
        if happened.connection != self.connection
            && !matches!(happened.what, What::Synced(_) | What::Mended { .. })
        {
            if let What::Dialled(link) = happened.what {
                link.connection().close(close_code::DONE, b"");
            }
            return;
        }
        match happened.what {
            What::Dialled(link) => {
                self.listen(&link);
                self.link = Some(link.clone());
                self.use_link(&link, Action::Greet);
            }
            What::Greeted(Ok(welcome)) => {
                tracing::info!(upstream = self.upstream(), "connected");
                self.mirror.set_connection("connected", None);
                self.mirror.set_link(self.link.clone());
                if welcome.head.is_none() {
                    self.notice(Notice::NoRelease);
                }
                self.handle(Event::Welcomed { head: welcome.head });
            }
            What::Greeted(Err(SyncError::Link(LinkError::Refused(refused)))) => {
                self.refused(refused);
            }
            What::Greeted(Err(error)) | What::Lost(error) | What::Polled(Err(error)) => {
                self.failed(error);
            }
            What::News(FrameType::ANNOUNCE, head) => self.handle(Event::Announced(head)),
            What::News(FrameType::ADMITTED, _) => self.handle(Event::Admitted),
            What::News(kind, _) => {
                self.failed(LinkError::Protocol(format!("{kind} sent unasked")).into());
            }
            What::Polled(Ok(Some(head))) => self.handle(Event::Announced(head)),
            What::Polled(Ok(None)) => {
                self.handle(Event::Unchanged);
                self.nothing_is_new(self.mirror.nothing_new());
            }
            What::Mended { damaged, report } => self.mended(damaged, report),
            What::Probed(up) => self.handle(Event::Probed { up }),
            What::Synced(result) => self.synced(result),
        }
    }

    /// Passes on what the upstream sends unasked, until the connection ends.
    fn listen(&self, link: &Link) {
        let (happened, connection, link) = (self.happened.clone(), self.connection, link.clone());
        tokio::spawn(async move {
            loop {
                let what = match link.news().await {
                    Ok((kind, body)) => What::News(kind, body),
                    Err(error) => What::Lost(error.into()),
                };
                let over = matches!(what, What::Lost(_));
                if happened.send(Happened { connection, what }).is_err() || over {
                    return;
                }
            }
        });
    }

    fn refused(&mut self, refused: Refused) {
        if refused.reason == RefusalReason::PENDING {
            self.mirror.set_connection("pending", None);
            tracing::warn!(
                "pending: waiting to be admitted as {}",
                self.mirror.node_key.public()
            );
            self.notice(Notice::Pending);
            self.handle(Event::Pending);
        } else {
            self.notice(Notice::Refused(refused.clone()));
            self.failed(LinkError::Refused(refused).into());
        }
    }

    fn failed(&mut self, error: SyncError) {
        if self.syncing {
            // The sync notices by itself; its end is waited for, because it works on the disk.
            self.lost = Some(error);
            return;
        }
        tracing::warn!(upstream = self.upstream(), whose = error.whose(), %error, "upstream failed");
        self.mirror.set_error(Some(&error));
        let code = match &error {
            SyncError::Link(error) => error.close_code(),
            _ => close_code::PROTOCOL,
        };
        if let Some(link) = self.link.take() {
            link.connection().close(code, b"");
        }
        // Whatever else is said of this connection comes too late.
        self.connection += 1;
        self.mirror.set_link(None);
        self.notice(Notice::UpstreamFailed {
            upstream: self.upstream().into(),
            why: Box::new(error),
        });
        self.handle(Event::Failed);
    }

    fn synced(&mut self, result: Result<SyncReport, SyncError>) {
        self.syncing = false;
        let lost = self.lost.take();
        match result {
            Ok(report) => {
                if report.switched {
                    tracing::info!(
                        from = report.from,
                        to = report.to,
                        received_bytes = report.received_bytes,
                        reused_bytes = report.reused_bytes,
                        seconds = report.seconds,
                        "switched"
                    );
                    for warning in &report.warnings {
                        tracing::warn!("{warning}");
                    }
                }
                self.mirror.set_error(None);
                self.mirror.set_report(&report);
                let switched = report.switched;
                if report.reason == "current" {
                    self.nothing_is_new(report);
                } else {
                    self.asked = false;
                    self.notice(Notice::Synced(Box::new(report)));
                }
                let mirror = self.mirror.clone();
                tokio::spawn(async move { mirror.publish_site().await });
                self.handle(Event::SyncEnded(SyncOutcome::Done { switched }));
            }
            Err(error) => {
                let outcome = error.outcome();
                // The next upstream may still do what was asked for.
                self.asked &= outcome == SyncOutcome::UpstreamAtFault;
                tracing::warn!(upstream = self.upstream(), whose = error.whose(), %error, "sync failed");
                self.mirror.set_error(Some(&error));
                if outcome == SyncOutcome::UpstreamAtFault {
                    self.mirror.set_link(None);
                    let code = match &error {
                        SyncError::Link(error) => error.close_code(),
                        _ => close_code::CORRUPT,
                    };
                    if let Some(link) = &self.link {
                        link.connection().close(code, b"");
                    }
                }
                self.notice(Notice::SyncFailed(Box::new(error)));
                self.handle(Event::SyncEnded(outcome));
                if outcome == SyncOutcome::UpstreamAtFault {
                    return;
                }
            }
        }
        if let Some(error) = lost {
            self.failed(error);
        }
    }

    /// Says so; but whoever asked wants a docroot that is right, and damage is no news to an upstream.
    fn nothing_is_new(&self, report: SyncReport) {
        if !self.asked {
            self.notice(Notice::Synced(Box::new(report)));
            return;
        }
        let mirror = self.mirror.clone();
        self.start(async move {
            What::Mended {
                damaged: mirror.mend().await,
                report: Some(report),
            }
        });
    }

    /// Fetches what was found damaged.
    fn mended(&mut self, damaged: Vec<ReleasePath>, report: Option<SyncReport>) {
        if self.syncing {
            // Its end is told to whoever asked.
            return;
        }
        if damaged.is_empty() {
            if let Some(report) = report {
                self.asked = false;
                self.notice(Notice::Synced(Box::new(report)));
            }
            return;
        }
        let Some(link) = self.link.clone() else {
            tracing::warn!(
                files = damaged.len(),
                "damaged files; they are fetched when an upstream is back"
            );
            return;
        };
        let (sync, mirror) = (self.sync_on(&link), self.mirror.clone());
        self.syncing = true;
        self.start(async move { What::Synced(mirror.repair(&sync, damaged).await) });
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Mirror {
    /// What to tell the upstream about the docroot.
    pub(super) async fn receipt(&self) -> Option<Vec<u8>> {
        let live = self
            .disk
            .run(|disk| disk.docroot.current().cloned())
            .await
            .ok()??;
        let body = ReceiptBody {
            feed: self.feed,
            release: live.release(),
            manifest: live.manifest().id(),
            state: if self.is_stale().await {
                ServingState::STALE
            } else {
                ServingState::LIVE
            },
            switched: live.switched(),
            issued: self.clock.now(),
            extensions: Vec::new(),
        };
        let signed = SignedReceipt::sign(&body, &[&self.node_key]).ok()?;
        Some(frame(FrameType::RECEIPT, &signed.to_bytes()))
    }
}
