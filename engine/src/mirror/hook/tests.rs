use super::*;

fn shell(script: &str, timeout_s: u64) -> HookConfig {
    HookConfig {
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        timeout_s,
    }
}

/// How it ended, what it said, and how long it took.
fn ran(script: &str, timeout_s: u64) -> (Ended, Vec<String>, Duration) {
    let mut said = Vec::new();
    let begun = Instant::now();
    let ended = run(
        &shell(script, timeout_s),
        &[("TIDECAST_RELEASE", "7".into())],
        &AtomicBool::new(false),
        &mut |line| said.push(line.to_owned()),
    );
    (ended.unwrap(), said, begun.elapsed())
}

fn code(ended: Ended) -> Option<i32> {
    match ended {
        Ended::Itself(status) => status.code(),
        Ended::TooLong | Ended::Stopped => None,
    }
}

#[test]
fn it_gets_its_environment_and_nothing_else_of_ours() {
    // A descriptor that whoever started this program forgot to close; no shell has one of that number by itself.
    let null = std::fs::File::open("/dev/null").unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&null, 700).unwrap();
    rustix::io::fcntl_setfd(&leaked, FdFlags::empty()).unwrap();
    let script = "echo $TIDECAST_RELEASE; pwd; cat; env | grep -c ^CARGO; echo /proc/$$/fd/*";
    let (ended, said, _) = ran(script, 10);
    assert_eq!(code(ended), Some(0));
    assert_eq!(said[..3], ["7", "/", "0"]);
    let open: Vec<&str> = said[3].split(' ').collect();
    assert!(open.len() <= 4, "0, 1, 2 and the shell's own: {open:?}");
    assert!(!said[3].contains(&format!("/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&leaked))));
}

#[test]
fn its_end_is_told_as_it_is() {
    assert_eq!(code(ran("exit 3", 10).0), Some(3));
    let missing = HookConfig {
        command: vec!["/does/not/exist".into()],
        timeout_s: 1,
    };
    let error = run(&missing, &[], &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_takes_too_long_is_ended_with_all_it_started_even_against_its_will() {
    let script = "trap '' TERM; (trap '' TERM; echo child; sleep 300) & echo $!; sleep 300";
    let (ended, said, took) = ran(script, 1);
    assert_eq!(ended, Ended::TooLong);
    assert!(took < Duration::from_secs(20), "{took:?}");
    let child = said
        .iter()
        .find(|line| line.parse::<u32>().is_ok())
        .unwrap();
    let alive = || {
        let status = std::fs::read_to_string(format!("/proc/{child}/status"));
        status.is_ok_and(|text| !text.contains("State:\tZ"))
    };
    let begun = Instant::now();
    while alive() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{child} runs on");
        std::thread::yield_now();
    }
}

#[test]
fn it_ends_when_the_mirror_stops() {
    let stop = AtomicBool::new(true);
    let ended = run(&shell("sleep 300", 300), &[], &stop, &mut |_| {}).unwrap();
    assert_eq!(ended, Ended::Stopped);
}

#[test]
fn what_it_leaves_running_is_not_waited_for() {
    let (ended, said, took) = ran("sleep 20 & echo done", 300);
    assert_eq!(code(ended), Some(0));
    assert_eq!(said, ["done"]);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn its_words_are_bounded_and_harmless() {
    let (_, said, _) = ran(
        "printf 'a\\033[2Jb\\tc\\rd\\n'; printf '\\342\\200\\256x'",
        10,
    );
    assert_eq!(said, ["a\\u{1b}[2Jb c\\rd", "\\u{202e}x"]);
    let (ended, said, _) = ran("yes | head -n 100000; head -c 5000000 /dev/zero", 60);
    assert_eq!(code(ended), Some(0));
    assert_eq!(said.len(), LINES_MAX + 1);
    // The 5 MB are one line more, without an end.
    assert_eq!(
        said[LINES_MAX],
        format!("... and {} lines more", 100_000 - LINES_MAX + 1)
    );
    let (_, said, _) = ran("head -c 1500 /dev/zero | tr '\\0' x", 10);
    assert_eq!(
        said,
        [format!("{} ... and 500 bytes more", "x".repeat(1000))]
    );
}

#[test]
fn one_that_never_stops_talking_is_ended_in_time() {
    let (ended, said, took) = ran("yes", 1);
    assert_eq!(ended, Ended::TooLong);
    assert_eq!(said.len(), LINES_MAX + 1);
    assert!(took < Duration::from_secs(20), "{took:?}");
}
