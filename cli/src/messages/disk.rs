//! What the system answers.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "DISK, FILES AND MEMORY",
    introduction: "What the system answered when a file was used. The end of such a message is the system's own text.",
    entries: &[
        Entry {
            messages: &[
                "{action} {path}: {reason}",
                "cannot {action} {path}",
                "cannot {action} {path}: {reason}",
            ],
            meaning: "the action is what was tried: open, read, write, sync, rename, remove and so on",
            advice: "permission denied: run it as the user these files belong to. No space: make room on that disk. Address in use: another program listens there; name another address. Input/output error: look for disk errors in the kernel log. No such file: check the path",
        },
        Entry {
            messages: &[
                "a base could not be read",
                "base {base}: cannot read",
                "base {base}: the file on this disk is damaged",
            ],
            meaning: "an old file, from which the new one was to be rebuilt, cannot be used; the new one is fetched whole",
            advice: "run `tidecast verify`; a disk that damages files should be replaced",
        },
        Entry {
            messages: &["{text} cannot be read from the disk"],
            meaning: "",
            advice: "type `tidecast verify --heal`; then look for disk errors in the kernel log: the disk may be failing",
        },
        Entry {
            messages: &["cannot start: {reason}"],
            meaning: "",
            advice: "raise the limits of this user or service on tasks and memory (`ulimit -u`, systemd's `TasksMax`)",
        },
        Entry {
            messages: &[
                "cannot start a thread",
                "cannot start the disk thread: {reason}",
                "{what} of this process, which hold its keys, cannot be forbidden",
            ],
            meaning: "a dump of this process's memory would hold its private keys",
            advice: "forbid dumps by the system's means: `LimitCORE=0` in the unit, `ulimit -c 0` in a shell",
        },
        Entry {
            messages: &["cannot {action} {path}: the disk reports an error"],
            meaning: "",
            advice: "look for disk errors in the kernel log; the disk may be failing",
        },
        Entry {
            messages: &["cannot {action} {path}: the file system is read-only"],
            meaning: "",
            advice: "look for disk errors in the kernel log, then remount",
        },
        Entry {
            messages: &["cannot {action} {path}: too many open files"],
            meaning: "",
            advice: "raise the limit of open files (`LimitNOFILE=` in the unit, `ulimit -n` in a shell)",
        },
        Entry {
            messages: &["cannot write {place}"],
            meaning: "",
            advice: "see the system's log for errors of this disk",
        },
        Entry {
            messages: &["cannot write the result: {reason}"],
            meaning: "the command did its work, but its output could not be written",
            advice: "look where stdout goes: a full disk, mostly. Do not repeat the command before you looked with `tidecast status`",
        },
        Entry {
            messages: &["disk"],
            meaning: "a step on the docroot's disk failed; the release that was live stays live, and the daemon tries again",
            advice: "look up the reason, in the field `error`, on this page",
        },
        Entry {
            messages: &["{path} is locked by another process"],
            meaning: "",
            advice: "try again when the other process is done",
        },
        Entry {
            messages: &[
                "it does not follow from the record before it",
                "it is longer than any record",
                "its content was changed",
                "its header was changed",
                "{path}: record {record} (at byte {at}): {reason}",
            ],
            meaning: "a log whose records are chained to each other was damaged, or somebody wrote into it",
            advice: "restore the newest backup of this file; `tidecast audit` says which records are good",
        },
        Entry {
            messages: &["longer than {limit} bytes"],
            meaning: "a file of tidecast's own is longer than such a file can be, so somebody else wrote it",
            advice: "restore that file from a backup",
        },
        Entry {
            messages: &[
                "no random bytes: {reason}",
                "no randomness for a new key: {reason}",
            ],
            meaning: "",
            advice: "the system gives no random bytes: look at its log, then restart it",
        },
        Entry {
            messages: &["no space: {need_bytes} bytes needed, {left}"],
            meaning: "",
            advice: "free some space, or raise the quota; a release needs room for its new files beside the old ones",
        },
        Entry {
            messages: &[
                "no space to {action} {path}: {need_bytes} bytes needed, {free_bytes} free",
            ],
            meaning: "",
            advice: "free some space; a release needs room for its new files beside the old ones",
        },
        Entry {
            messages: &[
                "no space to {action} {path}: {need_bytes} bytes needed, none free in this user's quota",
            ],
            meaning: "",
            advice: "raise the quota; a release needs room for its new files beside the old ones",
        },
        Entry {
            messages: &["no space to write {place}"],
            meaning: "",
            advice: "free space on the docroot's file system, or raise the quota",
        },
        Entry {
            messages: &["stopped after {text}"],
            meaning: "",
            advice: "find out who stopped it; the next sync or start goes on from there",
        },
        Entry {
            messages: &["the disk did not say whether it kept the end of {path}"],
            meaning: "a failed sync: nothing is done on the strength of what may be lost",
            advice: "mend the disk, then start again",
        },
        Entry {
            messages: &["the disk is full: chunks put aside for rebuilding are let go"],
            meaning: "the release is fetched another way, which costs more bytes",
            advice: "free some space on the docroot's file system",
        },
        Entry {
            messages: &["the disk thread ended; this is a bug in tidecast"],
            meaning: "",
            advice: "restart the daemon and report this",
        },
        Entry {
            messages: &["{path} was replaced by an earlier or another one while it was in use"],
            meaning: "a backup was restored, or a folder was synchronised, under a running daemon",
            advice: "stop whatever replaces it, then start again",
        },
    ],
};
