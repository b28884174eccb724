//! What a status means: how things are, whose fault it is if they are not well, and what to type next.

use serde::Serialize;
use tidecast_engine::master::MasterStatus;
use tidecast_engine::mirror::MirrorStatus;
use tidecast_engine::warning::Warning;
use tidecast_proto::root_expiry::ExpiryLevel;

use crate::exit::Exit;
use crate::text;

/// How near a root's end is. Its holders keep their keys offline and apart: gathering them takes weeks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RootEnd {
    /// More than 90 days off.
    Far,
    /// Time to plan.
    Within90Days,
    /// Time to act.
    Within30Days,
    /// Mirrors are about to stop.
    Within7Days,
    Over,
}

impl RootEnd {
    /// By what the status warns of.
    fn of(warnings: &[Warning]) -> Self {
        let level = |level: ExpiryLevel| {
            let mut warnings = warnings.iter();
            warnings.any(|w| w.about == "root_expires" && w.level == level.word())
        };
        if level(ExpiryLevel::Expired) {
            Self::Over
        } else if level(ExpiryLevel::Alarm) {
            Self::Within7Days
        } else if level(ExpiryLevel::Warning) {
            Self::Within30Days
        } else if level(ExpiryLevel::Notice) {
            Self::Within90Days
        } else {
            Self::Far
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Far => "",
            Self::Within90Days => "plan when the holders of the root keys meet to sign a new root",
            Self::Within30Days => "sign a new root this week",
            Self::Within7Days => {
                "sign a new root today: on that day every mirror stops taking new releases"
            }
            Self::Over => "sign a new root now; mirrors take it although this one is over",
        }
    }
}

/// Whose matter a root's end is.
const ROOT_HOLDERS: &str = "the holders of the feed's root keys";

/// A judgement on a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Diagnosis {
    /// Whether everything is as it should be.
    pub(crate) well: bool,
    /// Whose fault it is otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault_of: Option<String>,
    /// What is so, in a sentence.
    pub(crate) what: String,
    /// What to do about it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
    /// The next command to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// How `status` ends. SPEC §10.5.
    #[serde(skip)]
    pub(crate) exit: Exit,
}

impl Diagnosis {
    fn well(what: String) -> Self {
        Self {
            well: true,
            fault_of: None,
            what,
            advice: None,
            next: None,
            exit: Exit::Ok,
        }
    }

    fn fault(of: &str, what: impl Into<String>) -> Self {
        Self {
            well: false,
            fault_of: Some(of.into()),
            exit: Exit::General,
            ..Self::well(what.into())
        }
    }

    fn advice(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()).filter(|advice: &String| !advice.is_empty()),
            ..self
        }
    }

    fn next(self, command: impl Into<String>) -> Self {
        Self {
            next: Some(command.into()),
            ..self
        }
    }

    fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// For people: one line each.
    pub(crate) fn text(&self) -> String {
        let mut text = match &self.fault_of {
            None => format!("{}\n", self.what),
            Some(whose) => format!("{}\nfault of     {whose}\n", self.what),
        };
        if let Some(advice) = &self.advice {
            text.push_str(&format!("advice       {advice}\n"));
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("next         {next}\n"));
        }
        text
    }
}

/// What the master's operator has to do for a node that waits.
pub(crate) fn admit_hint(key: &str) -> String {
    format!("ask the master's operator to type: tidecast node admit {key}")
}

/// The process's end for a fault of `whose`, the word an engine's status gives.
pub(crate) fn exit_of(whose: &str) -> Exit {
    match whose {
        "network" => Exit::Unavailable,
        "operator" => Exit::NoPermission,
        "feed" => Exit::Data,
        "upstream" | "clock" => Exit::Temporary,
        "disk" => Exit::Io,
        _ => Exit::Internal,
    }
}

/// The process's end for what a daemon says kept it from carrying out a command. SPEC §10.1.
pub(crate) fn exit_of_kind(kind: &str) -> Exit {
    match kind {
        "no_input" => Exit::NoInput,
        "permission" => Exit::NoPermission,
        "content" => Exit::Data,
        "held" => Exit::General,
        whose => exit_of(whose),
    }
}

/// A fault's owner in words.
fn owner(whose: &str, upstream: &str) -> String {
    match whose {
        "network" => format!("the network between here and {upstream}, or {upstream} is down"),
        "operator" => format!("the operator of {upstream}, who has not let this mirror in"),
        "feed" => "the feed's operators, who signed this".into(),
        "upstream" => format!("the upstream {upstream}"),
        "clock" => "a clock: this machine's, or the upstream's".into(),
        "disk" => "this machine: its disk or its permissions".into(),
        "tidecast" => "tidecast itself: a bug, please report it".into(),
        other => other.into(),
    }
}

/// Judges a mirror. `command` makes a command line of ours out of its end.
pub(crate) fn of_mirror(
    status: &MirrorStatus,
    daemon: bool,
    now: u64,
    command: impl Fn(&str) -> String,
) -> Diagnosis {
    let diagnosis = judge_mirror(status, daemon, now, command);
    // Whatever the reason: what watches mirrors asks this first.
    if status.stale && status.release > 0 {
        diagnosis.exit(Exit::Temporary)
    } else {
        diagnosis
    }
}

fn judge_mirror(
    status: &MirrorStatus,
    daemon: bool,
    now: u64,
    command: impl Fn(&str) -> String,
) -> Diagnosis {
    let upstream = text::plain(&status.connection.upstream);
    let serves = match status.release {
        0 => "no release is here yet".into(),
        release if status.stale => format!("release {release} is served, stale"),
        release if status.is_held_back() => format!(
            "release {release} is served, held; release {} is out",
            status.head_release
        ),
        release if status.hold.is_some() => format!("release {release} is served, held"),
        release => format!("release {release} is served"),
    };
    if !daemon {
        return Diagnosis::fault(
            "this machine's operator",
            format!("no mirror daemon runs, so nothing newer arrives; {serves}"),
        )
        .next(command("mirror"))
        .exit(Exit::Unavailable);
    }
    if let Some(key) = status.equivocators.first() {
        return Diagnosis::fault(
            "the feed: a master's key is in wrong hands",
            format!("key {key} signed two different heads under one number; {serves}"),
        )
        .advice("tell the feed's operators and send them the files in `evidence` of the state folder; nothing of it was installed");
    }
    if let Some(key) = status.contested.first() {
        return Diagnosis::fault(
            "the feed: two releases were signed under one number",
            format!("key {key} named another release under the number of the installed one; {serves}"),
        )
        .advice("tell the feed's operators and send them the files in `evidence` of the state folder; nothing of it was installed")
        .next(command("audit"));
    }
    if status.connection.state == "pending" {
        return Diagnosis::fault(
            &format!("the operator of {upstream}, who has not let this mirror in yet"),
            format!("pending: waiting to be admitted; {serves}"),
        )
        .advice("send them your node key; they type the next command on the master")
        .next(format!("tidecast node admit {}", status.node_key));
    }
    if let Some(fault) = &status.last_error {
        let what = format!(
            "{}, {}; {serves}",
            text::plain(&fault.what),
            text::ago(fault.at_ms, now)
        );
        let next = match fault.whose.as_str() {
            "disk" => command("verify"),
            _ => command("sync"),
        };
        return Diagnosis::fault(&owner(&fault.whose, &upstream), what)
            .advice(text::plain(&fault.advice))
            .next(next);
    }
    if let Some(hold) = &status.hold {
        let operator = "this machine's operator, who said to stay";
        if hold.forbidden {
            let what = format!(
                "the feed has taken release {} back, and this mirror is held on it; {serves}",
                hold.release
            );
            return Diagnosis::fault(operator, what).next(command("unhold"));
        }
        if status.is_held_back() && hold.is_old(tidecast_proto::id::Timestamp(now)) {
            let what = format!("held since {}; {serves}", text::ago(hold.since_ms, now));
            return Diagnosis::fault(operator, what)
                .advice("clients get old databases; see what is out with `tidecast sync -n`")
                .next(command("unhold"));
        }
    }
    if status.stale && status.release > 0 {
        let root_over = status.root_expires_ms.is_some_and(|end| end <= now);
        let (whose, what) = if root_over {
            ("feed", "the feed's root has expired")
        } else {
            (
                "upstream",
                "no fresh head has come, so nobody vouches for what is newest",
            )
        };
        let what = format!("stale: {what}; release {} is served", status.release);
        return Diagnosis::fault(&owner(whose, &upstream), what).next(command("sync"));
    }
    if status.release == 0 {
        let what = match status.progress.release {
            0 => "connected, waiting for the feed's first release".into(),
            release => format!("fetching release {release}"),
        };
        return Diagnosis::well(what);
    }
    if status.progress.release > 0 {
        return Diagnosis::well(format!(
            "fetching release {}: {} of {}; {serves}",
            status.progress.release,
            text::bytes(status.progress.fetched_bytes),
            text::bytes(status.progress.fetch_bytes),
        ));
    }
    if let Some(expires) = status.root_expires_ms
        && let end @ (RootEnd::Within30Days | RootEnd::Within7Days) = RootEnd::of(&status.warnings)
    {
        let left = text::span(expires.saturating_sub(now));
        let what = format!("the feed's root expires in {left}, nothing newer is taken after it");
        let told = match end {
            RootEnd::Within7Days => "ask the feed's operators today when the new root comes",
            _ => "ask the feed's operators whether a new root is on its way",
        };
        return Diagnosis::fault(ROOT_HOLDERS, format!("{what}; {serves}")).advice(told);
    }
    if let Some(failed) = status.after.iter().find(|after| !after.ok) {
        let what = format!(
            "{} after the switch to release {}: {}; {serves}",
            failed.whom,
            failed.tried_release,
            text::plain(&failed.what)
        );
        return Diagnosis::fault("this machine: what is told of each switch", what)
            .advice(text::plain(&failed.advice));
    }
    if status.hold.is_some() {
        return Diagnosis::well(format!("held, as its operator said: {serves}"))
            .next(command("unhold"));
    }
    if status.connection.state == "connected" {
        Diagnosis::well(format!("all is well: {serves}, the newest there is"))
    } else {
        Diagnosis::well(format!("connecting to {upstream}; {serves}"))
    }
}

/// Judges a master.
pub(crate) fn of_master(
    status: &MasterStatus,
    daemon: bool,
    now: u64,
    command: impl Fn(&str) -> String,
) -> Diagnosis {
    let diagnosis = judge_master(status, daemon, now, command);
    if status.stale && status.newest.is_some() {
        diagnosis.exit(Exit::Temporary)
    } else {
        diagnosis
    }
}

fn judge_master(
    status: &MasterStatus,
    daemon: bool,
    now: u64,
    command: impl Fn(&str) -> String,
) -> Diagnosis {
    let operator = "this master's operator";
    let headless = status.heads.alarms.iter().find(|a| a.kind == "heads");
    if let Some(alarm) = headless
        && daemon
        && (status.newest.is_none() || status.stale)
        && status.root_expires_ms > now
    {
        // Not "nothing is published": what is must not be announced, and the alarm says what to do.
        let serves = match (&status.newest, status.heads.announced) {
            (Some(newest), _) => {
                format!("the last head, for release {}, has expired", newest.release)
            }
            (None, 0) => "mirrors are told of no release".into(),
            (None, announced) => format!("mirrors were told of release {announced} last"),
        };
        return Diagnosis::fault(operator, format!("{}; {serves}", text::plain(&alarm.what)))
            .advice(text::plain(&alarm.advice))
            .exit(Exit::Temporary);
    }
    let Some(newest) = &status.newest else {
        return Diagnosis::fault(operator, "nothing is published yet")
            .next(command("publish TREE"));
    };
    let serves = format!("release {} is the newest", newest.release);
    if !daemon {
        let what = format!("no master daemon runs, so mirrors hear of nothing; {serves}");
        return Diagnosis::fault(operator, what)
            .next(command("master"))
            .exit(Exit::Unavailable);
    }
    let root_end = RootEnd::of(&status.warnings);
    let left = text::span(status.root_expires_ms.saturating_sub(now));
    // First what stops every mirror: whoever waits at the door must not hide it.
    match root_end {
        RootEnd::Over => {
            let what = format!("the root has expired, mirrors accept nothing new; {serves}");
            return Diagnosis::fault(ROOT_HOLDERS, what).advice(root_end.advice());
        }
        _ if status.stale => {
            let what = format!("the head has expired and no fresh one could be signed; {serves}");
            return Diagnosis::fault("this machine: its disk or its clock", what)
                .advice("the master's log says why");
        }
        RootEnd::Within7Days => {
            let what = format!("the root expires in {left}, and with it every mirror; {serves}");
            return Diagnosis::fault(ROOT_HOLDERS, what).advice(root_end.advice());
        }
        _ => {}
    }
    if let Some(alarm) = status.heads.alarms.first() {
        let node = alarm.node_key.as_deref();
        let whose = node.map_or_else(String::new, |node| format!(" (mirror {node})"));
        let what = format!("{}{whose}; {serves}", text::plain(&alarm.what));
        return Diagnosis::fault(operator, what)
            .advice(text::plain(&alarm.advice))
            .next(command("audit"));
    }
    if let Some(node) = status.nodes.iter().find(|node| node.state == "pending") {
        let waiting = status.nodes.iter().filter(|node| node.state == "pending");
        let what = format!(
            "{} to be admitted; {serves}{}",
            match waiting.count() {
                1 => "a node waits".into(),
                count => format!("{count} nodes wait"),
            },
            match root_end {
                RootEnd::Far => String::new(),
                _ => format!("; the root expires in {left}"),
            }
        );
        return Diagnosis::fault(operator, what)
            .advice("make sure by telephone or mail that the key is theirs")
            .next(command(&format!("node admit {}", node.node_key)))
            // Anybody can stand at the door: that is no reason to wake somebody.
            .exit(match root_end {
                RootEnd::Within30Days => Exit::General,
                _ => Exit::Ok,
            });
    }
    if let Some(shared) = status
        .warnings
        .iter()
        .find(|w| w.about == "key_shared" && w.level == "warning")
    {
        return Diagnosis::fault(operator, format!("{}; {serves}", text::plain(&shared.what)))
            .advice(
                "ask its operator; if the key is in wrong hands, revoke it and admit a new one",
            );
    }
    match root_end {
        RootEnd::Far => Diagnosis::well(format!("all is well: {serves}")),
        RootEnd::Within90Days => {
            Diagnosis::well(format!("all is well: {serves}; the root expires in {left}"))
                .advice(root_end.advice())
        }
        _ => Diagnosis::fault(
            ROOT_HOLDERS,
            format!("the root expires in {left}; {serves}"),
        )
        .advice(root_end.advice()),
    }
}

#[cfg(test)]
mod tests;
