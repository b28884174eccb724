//! Making a release out of a tree.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "PUBLISHING A TREE",
    introduction: "What `tidecast publish` says when it makes no release. Mirrors keep the newest there is.",
    entries: &[
        Entry {
            messages: &[
                "a character outside A-Z a-z 0-9 . _ + @ - (byte 0x{number})",
                "a name that begins with a dot",
                "a name that is not UTF-8",
                "an empty name",
                "cannot be read: {text}",
                "local_* belongs to each mirror's operator and is never published",
                "more than 16 folders deep",
                "{text}, not a file or folder",
                "`timestamp` is written by each mirror and cannot be published",
                "too long ({number} bytes)",
            ],
            meaning: "a rule that a file or its name breaks",
            advice: "remove or rename it, or make it readable, then publish again",
        },
        Entry {
            messages: &["{first} and {second} are the same database"],
            meaning: "",
            advice: "keep the newer one",
        },
        Entry {
            messages: &[
                "and {more} more .sign files without their bytes",
                "{sign}: {path} changed and this did not",
                "{sign}: {path} has {has} now",
                "{sign}: there is no {path} it could sign",
            ],
            meaning: "a detached signature does not belong to the file beside it, and clients that check it refuse that file",
            advice: "publish both files from the same moment",
        },
        Entry {
            messages: &[
                "{path} ({size} bytes) is too long: {reason}",
                "{tree} holds more than {limit} files",
            ],
            meaning: "",
            advice: "publish less in one feed",
        },
        Entry {
            messages: &["{tree} cannot be published: {offences}"],
            meaning: "it lists each file with the rule that it breaks",
            advice: "remove or rename them, or make them readable, then publish again",
        },
        Entry {
            messages: &["{path} changed while it was being published"],
            meaning: "",
            advice: "publish again when nothing writes into the tree",
        },
        Entry {
            messages: &[
                "{path}: database version goes back from {had} to {got} without the signed permission",
            ],
            meaning: "",
            advice: "publish a rebuilt database with a higher version: clients ignore older ones; if it is meant all the same: --allow-database-rollback",
        },
        Entry {
            messages: &["{tree} holds no files"],
            meaning: "",
            advice: "check the path: a release without files is never meant",
        },
        Entry {
            messages: &["{tree} is not a folder"],
            meaning: "",
            advice: "name the folder that holds it: a release is a whole folder, whatever was in the one before",
        },
        Entry {
            messages: &["key {public} is no release key of this feed"],
            meaning: "",
            advice: "give the folder that holds this feed's release keys: --keys DIR; `tidecast root show` lists them",
        },
        Entry {
            messages: &[
                "mirrors fetch chunks instead of a bundle: {reason}",
                "the next publish will read every file again: {reason}",
                "the release cannot be explained later: {reason}",
                "the roads cannot be explained later: {reason}",
            ],
            meaning: "the release is out; only what makes the next step cheaper is missing",
            advice: "look up the reason on this page: mostly a full disk",
        },
        Entry {
            messages: &["no release has a number above {last}: nothing was signed"],
            meaning: "",
            advice: "name a lower number; if a release has this one already, begin a new feed",
        },
        Entry {
            messages: &["nothing old was removed, `{gc}` says more: {reason}"],
            meaning: "",
            advice: "the release is out; look up the reason on this page, then type `tidecast gc -n`",
        },
        Entry {
            messages: &[
                "{usable} of the {needed} release keys this feed needs are at hand ({given} given): nothing was signed",
            ],
            meaning: "",
            advice: "several sigmakers sign this feed's releases: begin with `tidecast release propose TREE`. With one signer: give the folder that holds this feed's release keys: --keys DIR",
        },
        Entry {
            messages: &["the manifest cannot be made: {reason}"],
            meaning: "",
            advice: "shorten the notes, or publish fewer files in one feed",
        },
        Entry {
            messages: &["the next release would be {next}, but {who} release {highest}"],
            meaning: "",
            advice: "was the store restored from an old backup? Restore a newer one; or go past it with --above {highest}",
        },
        Entry {
            messages: &[
                "the next release would be {next}: nobody can have made so many since release {known}, and numbers that are gone do not come back",
            ],
            meaning: "",
            advice: "--above takes at most {believable}; whoever told you to go past that lies. If there really were so many, make a root first: `tidecast root rotate --release-min`",
        },
        Entry {
            messages: &["the notes in {path} are not UTF-8"],
            meaning: "",
            advice: "write them anew as UTF-8 text",
        },
        Entry {
            messages: &["the release drops {dropped} of {had} files without the signed permission"],
            meaning: "",
            advice: "check that the tree is whole; if it is meant, allow this release to shrink the feed: --allow-shrink",
        },
        Entry {
            messages: &["the store holds releases of feed {store}, not of {asked}"],
            meaning: "",
            advice: "name the state folder of this feed",
        },
        Entry {
            messages: &["the tree did not change, so the notes were not published"],
            meaning: "",
            advice: "publish them with the next change",
        },
        Entry {
            messages: &["there is no folder {tree}"],
            meaning: "",
            advice: "check the path",
        },
    ],
};
