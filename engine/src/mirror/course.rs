//! The loop: feeds what happens into [`proto::mirror::Mirror`](tidecast_proto::mirror::Mirror) and carries out
//! what it says.

use std::sync::Arc;
use std::time::Duration;

use tidecast_proto::id::{RootVersion, Timestamp};
use tidecast_proto::key::PublicKey;
use tidecast_proto::mirror::{Action, Event, Mirror as Course, SyncOutcome};
use tidecast_proto::rate::Millis;
use tidecast_proto::wire::{FrameType, Poll, RefusalReason, Refused};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Mirror;
use super::care::Cared;
use super::error::SyncError;
use super::events::{Happened, Notice, What, Wish};
use super::node_keys::Shown;
use super::staleness;
use super::status::SyncReport;
use super::sync::Sync;
use super::upstream::Opinion;
use crate::quic::{Link, LinkError, News, PushedBundle, close_code};

/// How often the docroot is looked after: old trees go when their grace is over.
const TIDY: Duration = Duration::from_secs(30);

/// How long a goodbye is given to leave.
const GOODBYE: Duration = Duration::from_millis(5);

/// A wall clock that is off by more since the last look was set, not slewed.
const CLOCK_SET_MS: u64 = 60_000;

/// How often names, links and sizes are checked and mended.
const MEND: Duration = Duration::from_secs(3 * 3600);

/// What has happened and was not looked at yet; beyond, an upstream's news wait. Each may hold a bundle that came
/// unasked, of [`UNASKED_BUNDLE_BYTES`](tidecast_proto::limits::UNASKED_BUNDLE_BYTES).
const HAPPENED: usize = 2;

/// The running loop.
pub(super) struct Running {
    mirror: Arc<Mirror>,
    course: Course,
    started: Instant,
    /// What time it was, by both clocks, when they were last compared.
    looked: (Instant, Timestamp),
    /// Counts connections, so that late word of an old one is not taken for the present one's.
    connection: u64,
    /// The connection whose news are passed on.
    listening: u64,
    /// The newest bundle that came unasked, with its head; kept until that head's sync begins.
    pushed: Option<(Vec<u8>, Arc<PushedBundle>)>,
    link: Option<Link>,
    /// The key it was dialled with.
    shown: Shown,
    syncing: bool,
    /// Whether the operator has said to stay, as this loop knows it.
    held: bool,
    /// The next sync also checks a docroot that is current: asked for, or something was found damaged.
    thorough: bool,
    /// Whether the sync under way does.
    thorough_now: bool,
    /// The connection broke while a sync was under way; said when the sync has ended.
    lost: Option<SyncError>,
    /// What each upstream failed with since the last sync that ended well.
    tried: Vec<(String, SyncError)>,
    /// Whom to ask, and of which root that is the list.
    upstreams: (RootVersion, Vec<String>),
    happened: mpsc::Sender<Happened>,
    queue: mpsc::Receiver<Happened>,
    notices: mpsc::UnboundedSender<Notice>,
}

impl Running {
    /// A loop that has not begun. `thorough`: its first sync also checks a docroot that is current.
    pub(super) fn new(
        mirror: Arc<Mirror>,
        notices: mpsc::UnboundedSender<Notice>,
        thorough: bool,
    ) -> Self {
        let (happened, queue) = mpsc::channel(HAPPENED);
        // Without randomness mirrors merely march in step.
        let jitter = mirror
            .jitter
            .unwrap_or_else(|| getrandom::u64().unwrap_or_default());
        let upstreams = mirror.upstreams();
        let now = mirror.clock.now();
        Self {
            course: Course::new(Millis(0), upstreams.1.len(), jitter),
            upstreams,
            mirror,
            started: Instant::now(),
            looked: (Instant::now(), now),
            connection: 0,
            listening: 0,
            pushed: None,
            link: None,
            shown: Shown::Present,
            syncing: false,
            held: false,
            thorough,
            thorough_now: false,
            lost: None,
            tried: Vec::new(),
            happened,
            queue,
            notices,
        }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let mut tidy = tokio::time::interval(TIDY);
        // Soon after the start, then every three hours. A thorough sync checks by itself, and whoever waits for
        // its report wants to read there what was mended.
        let mut mend_at = Instant::now() + if self.thorough { MEND } else { Duration::ZERO };
        // Not at once: after a start the first head is a moment away.
        let mut clock = tokio::time::interval_at(Instant::now() + staleness::LOOK, staleness::LOOK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.look_at_hold();
        self.handle(Event::Tick);
        loop {
            self.refresh_upstreams();
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
                        self.thorough = true;
                        self.handle(Event::Wanted);
                    }
                    Some(Wish::LookAtHold) => self.look_at_hold(),
                    Some(Wish::Redial) => self.redial(),
                    Some(Wish::Stop) | None => break,
                },
                () = sleep_until(wake) => self.handle(Event::Tick),
                _ = clock.tick() => {
                    self.look_at_hold();
                    self.look_at_clock();
                }
                _ = tidy.tick() => {
                    // On tasks of their own: they wait for the disk, and this loop must not.
                    let mirror = self.mirror.clone();
                    tokio::spawn(async move { mirror.tidy().await });
                    self.show_keys();
                    if Instant::now() >= mend_at && !self.syncing {
                        mend_at = Instant::now() + MEND;
                        let mirror = self.mirror.clone();
                        self.start(async move { What::Mended(mirror.mend().await) });
                    } else if !self.syncing {
                        let mirror = self.mirror.clone();
                        self.start(async move { What::Cared(mirror.look_after().await) });
                    }
                }
            }
        }
        if let Some(link) = &self.link {
            link.connection()
                .close(close_code::SHUTDOWN, b"shutting down");
            // The goodbye goes out with the endpoint's next turn; then the process may end.
            tokio::time::sleep(GOODBYE).await;
        }
    }

    fn handle(&mut self, event: Event) {
        let was_down = self.course.is_down();
        self.course.handle(self.now(), event);
        if self.course.is_down() && !was_down {
            self.mirror.set_connection("down", None);
            let tried = std::mem::take(&mut self.tried);
            self.notice(Notice::AllFailed(tried));
        }
    }

    /// Tells the upstream when what is served is no longer vouched for, or is again.
    fn look_at_clock(&mut self) {
        if self.clock_was_set() {
            // What a wrong clock had refused is welcome now, and the next poll may be minutes away.
            self.handle(Event::Wanted);
        }
        if self.mirror.look_at_clock() {
            self.tell_upstream();
        }
    }

    fn tell_upstream(&mut self) {
        if self.course.is_up()
            && let Some(link) = self.link.clone()
        {
            self.use_link(&link, Action::Receipt);
        }
    }

    /// Whether the wall clock has gone on otherwise than time did; also after the machine slept.
    fn clock_was_set(&mut self) -> bool {
        let looked = (Instant::now(), self.mirror.clock.now());
        let before = std::mem::replace(&mut self.looked, looked);
        let elapsed = looked.0.saturating_duration_since(before.0).as_millis();
        let expected = before.1.plus(u64::try_from(elapsed).unwrap_or(u64::MAX));
        looked.1.0.abs_diff(expected.0) > CLOCK_SET_MS
    }

    /// Acts on the operator's word to stay or to go on, whoever wrote it down.
    fn look_at_hold(&mut self) {
        let held = self.mirror.hold.look().is_some();
        if held == self.held {
            return;
        }
        self.held = held;
        self.mirror.log_hold();
        self.tell_upstream();
        if !held {
            self.thorough = true;
            self.handle(Event::Wanted);
        }
    }

    fn notice(&self, notice: Notice) {
        // Nobody may be listening.
        let _ = self.notices.send(notice);
    }

    fn upstream(&self) -> &str {
        let index = self.course.upstream();
        self.upstreams.1.get(index).map_or("", String::as_str)
    }

    /// Masters move by root: where they are now stands behind what the operator wrote down.
    fn refresh_upstreams(&mut self) {
        if self.mirror.beliefs.root_version() != self.upstreams.0 {
            self.upstreams = self.mirror.upstreams();
            self.course.set_upstreams(self.upstreams.1.len());
        }
    }

    /// Leaves the connection for a new one. A sync under way is let end first: it comes back by itself.
    fn redial(&mut self) {
        if self.link.is_some() {
            self.failed(LinkError::Lost("this node has another key now".into()).into());
        }
        // Without the pause that follows a failure.
        self.handle(Event::Wanted);
    }

    fn sync_on(&self, link: &Link) -> Sync {
        Sync {
            link: link.clone(),
            work: self.mirror.work(),
            thorough: false,
            pushed: None,
        }
    }

    /// Starts `work` for the present connection; its result comes back as something that happened.
    fn start(&self, work: impl Future<Output = What> + Send + 'static) {
        let (happened, connection) = (self.happened.clone(), self.connection);
        tokio::spawn(async move {
            let what = work.await;
            // The loop has ended otherwise.
            let _ = happened.send(Happened { connection, what }).await;
        });
    }

    /// Dials an upstream with the key that it knows.
    fn connect(&mut self, index: usize) {
        self.connection += 1;
        self.link = None;
        let Some(upstream) = self.upstreams.1.get(index).cloned() else {
            return;
        };
        self.mirror.set_connection("connecting", Some(&upstream));
        let (key, shown) = self.mirror.keys.for_upstream(&upstream);
        self.shown = shown;
        let mirror = self.mirror.clone();
        self.start(async move {
            match mirror.dial(&upstream, &key).await {
                Ok(link) => What::Dialled(link),
                Err(error) => What::Lost(error.into()),
            }
        });
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Connect(index) => self.connect(index),
            Action::Probe(index) => {
                let Some(upstream) = self.upstreams.1.get(index).cloned() else {
                    return;
                };
                let (mirror, sync) = (
                    self.mirror.clone(),
                    self.link.as_ref().map(|l| self.sync_on(l)),
                );
                self.start(async move {
                    let opinion = match sync {
                        Some(sync) => mirror.second_opinion(&upstream, sync).await,
                        None => Opinion::default(),
                    };
                    What::Probed(index, opinion)
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
                    // The link broke after the course had decided; an ended sync keeps it from waiting for one.
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
                let Some(trust) = sync.work.beliefs.trust() else {
                    return What::Polled(Ok(None));
                };
                let poll = Poll {
                    root_version: trust.root().version,
                    head: trust.newest_head().map(|(signed, _)| signed.id()),
                };
                What::Polled(sync.link.poll(poll).await.map_err(Into::into))
            }),
            Action::Sync(head) => {
                self.syncing = true;
                self.thorough_now = std::mem::take(&mut self.thorough);
                // One that came with another head is of no use any more.
                let pushed = self.pushed.take_if(|(with, _)| *with == head);
                let sync = Sync {
                    thorough: self.thorough_now,
                    pushed: pushed.map(|(_, bundle)| bundle),
                    ..sync
                };
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
            && !matches!(
                happened.what,
                What::Synced(_) | What::Mended(_) | What::Cared(_)
            )
        {
            if let What::Dialled(link) = happened.what {
                link.connection().close(close_code::DONE, b"");
            }
            return;
        }
        if let What::Greeted(Ok(_) | Err(SyncError::Link(LinkError::Refused(_)))) = &happened.what {
            self.listen();
        }
        match happened.what {
            What::Dialled(link) => {
                self.link = Some(link.clone());
                self.use_link(&link, Action::Greet);
            }
            What::Greeted(Ok(welcome)) => {
                tracing::info!(upstream = self.upstream(), "connected");
                self.mirror.set_connection("connected", None);
                self.mirror.set_link(self.link.clone(), self.shown);
                self.mirror.keys.welcomed(self.upstream(), self.shown);
                self.mirror.forget_link_error();
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
            What::News(news) => self.told(news),
            What::Polled(Ok(Some(head))) => self.handle(Event::Announced(head)),
            What::Polled(Ok(None)) => {
                // It may be cut off itself, or hide what is new; one of the others may know better.
                if self.upstreams.1.len() > 1 && self.mirror.stale_since_ms().is_some() {
                    return self.failed(SyncError::NothingFresh);
                }
                self.handle(Event::Unchanged);
                if !self.course.knows_a_release() {
                    self.notice(Notice::NoRelease);
                }
            }
            What::Mended(damaged) | What::Cared(Cared::Damaged(damaged)) => self.mended(damaged),
            What::Cared(Cared::Nothing) => {}
            What::Cared(Cared::BegunAnew) => {
                self.thorough = true;
                self.handle(Event::Wanted);
            }
            What::Probed(upstream, Opinion { up, head }) => {
                if let Some(key) = self.replaced_key() {
                    return self.failed(SyncError::NotAMaster(key));
                }
                self.handle(Event::Probed { upstream, up, head });
            }
            What::Synced(result) => self.synced(result),
        }
    }

    /// The upstream's key, when a root that came from another one no longer names it.
    fn replaced_key(&self) -> Option<PublicKey> {
        let key = self.link.as_ref()?.upstream();
        let trust = self.mirror.beliefs.trust()?;
        (!trust.root().names_master(&key)).then_some(key)
    }

    /// Passes on what the upstream sends unasked, until the connection ends.
    ///
    /// Not before the greeting is answered: a refusal is followed by the connection's end, and that must not be
    /// heard first.
    fn listen(&mut self) {
        let Some(link) = self.link.clone() else {
            return;
        };
        if std::mem::replace(&mut self.listening, self.connection) == self.connection {
            return;
        }
        let (happened, connection) = (self.happened.clone(), self.connection);
        tokio::spawn(async move {
            loop {
                let what = match link.news().await {
                    Ok(news) => What::News(news),
                    Err(error) => What::Lost(error.into()),
                };
                let over = matches!(what, What::Lost(_));
                if happened.send(Happened { connection, what }).await.is_err() || over {
                    return;
                }
            }
        });
    }

    fn told(&mut self, news: News) {
        match news.kind {
            FrameType::ANNOUNCE => {
                if let Some(bundle) = news.bundle {
                    self.pushed = Some((news.body.clone(), Arc::new(bundle)));
                }
                self.handle(Event::Announced(news.body));
            }
            FrameType::ADMITTED => self.handle(Event::Admitted),
            kind => self.failed(LinkError::Protocol(format!("{kind} sent unasked")).into()),
        }
    }

    fn refused(&mut self, refused: Refused) {
        let keys = &self.mirror.keys;
        if keys.refused(self.upstream(), self.shown, refused.reason) {
            // The course waits for an answer of this upstream as before.
            if let Some(link) = self.link.take() {
                link.connection().close(close_code::DONE, b"");
            }
            return self.connect(self.course.upstream());
        }
        if refused.reason != RefusalReason::PENDING {
            return self.failed(LinkError::Refused(refused).into());
        }
        self.mirror.set_connection("pending", None);
        tracing::warn!(
            "pending: waiting to be admitted as {}",
            self.mirror.node_key()
        );
        self.handle(Event::Pending);
        if self.course.is_pending() {
            // What the others failed with is old by the time this one has decided.
            self.tried.clear();
            self.notice(Notice::Pending);
        }
    }

    /// Shows upstreams the key that is to replace this node's, or the present one where they know only the former.
    fn show_keys(&self) {
        if !self.syncing && self.mirror.is_rotating() {
            // One that is under way does the same.
            let _ = self.mirror.show_keys_soon();
        }
    }

    fn failed(&mut self, error: SyncError) {
        if let SyncError::Link(LinkError::Refused(refused)) = &error
            && refused.reason == RefusalReason::REVOKED
        {
            // Its successor may have been admitted in its place.
            self.show_keys();
        }
        if self.syncing {
            // The sync notices by itself; its end is waited for, because it works on the disk.
            self.lost = Some(error);
            return;
        }
        tracing::warn!(upstream = self.upstream(), whose = error.whose(), %error, "upstream failed");
        self.mirror.set_error(&error);
        self.close_link(&error);
        // Whatever else is said of this connection comes too late.
        self.connection += 1;
        self.tried.push((self.upstream().into(), error));
        self.handle(Event::Failed);
    }

    fn close_link(&mut self, error: &SyncError) {
        let code = match error {
            SyncError::Link(error) => error.close_code(),
            _ => close_code::CORRUPT,
        };
        if let Some(link) = self.link.take() {
            link.connection().close(code, b"");
        }
        self.mirror.set_link(None, Shown::Present);
    }

    fn synced(&mut self, result: Result<SyncReport, SyncError>) {
        self.syncing = false;
        // Also after an error: it may have come after the switch.
        let mirror = self.mirror.clone();
        tokio::spawn(async move {
            mirror.publish_site().await;
            mirror.look_at_doubted().await;
        });
        let lost = self.lost.take();
        match result {
            Ok(report) => self.synced_well(report),
            Err(error) => {
                tracing::warn!(upstream = self.upstream(), whose = error.whose(), %error, "sync failed");
                if self.synced_badly(error) {
                    return;
                }
            }
        }
        if let Some(error) = lost {
            self.failed(error);
        }
    }

    fn synced_well(&mut self, report: SyncReport) {
        if report.switched {
            tracing::info!(
                from = report.from,
                to = report.to,
                received_bytes = report.received_bytes,
                reused_bytes = report.reused_bytes,
                seconds = report.seconds,
                "switched"
            );
        }
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        self.tried.clear();
        self.mirror.forget_error();
        self.mirror.set_report(&report);
        let switched = report.switched;
        self.notice(Notice::Synced {
            report: Box::new(report),
            thorough: self.thorough_now,
        });
        self.handle(Event::SyncEnded(SyncOutcome::Done { switched }));
    }

    /// Returns whether the course has left this upstream.
    fn synced_badly(&mut self, error: SyncError) -> bool {
        let outcome = error.outcome();
        // What was to be checked still is.
        self.thorough |= self.thorough_now;
        self.mirror.set_error(&error);
        if outcome == SyncOutcome::UpstreamAtFault {
            self.close_link(&error);
        }
        self.tried.push((self.upstream().into(), error));
        self.handle(Event::SyncEnded(outcome));
        let left = !self.course.is_up();
        if !left && let Some((_, error)) = self.tried.pop() {
            self.notice(Notice::SyncFailed(Box::new(error)));
        }
        left
    }

    /// Something was found damaged: the next sync fetches it again, at once if there is an upstream.
    fn mended(&mut self, damaged: usize) {
        if damaged > 0 {
            tracing::warn!(files = damaged, "damaged files; they are fetched again");
            self.thorough = true;
            self.handle(Event::Wanted);
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
