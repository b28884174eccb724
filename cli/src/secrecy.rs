//! Keeps this process's memory to itself: daemons and most commands hold private keys there.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core file is written of this process, and nobody but root can look into it or attach to it. See `core(5)`,
/// `PR_SET_DUMPABLE` in `prctl(2)`.
///
/// The limit alone does not do: a `core_pattern` that begins with `|`, as systemd-coredump's, is handed the dump whatever
/// the limit. What everybody may read of a process, such as `status`, `stat` and `limits` in `/proc`, stays readable; `maps`,
/// `fd`, `gdb` and `strace -p` need root from now on, also for the daemon's own user.
pub(crate) fn keep_memory_private() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    for (what, done) in [
        ("core files", setrlimit(Resource::Core, none)),
        (
            "dumps",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
        ),
    ] {
        if let Err(error) = done {
            tracing::warn!(%error, "{what} of this process, which hold its keys, cannot be forbidden");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{dumpable_behavior, getrlimit};

    #[test]
    fn neither_a_core_file_nor_another_process_gets_the_keys() {
        keep_memory_private();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        let dumpable = dumpable_behavior().unwrap();
        assert!(matches!(dumpable, DumpableBehavior::NotDumpable));
    }
}
