//! A master's store.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "THE MASTER'S STORE",
    introduction: "What a master says about the releases it keeps. Mirrors keep what they have.",
    entries: &[
        Entry {
            messages: &[
                "an index of {count} entries cannot begin at byte {offset}",
                "{number} bytes cannot be a pack",
                "{got} bytes instead of {expected}",
                "does not open",
                "head: {reason}",
                "holds no manifest",
                "holds release {release_number}",
                "index entry {entry}: {reason}",
                "index entry {entry} is out of order",
                "index entry {entry} points outside the pack",
                "it does not begin like a pack of this version",
                "it does not end like a sealed pack: cut short?",
                "its content does not have the hash in its name",
                "its index was changed",
                "{records} of {pack} records",
                "{stored_len} packed and {opened_len} opened bytes are impossible for a {kind}",
                "reserved bytes are set",
                "unknown encoding {number}",
                "unknown kind {number}",
            ],
            meaning: "how a file of the store is damaged",
            advice: "restore that file from a backup or from the other master; or move it away and publish the tree again",
        },
        Entry {
            messages: &[
                "{folder} changes whenever it is read",
                "{store} is being written by process {holder}",
            ],
            meaning: "",
            advice: "wait until it is done",
        },
        Entry {
            messages: &["damaged"],
            meaning: "a file that only saves reading every file again",
            advice: "nothing: it is made anew",
        },
        Entry {
            messages: &["{pack} is damaged and was left alone: {kind} {id}"],
            meaning: "",
            advice: "restore that file from a backup or from the other master",
        },
        Entry {
            messages: &[
                "{kind} {id} is missing",
                "release {release}, {path}: {reason}",
            ],
            meaning: "",
            advice: "put the missing pack back; or, if it is lost, move that release's file away, which mirrors cannot fetch any more",
        },
        Entry {
            messages: &[
                "no room to replace {packs} packs of which less than half is needed: {what}",
            ],
            meaning: "",
            advice: "make some 64 MB of room on that disk, then collect again",
        },
        Entry {
            messages: &[
                "pack {path}: {reason}",
                "release file {path}: {reason}",
                "stored {kind} {id} does not have that content any more",
            ],
            meaning: "",
            advice: "restore that file from a backup or from the other master; or move it away and publish the tree again",
        },
        Entry {
            messages: &["release {release} has no file {path}"],
            meaning: "",
            advice: "`tidecast explain RELEASE -v` lists its files",
        },
        Entry {
            messages: &["there is no release {asked}"],
            meaning: "",
            advice: "`tidecast release list` shows what the store holds: with nothing published yet, nothing was published yet; else the store holds release {newest} only, or the store holds releases {oldest} to {newest}",
        },
    ],
};
