//! Reaching an upstream.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "REACHING AN UPSTREAM",
    introduction: "What a mirror says when it cannot fetch, and what it logs of upstreams. The old release stays in service all the time.",
    entries: &[
        Entry {
            messages: &["another upstream's head is of no use"],
            meaning: "",
            advice: "nothing: the head of the first upstream stays in use. If it repeats, look up the reason, in the field `error`, on this page",
        },
        Entry {
            messages: &[
                "cannot connect: {text}",
                "no answer over UDP within {connect_timeout} ms",
            ],
            meaning: "",
            advice: "check that the master runs, that the address is right, and that UDP to that port is let through",
        },
        Entry {
            messages: &["interrupted"],
            meaning: "",
            advice: "type the command again: what was fetched is kept",
        },
        Entry {
            messages: &[
                "{base} is damaged on this disk ({what}); {path} is fetched whole",
                "{busy}; it is done without a bundle",
                "{busy}; it is done without runs",
                "{path}: rebuilt, it is not the file that was published; it is fetched whole",
                "runs are of no use",
                "the bundle failed; what was verified is kept",
                "the bundle is of no use",
                "the bundle was refused: {reason}; what was verified is kept, the rest is fetched another way",
                "the connection was lost in this bundle before; it is done without it",
                "{path}: the old file is damaged on this disk ({what}); the new one is fetched whole",
                "what describes its opened content cannot be used",
            ],
            meaning: "the release is fetched another way, which costs more bytes and nothing else",
            advice: "nothing. Where a file on this disk is called damaged, look for a failing disk; where it repeats with every release, tell the feed's operators",
        },
        Entry {
            messages: &["missing chunks did not come", "not delivered"],
            meaning: "",
            advice: "nothing to do: what was fetched is kept, and it is tried again",
        },
        Entry {
            messages: &[
                "no answer to {what} within {answer_timeout} s",
                "only {bytes} bytes in {ms} ms, under {useful_bytes_per_s} bytes/s",
                "the connection was lost: {text}",
                "the upstream asked for patience {waits_max} times and has no answer yet",
                "the upstream does not have {what}",
            ],
            meaning: "",
            advice: "nothing to do: what was fetched is kept, and it is tried again. If it repeats, the line or the upstream is overloaded",
        },
        Entry {
            messages: &["no upstream could be used: {tried}"],
            meaning: "each upstream is listed with its own reason",
            advice: "look up the reason of each on this page. A wrong root 1: ask the feed's operators for the fingerprint again, and check the upstream's address; both stand in mirror.toml. No answer: check that a master runs on {host}, that it listens on UDP port {port}, and that firewalls on both sides let UDP {port} through",
        },
        Entry {
            messages: &[
                "passed over; the next sync asks again",
                "recipes and lists for the next release could not be fetched yet",
            ],
            meaning: "",
            advice: "nothing: they save bytes in later syncs, and are asked for again",
        },
        Entry {
            messages: &["pending: the new key {next} waits to be admitted"],
            meaning: "",
            advice: "on the master, type: tidecast node admit {next} --replaces {old}{then}; or: on each of the {masters} masters, type: tidecast node admit {next}{then}; once `tidecast status` here shows no old key, type there: tidecast node revoke {old}",
        },
        Entry {
            messages: &[
                "pending: waiting to be admitted as {key}",
                "pending: waiting to be admitted as {mirror}",
            ],
            meaning: "the master's operator has not let this mirror in yet",
            advice: "on the master, type: tidecast node admit {key}",
        },
        Entry {
            messages: &["refused: {refused}", "the next node key"],
            meaning: "",
            advice: "ask the master's operator to admit this node's key",
        },
        Entry {
            messages: &["sync failed", "upstream failed"],
            meaning: "",
            advice: "look up the reason, in the field `error`, on this page; the field `whose` says who has to act. It is tried again by itself",
        },
        Entry {
            messages: &[
                "the daemon is just starting or shutting down; try again",
                "the hash ended without a word",
            ],
            meaning: "",
            advice: "try again in a minute; if it stays so, the daemon's log says why",
        },
        Entry {
            messages: &["{path}: the disk has no room to rebuild it; it is fetched whole"],
            meaning: "",
            advice: "free some space on the docroot's file system",
        },
        Entry {
            messages: &["the server's key {public_key} belongs to no master of this feed"],
            meaning: "",
            advice: "check the upstream's address and the fingerprint",
        },
        Entry {
            messages: &[
                "the upstream broke the protocol: {text}",
                "the upstream sent a wrong {what}",
            ],
            meaning: "",
            advice: "nothing wrong was kept; the next upstream is asked. Tell the master's operator if it repeats",
        },
        Entry {
            messages: &["the upstream has no head that is still good"],
            meaning: "",
            advice: "the next upstream is asked; if it repeats with all of them, the feed's masters are down",
        },
        Entry {
            messages: &["the upstream refuses this node: {refused}"],
            meaning: "",
            advice: "look up the refusal in this section, then ask the master's operator why",
        },
        Entry {
            messages: &["too many nodes wait to be admitted; try again later"],
            meaning: "refusal: any key may wait, so the number of those that wait is bounded",
            advice: "ask the master's operator to look at `tidecast node list`, and to admit or revoke who waits",
        },
    ],
};
