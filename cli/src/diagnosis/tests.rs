//! What a status is made of.

use super::*;
use tidecast_engine::master::{ConnectedNode, ReleaseStatus};
use tidecast_engine::mirror::{ConnectionStatus, Fault};

fn mirror() -> MirrorStatus {
    MirrorStatus {
        role: "mirror".into(),
        node_key: "ab".repeat(32),
        release: 3,
        connection: ConnectionStatus {
            upstream: "master.example.org".into(),
            state: "connected".into(),
            ..ConnectionStatus::default()
        },
        ..MirrorStatus::default()
    }
}

fn judge(status: &MirrorStatus) -> Diagnosis {
    of_mirror(status, true, 10_000, |rest| format!("tidecast {rest}"))
}

#[test]
fn a_mirror_that_is_well_is_nobodys_fault() {
    let diagnosis = judge(&mirror());
    assert!(diagnosis.well && diagnosis.fault_of.is_none() && diagnosis.next.is_none());
}

#[test]
fn a_mirror_that_waits_names_the_command_for_the_masters_operator() {
    let mut status = mirror();
    status.connection.state = "pending".into();
    let diagnosis = judge(&status);
    assert_eq!(
        diagnosis.next,
        Some(format!("tidecast node admit {}", status.node_key))
    );
    assert!(
        diagnosis
            .fault_of
            .unwrap()
            .contains("operator of master.example.org")
    );
}

#[test]
fn each_fault_has_an_owner_an_advice_and_a_command() {
    for (whose, owner, next) in [
        ("network", "network", "tidecast sync"),
        ("disk", "this machine", "tidecast verify"),
        ("feed", "feed's operators", "tidecast sync"),
    ] {
        let mut status = mirror();
        status.last_error = Some(Fault {
            whose: whose.into(),
            what: "it failed".into(),
            advice: "mend it".into(),
            at_ms: 5_000,
        });
        let diagnosis = judge(&status);
        assert!(diagnosis.fault_of.unwrap().contains(owner), "{whose}");
        assert_eq!(diagnosis.next.as_deref(), Some(next), "{whose}");
        assert_eq!(diagnosis.advice.as_deref(), Some("mend it"));
        assert!(diagnosis.what.contains("it failed, 5 s ago"));
    }
}

#[test]
fn without_a_daemon_the_next_command_starts_one() {
    let diagnosis = of_mirror(&mirror(), false, 0, |rest| format!("tidecast {rest}"));
    assert_eq!(diagnosis.next.as_deref(), Some("tidecast mirror"));
}

fn master() -> MasterStatus {
    MasterStatus {
        role: "master".into(),
        feed: "clamav".into(),
        root_version: 1,
        root_expires_ms: u64::MAX,
        newest: Some(ReleaseStatus {
            release: 1,
            head_expires_ms: u64::MAX,
            ..ReleaseStatus::default()
        }),
        ..MasterStatus::default()
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;

/// As a status warns of a root with so many days left.
fn root_warning(days: u64) -> Vec<Warning> {
    let level = match days {
        0 => ExpiryLevel::Expired,
        1..=7 => ExpiryLevel::Alarm,
        8..=30 => ExpiryLevel::Warning,
        31..=90 => ExpiryLevel::Notice,
        _ => return Vec::new(),
    };
    let warning = Warning {
        about: "root_expires".into(),
        level: level.word().into(),
        ..Warning::default()
    };
    vec![warning]
}

#[test]
fn a_master_is_led_from_the_first_release_to_its_daemon() {
    let judge = |status: &MasterStatus, daemon| {
        of_master(status, daemon, 10_000, |rest| format!("tidecast {rest}"))
    };
    let empty = MasterStatus {
        newest: None,
        ..master()
    };
    assert_eq!(
        judge(&empty, true).next.as_deref(),
        Some("tidecast publish TREE")
    );
    assert_eq!(
        judge(&master(), false).next.as_deref(),
        Some("tidecast master")
    );
    assert!(judge(&master(), true).well);
}

#[test]
fn what_is_wrong_with_a_masters_own_past_is_told_with_what_to_do() {
    let mut status = master();
    status.heads.alarms = vec![tidecast_engine::master::Alarm {
        kind: "restored".into(),
        what: "a mirror holds release 9".into(),
        advice: "go past it".into(),
        node_key: Some("abc".into()),
    }];
    let told = of_master(&status, true, 10_000, |rest| format!("tidecast {rest}"));
    assert!(!told.well && told.what.contains("holds release 9 (mirror abc)"));
    assert_eq!(told.advice.as_deref(), Some("go past it"));
    assert_eq!(told.next.as_deref(), Some("tidecast audit"));
}

#[test]
fn another_release_under_the_installed_number_is_told_before_anything_else() {
    let mut status = mirror();
    status.contested = vec!["abc".into()];
    let told = judge(&status);
    assert!(!told.well && told.advice.unwrap().contains("evidence"));
    assert_eq!(told.next.as_deref(), Some("tidecast audit"));
}

#[test]
fn a_root_that_ends_is_told_90_30_and_7_days_before_in_other_words_each_time() {
    let now = 1_000 * DAY_MS;
    let judge = |days: u64| {
        let status = MasterStatus {
            root_expires_ms: now + days * DAY_MS,
            warnings: root_warning(days),
            ..master()
        };
        of_master(&status, true, now, |rest| format!("tidecast {rest}"))
    };
    assert_eq!(judge(91).advice, None);
    let told = [90, 30, 7, 0].map(judge);
    assert_eq!(told.clone().map(|d| d.well), [true, false, false, false]);
    for (told, part) in told
        .iter()
        .zip(["expires in 90", "in 30", "in 7", "has expired"])
    {
        assert!(told.what.contains(part), "{told:?}");
    }
    let mut advice: Vec<_> = told.iter().map(|d| d.advice.clone().unwrap()).collect();
    advice.dedup();
    assert_eq!(advice.len(), 4, "{advice:?}");

    let mut mirror = mirror();
    mirror.root_expires_ms = Some(now + 8 * DAY_MS);
    mirror.warnings = root_warning(8);
    let told = of_mirror(&mirror, true, now, |rest| rest.into());
    assert!(!told.well && told.fault_of.unwrap() == ROOT_HOLDERS);
}

#[test]
fn strangers_at_the_door_hide_neither_an_expired_root_nor_an_expired_head() {
    let stranger = ConnectedNode {
        node_key: "ab".repeat(32),
        state: "pending".into(),
        connected: true,
        ..ConnectedNode::default()
    };
    let judge = |days: u64, stale: bool| {
        let mut status = master();
        status.nodes.push(stranger.clone());
        status.root_expires_ms = 10_000 + days * DAY_MS;
        status.warnings = root_warning(days);
        status.stale = stale;
        of_master(&status, true, 10_000, |rest| rest.into())
    };
    assert!(judge(0, true).what.contains("root has expired"));
    assert!(judge(400, true).what.contains("head has expired"));
    assert!(judge(1, false).what.contains("root expires"));
    let both = judge(20, false);
    assert!(both.what.contains("a node waits") && both.what.contains("root expires"));
    // Nobody is woken by a stranger.
    let exits = [judge(400, false), both, judge(400, true)].map(|told| told.exit);
    assert_eq!(exits, [Exit::Ok, Exit::General, Exit::Temporary]);
}

#[test]
fn stale_is_told_first_by_the_exit_code_whatever_else_is_wrong() {
    let stale = MirrorStatus {
        stale: true,
        ..mirror()
    };
    let exit =
        |status: &MirrorStatus, daemon| of_mirror(status, daemon, 10_000, |rest| rest.into()).exit;
    assert_eq!(exit(&mirror(), true), Exit::Ok);
    assert_eq!(exit(&mirror(), false), Exit::Unavailable);
    assert_eq!(exit(&stale, true), Exit::Temporary);
    assert_eq!(exit(&stale, false), Exit::Temporary);
    let mut pending = stale.clone();
    pending.connection.state = "pending".into();
    assert_eq!(exit(&pending, true), Exit::Temporary);
    pending.stale = false;
    assert_eq!(exit(&pending, true), Exit::General);
    // Nothing is served yet that could be.
    let empty = MirrorStatus {
        release: 0,
        ..stale
    };
    assert_eq!(exit(&empty, true), Exit::Ok);
}

#[test]
fn every_word_for_an_owner_has_an_exit_code() {
    for whose in ["network", "operator", "feed", "upstream", "clock", "disk"] {
        assert_ne!(exit_of(whose), Exit::Internal, "{whose}");
    }
}

#[test]
fn a_master_whose_newest_release_must_not_be_announced_is_not_told_to_publish_its_first() {
    let mut status = master();
    status.heads.announced = 4;
    status.heads.alarms = vec![tidecast_engine::master::Alarm {
        kind: "heads".into(),
        what: "no head can be signed: release 4 cannot be announced under root 2".into(),
        advice: "publish the same files again".into(),
        node_key: None,
    }];
    status.root_expires_ms = u64::MAX;
    let judge =
        |status: &MasterStatus| of_master(status, true, 10_000, |rest| format!("tidecast {rest}"));
    let running = judge(&status);
    assert!(running.what.contains("under root 2"), "{}", running.what);
    for (newest, stale, told) in [
        (None, false, "told of release 4 last"),
        (status.newest.clone(), true, "has expired"),
    ] {
        (status.newest, status.stale) = (newest, stale);
        let diagnosis = judge(&status);
        assert!(
            diagnosis.what.contains("under root 2") && diagnosis.what.contains(told),
            "{}",
            diagnosis.what
        );
        assert_eq!(
            diagnosis.advice.as_deref(),
            Some("publish the same files again")
        );
        assert_eq!(diagnosis.exit, Exit::Temporary);
    }
}
