//! What the mirror's course promises.

use super::*;
use alloc::vec;

fn drain(mirror: &mut Mirror) -> Vec<Action> {
    core::iter::from_fn(|| mirror.poll()).collect()
}

fn started(upstreams: usize) -> Mirror {
    let mut mirror = Mirror::new(Millis(0), upstreams, 7);
    mirror.handle(Millis(0), Event::Tick);
    assert_eq!(drain(&mut mirror), [Action::Connect(0)]);
    mirror
}

fn up(upstreams: usize) -> Mirror {
    let mut mirror = started(upstreams);
    mirror.handle(Millis(10), Event::Welcomed { head: None });
    assert_eq!(drain(&mut mirror), [Action::Receipt]);
    mirror
}

fn head(name: &str) -> Vec<u8> {
    name.as_bytes().to_vec()
}

const DONE: Event = Event::SyncEnded(SyncOutcome::Done { switched: true });

#[test]
fn a_push_during_a_sync_is_never_lost_and_the_newest_wins() {
    let mut mirror = up(1);
    mirror.handle(Millis(20), Event::Announced(head("1")));
    assert_eq!(drain(&mut mirror), [Action::Sync(head("1"))]);
    mirror.handle(Millis(21), Event::Announced(head("2")));
    mirror.handle(Millis(22), Event::Announced(head("3")));
    assert_eq!(drain(&mut mirror), []);
    mirror.handle(Millis(30), DONE);
    let actions = drain(&mut mirror);
    assert!(actions.contains(&Action::Sync(head("3"))), "{actions:?}");
    assert!(actions.contains(&Action::Receipt), "{actions:?}");
}

#[test]
fn the_next_upstream_is_asked_at_once_and_a_pause_comes_after_the_last() {
    let mut mirror = started(3);
    mirror.handle(Millis(1), Event::Failed);
    assert_eq!(drain(&mut mirror), [Action::Connect(1)]);
    mirror.handle(Millis(2), Event::Failed);
    assert_eq!(drain(&mut mirror), [Action::Connect(2)]);
    mirror.handle(Millis(3), Event::Failed);
    assert_eq!(drain(&mut mirror), []);
    let until = mirror.poll_timeout().unwrap();
    assert!((803..=1_203).contains(&until.0), "{until:?}");
    mirror.handle(until, Event::Tick);
    assert_eq!(drain(&mut mirror), [Action::Connect(0)]);
}

#[test]
fn pauses_double_up_to_a_minute() {
    let mut mirror = started(1);
    let mut now = Millis(1);
    let mut last = 0;
    for _ in 0..12 {
        mirror.handle(now, Event::Failed);
        let until = mirror.poll_timeout().unwrap();
        last = until.0 - now.0;
        assert!(last <= BACKOFF_MAX_MS * 6 / 5, "{last}");
        now = until;
        mirror.handle(now, Event::Tick);
        assert_eq!(drain(&mut mirror), [Action::Connect(0)]);
    }
    assert!(last >= BACKOFF_MAX_MS * 4 / 5, "{last}");
}

#[test]
fn the_first_upstream_is_taken_back_when_it_recovers() {
    let mut mirror = started(2);
    mirror.handle(Millis(1), Event::Failed);
    drain(&mut mirror);
    mirror.handle(Millis(2), Event::Welcomed { head: None });
    drain(&mut mirror);
    let now = loop {
        let now = mirror.poll_timeout().unwrap();
        mirror.handle(now, Event::Tick);
        if drain(&mut mirror).contains(&Action::Probe(0)) {
            break now;
        }
        assert!(now.0 < RETURN_MS * 2, "never probed");
    };
    mirror.handle(
        now,
        Event::Probed {
            upstream: 0,
            up: false,
            head: None,
        },
    );
    assert_eq!(drain(&mut mirror), []);
    mirror.handle(
        now,
        Event::Probed {
            upstream: 0,
            up: true,
            head: None,
        },
    );
    assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(0)]);
}

fn probed(upstream: usize, up: bool, head: Option<&[u8]>) -> Event {
    let head = head.map(<[u8]>::to_vec);
    Event::Probed { upstream, up, head }
}

#[test]
fn a_newer_head_that_a_second_opinion_brings_is_synced_to_like_any_other() {
    let mut mirror = up(2);
    mirror.handle(Millis(1), Event::Announced(b"old".to_vec()));
    let ended = Event::SyncEnded(SyncOutcome::Done { switched: false });
    mirror.handle(Millis(2), ended.clone());
    drain(&mut mirror);
    mirror.handle(Millis(3), probed(1, true, Some(b"new")));
    assert_eq!(drain(&mut mirror), [Action::Sync(b"new".to_vec())]);
    // While that runs, a newer one waits for its end; the one at hand is not taken twice.
    mirror.handle(Millis(4), probed(1, true, Some(b"newer")));
    mirror.handle(Millis(5), probed(1, true, Some(b"newer")));
    assert_eq!(drain(&mut mirror), []);
    mirror.handle(Millis(6), ended.clone());
    assert_eq!(drain(&mut mirror), [Action::Sync(b"newer".to_vec())]);
    mirror.handle(Millis(7), ended);
    drain(&mut mirror);
    mirror.handle(Millis(8), probed(1, true, Some(b"newer")));
    assert_eq!(drain(&mut mirror), []);
    // Whoever cannot serve it is left for the upstream that has it.
    mirror.handle(Millis(9), probed(1, true, Some(b"newest")));
    assert_eq!(drain(&mut mirror), [Action::Sync(b"newest".to_vec())]);
    let absent = Event::SyncEnded(SyncOutcome::UpstreamAtFault);
    mirror.handle(Millis(10), absent);
    assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(1)]);
}

#[test]
fn the_first_upstream_is_compared_with_each_of_the_others_and_kept() {
    let mut mirror = up(3);
    let mut asked = Vec::new();
    let mut now = Millis(0);
    while now.0 < RETURN_MS * 6 {
        now = mirror.poll_timeout().unwrap();
        mirror.handle(now, Event::Tick);
        for action in drain(&mut mirror) {
            if let Action::Probe(upstream) = action {
                asked.push(upstream);
                mirror.handle(now, probed(upstream, true, None));
                assert_eq!(drain(&mut mirror), []);
            }
        }
    }
    assert!(asked.starts_with(&[1, 2, 1, 2]), "{asked:?}");
    assert!(mirror.is_up() && mirror.upstream() == 0);
}

#[test]
fn another_upstream_than_the_first_is_compared_with_the_rest_as_well() {
    let mut mirror = started(4);
    mirror.handle(Millis(1), Event::Failed);
    mirror.handle(Millis(2), Event::Welcomed { head: None });
    let mut asked = Vec::new();
    let mut now = Millis(2);
    while now.0 < RETURN_MS * 3 {
        now = mirror.poll_timeout().unwrap();
        mirror.handle(now, Event::Tick);
        for action in drain(&mut mirror) {
            if let Action::Probe(upstream) = action {
                asked.push(upstream);
                let up = upstream > 0;
                mirror.handle(now, probed(upstream, up, None));
            }
        }
    }
    assert!(asked.starts_with(&[0, 2, 0, 3]), "{asked:?}");
    assert!(mirror.is_up() && mirror.upstream() == 1);
}

#[test]
fn a_mirror_with_one_upstream_has_nobody_to_compare_it_with() {
    let mut mirror = up(1);
    let mut now = Millis(0);
    while now.0 < RETURN_MS * 4 {
        now = mirror.poll_timeout().unwrap();
        mirror.handle(now, Event::Tick);
        let actions = drain(&mut mirror);
        assert!(!actions.iter().any(|a| matches!(a, Action::Probe(_))));
    }
}

#[test]
fn after_a_round_of_refused_heads_the_next_poll_begins_another() {
    let refused = || Event::SyncEnded(SyncOutcome::HeadRefused);
    let mut mirror = up(2);
    let mut now = Millis(100);
    for round in 0..3 {
        let next = (round + 1) % 2;
        mirror.handle(now, Event::Announced(head("old")));
        mirror.handle(now, refused());
        assert!(drain(&mut mirror).ends_with(&[Action::Disconnect, Action::Connect(next)]));
        let head_too = Some(head("old, too"));
        mirror.handle(now, Event::Welcomed { head: head_too });
        mirror.handle(now, refused());
        // However many more it sends: the mirror stays until it polls.
        for _ in 0..100 {
            mirror.handle(now, Event::Announced(head("old")));
            mirror.handle(now, refused());
        }
        assert!(!drain(&mut mirror).contains(&Action::Disconnect));
        assert!(mirror.is_up() && mirror.upstream() == next);
        while !drain(&mut mirror).contains(&Action::Poll) {
            now = mirror.poll_timeout().unwrap();
            mirror.handle(now, Event::Tick);
        }
    }
}

#[test]
fn a_lying_upstream_is_left_and_a_full_disk_is_not_blamed_on_it() {
    let mut mirror = up(2);
    mirror.handle(Millis(20), Event::Announced(head("1")));
    drain(&mut mirror);
    mirror.handle(Millis(30), Event::SyncEnded(SyncOutcome::LocalFault));
    assert_eq!(drain(&mut mirror), []);
    let again = mirror.poll_timeout().unwrap();
    mirror.handle(again, Event::Tick);
    assert_eq!(drain(&mut mirror), [Action::Sync(head("1"))]);
    mirror.handle(again, Event::SyncEnded(SyncOutcome::UpstreamAtFault));
    assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(1)]);
}

#[test]
fn a_waiting_node_greets_again_when_nudged_or_after_a_minute() {
    let mut mirror = started(1);
    mirror.handle(Millis(1), Event::Pending);
    assert_eq!(drain(&mut mirror), []);
    mirror.handle(Millis(2), Event::Admitted);
    assert_eq!(drain(&mut mirror), [Action::Greet]);
    mirror.handle(Millis(3), Event::Pending);
    let at = mirror.poll_timeout().unwrap();
    mirror.handle(at, Event::Tick);
    assert_eq!(drain(&mut mirror), [Action::Greet]);
}

#[test]
fn two_upstreams_that_welcome_and_then_lie_are_not_asked_in_a_hot_loop() {
    let mut mirror = started(2);
    let mut connects = 0;
    for ms in 0..100 {
        let now = Millis(ms);
        mirror.handle(
            now,
            Event::Welcomed {
                head: Some(head("1")),
            },
        );
        mirror.handle(now, Event::SyncEnded(SyncOutcome::UpstreamAtFault));
        let actions = drain(&mut mirror);
        connects += actions
            .iter()
            .filter(|a| matches!(a, Action::Connect(_)))
            .count();
        if mirror.is_down() {
            break;
        }
    }
    assert!(mirror.is_down());
    assert_eq!(connects, 1);
}

#[test]
fn where_one_upstream_lets_a_node_wait_the_next_is_asked() {
    let mut mirror = started(2);
    mirror.handle(Millis(1), Event::Pending);
    assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(1)]);
    mirror.handle(Millis(2), Event::Pending);
    assert_eq!(drain(&mut mirror), []);
    let again = mirror.poll_timeout().unwrap();
    mirror.handle(again, Event::Tick);
    assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(0)]);
}

#[test]
fn a_node_waits_where_it_is_known_of_when_the_other_upstreams_are_dead() {
    let mut mirror = started(2);
    mirror.handle(Millis(1), Event::Pending);
    assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(1)]);
    mirror.handle(Millis(2), Event::Failed);
    assert_eq!(drain(&mut mirror), [Action::Connect(0)]);
    mirror.handle(Millis(3), Event::Pending);
    assert_eq!(drain(&mut mirror), []);
    assert!(mirror.is_pending());
    mirror.handle(Millis(4), Event::Failed);
    assert!(mirror.is_down() || drain(&mut mirror) == [Action::Connect(1)]);
}

#[test]
fn a_refused_head_sends_the_mirror_to_the_next_upstream_and_then_it_stays() {
    let mut mirror = started(2);
    mirror.handle(
        Millis(1),
        Event::Welcomed {
            head: Some(head("old")),
        },
    );
    drain(&mut mirror);
    mirror.handle(Millis(2), Event::SyncEnded(SyncOutcome::HeadRefused));
    assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(1)]);
    mirror.handle(
        Millis(3),
        Event::Welcomed {
            head: Some(head("old")),
        },
    );
    drain(&mut mirror);
    mirror.handle(Millis(4), Event::SyncEnded(SyncOutcome::HeadRefused));
    assert_eq!(drain(&mut mirror), []);
    assert!(mirror.is_up());
}

#[test]
fn a_wish_has_those_asked_again_whose_head_was_refused() {
    let mut mirror = up(2);
    mirror.handle(Millis(1), Event::Announced(head("good")));
    mirror.handle(Millis(2), Event::SyncEnded(SyncOutcome::HeadRefused));
    mirror.handle(
        Millis(3),
        Event::Welcomed {
            head: Some(head("old")),
        },
    );
    mirror.handle(Millis(4), Event::SyncEnded(SyncOutcome::HeadRefused));
    drain(&mut mirror);
    mirror.handle(Millis(5), Event::Wanted);
    assert_eq!(drain(&mut mirror), [Action::Poll]);
    mirror.handle(Millis(6), Event::Unchanged);
    mirror.handle(Millis(7), Event::SyncEnded(SyncOutcome::HeadRefused));
    let actions = drain(&mut mirror);
    assert!(
        actions.ends_with(&[Action::Disconnect, Action::Connect(0)]),
        "{actions:?}"
    );
}

#[test]
fn what_overtakes_its_answer_is_not_lost() {
    let mut mirror = started(1);
    mirror.handle(Millis(1), Event::Admitted);
    mirror.handle(Millis(2), Event::Pending);
    assert_eq!(drain(&mut mirror), [Action::Greet]);
    mirror.handle(Millis(3), Event::Announced(head("2")));
    mirror.handle(
        Millis(4),
        Event::Welcomed {
            head: Some(head("1")),
        },
    );
    let actions = drain(&mut mirror);
    assert!(actions.contains(&Action::Sync(head("2"))), "{actions:?}");
    assert!(!actions.contains(&Action::Sync(head("1"))), "{actions:?}");
}

#[test]
fn a_wish_is_answered_by_a_sync_even_when_nothing_is_new() {
    let mut mirror = up(1);
    mirror.handle(Millis(20), Event::Announced(head("1")));
    mirror.handle(Millis(21), DONE);
    drain(&mut mirror);
    mirror.handle(Millis(30), Event::Wanted);
    assert_eq!(drain(&mut mirror), [Action::Poll]);
    mirror.handle(Millis(31), Event::Unchanged);
    assert_eq!(drain(&mut mirror), [Action::Sync(head("1"))]);
}

#[test]
fn a_retry_does_not_outlive_its_connection() {
    let mut mirror = up(1);
    mirror.handle(Millis(20), Event::Announced(head("1")));
    drain(&mut mirror);
    mirror.handle(Millis(30), Event::SyncEnded(SyncOutcome::LocalFault));
    mirror.handle(Millis(31), Event::Failed);
    let mut now = Millis(31);
    for _ in 0..3 {
        now = mirror.poll_timeout().map_or(now, |at| at);
        mirror.handle(now, Event::Tick);
        let actions = drain(&mut mirror);
        assert!(
            !actions.iter().any(|a| matches!(a, Action::Sync(_))),
            "{actions:?}"
        );
        mirror.handle(now, Event::Failed);
    }
}

#[test]
fn a_quiet_connection_polls_and_sends_a_receipt_each_hour() {
    let mut mirror = up(1);
    let (mut polls, mut receipts) = (0, 0);
    loop {
        let now = mirror.poll_timeout().unwrap();
        if now.0 > 4 * RECEIPT_MS {
            break;
        }
        mirror.handle(now, Event::Tick);
        for action in drain(&mut mirror) {
            match action {
                Action::Poll => polls += 1,
                Action::Receipt => receipts += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!((40..=60).contains(&polls), "{polls}");
    assert!((3..=4).contains(&receipts), "{receipts}");
    assert_eq!(vec![mirror.upstream()], [0]);
}
