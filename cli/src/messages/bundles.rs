//! Bundles carried by hand.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "BUNDLES CARRIED BY HAND",
    introduction: "What `tidecast bundle` says.",
    entries: &[
        Entry {
            messages: &["cannot read {path}: {reason}"],
            meaning: "",
            advice: "check the path, and that the user tidecast runs as may read the file",
        },
        Entry {
            messages: &["{path} is no tidecast bundle of this version"],
            meaning: "",
            advice: "bundles are made by `tidecast bundle export` on a master",
        },
        Entry {
            messages: &["{path} is not a regular file"],
            meaning: "",
            advice: "copy the bundle to a file first",
        },
        Entry {
            messages: &[
                "it would have over {limit} bytes, which is what the whole files cost",
                "the manifest's changes have {got} bytes, the limit is {limit}",
            ],
            meaning: "",
            advice: "copy the files themselves",
        },
        Entry {
            messages: &["release {asked} is not in the store, which has {releases}"],
            meaning: "",
            advice: "start from a release that the receiver has and the store still holds",
        },
        Entry {
            messages: &["release {release_number} is the newest one"],
            meaning: "",
            advice: "publish something first",
        },
        Entry {
            messages: &["say 2026-11-21T21:38:25Z, or seconds since 1970"],
            meaning: "what --at takes",
            advice: "give the time in one of these two forms",
        },
        Entry {
            messages: &[
                "the bundle brought {release} short: {files} files are missing, the first is {path}",
            ],
            meaning: "",
            advice: "copy the file again, or export it again; where what describes the old files is missing or one of them is damaged, `tidecast sync` helps; what was verified is kept",
        },
        Entry {
            messages: &["the feed has no root", "the feed's roots: {reason}"],
            meaning: "",
            advice: "restore the roots from a backup",
        },
        Entry {
            messages: &["the newest head cannot be used: {reason}"],
            meaning: "",
            advice: "let the master run, so that it signs a fresh one",
        },
        Entry {
            messages: &["the store no longer holds {what}"],
            meaning: "",
            advice: "start from a newer release, or publish a tree that has the files again",
        },
        Entry {
            messages: &["this bundle is of feed {got}, the mirror of feed {have}"],
            meaning: "",
            advice: "import it on a mirror of its own feed",
        },
        Entry {
            messages: &[
                "this bundle, to release {to}, starts from another release than {have}, which the mirror holds: export one with --from {have}",
            ],
            meaning: "",
            advice: "on the master, type: tidecast bundle export --from {have} FILE",
        },
        Entry {
            messages: &["this feed has no release yet"],
            meaning: "",
            advice: "publish one: tidecast publish",
        },
        Entry {
            messages: &["this mirror holds no release yet, and a bundle needs one to start from"],
            meaning: "",
            advice: "install the first release by `tidecast sync`",
        },
        Entry {
            messages: &[
                "this release adds to release {release_number}, whose manifest is not on this machine",
            ],
            meaning: "",
            advice: "sync once over the network: then the anchor is kept for later bundles",
        },
    ],
};
