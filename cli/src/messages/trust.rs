//! Signed things that were refused.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "THE FEED'S SIGNATURES",
    introduction: "Something signed was refused. A mirror keeps what it has, installs nothing of what was refused, and asks again by itself. Most of these are for the feed's operators.",
    entries: &[
        Entry {
            messages: &[
                "adds to release {got}, installed goes back to release {have}, signed by more keys",
                "an addition like the installed release {have}, but compared with that, {reason}",
                "{release_path} is neither unchanged nor a newer database of ClamAV's",
                "{release_path} is new and no cdiff of a newer database of ClamAV's",
                "{release_path} is new, and what a .sign file says only clients can check; publish the databases and cdiffs without it first, and every .sign with the next release that is signed whole",
                "it removes {release_path}",
                "it sets a flag",
                "its extensions differ",
                "its number {release_number} is more than {max} above",
                "signed as an addition to release {release}, but {reason}",
                "something else was offered as that release's manifest",
                "that release is itself an addition",
                "that release's manifest is not at hand",
            ],
            meaning: "fewer keys may sign a release that only adds what ClamAV itself signed; this one does more than that",
            advice: "a mirror: nothing was installed, tell the feed's operators at once. A publisher: have it signed by as many keys as the root asks for: `tidecast release propose TREE`",
        },
        Entry {
            messages: &[
                "equivocation: this key names another manifest for the installed release; it is not installed. Send the files in `evidence` to the feed's operators",
                "equivocation: this key signed two heads under one number; neither is installed. Send the files in `evidence` to the feed's operators",
            ],
            meaning: "",
            advice: "tell the feed's operators and send them the files in `evidence` of the state folder; nothing of it was installed",
        },
        Entry {
            messages: &["evidence could not be written to its own file"],
            meaning: "the evidence is also in the log of what the mirror believed",
            advice: "look up the reason on this page, make room, and send `trust.log` of the state folder to the feed's operators",
        },
        Entry {
            messages: &[
                "{field} goes back from {had} to {got}",
                "not a usable root: {reason}",
                "{what}: {good} of {needed} needed signatures are good ({present} present)",
                "root {got} offered where root {expected} is next",
                "the chunking changes, which no root may do",
            ],
            meaning: "this root cannot follow the one before it; no mirror takes it",
            advice: "`tidecast root show FILE` says what is missing; a mirror: tell the feed's operators",
        },
        Entry {
            messages: &["head expired {minutes} minutes ago by this machine's clock"],
            meaning: "a head lives for hours only, so that nobody can keep a mirror on an old release",
            advice: "check this machine's clock; if it is right, the upstream is cut off from its feed; or: export a new one; or, if this machine's clock is wrong, say what time it is with --at",
        },
        Entry {
            messages: &[
                "head lives {got_ms} ms, the root allows {max_ms}",
                "head names manifest {got} for release {release}, installed is {have}",
                "head of epoch {got}, the root has {have}",
                "head {got} of key {key} is older than {have}, seen before",
                "head points at manifest {object_id}, which the feed's root revoked",
                "head points at release {got}, below the feed's floor {floor}",
                "head points at release {got}, installed is {have}",
                "head speaks of root {got}, we have {have}",
            ],
            meaning: "an upstream offers what is behind what this mirror has or is signed by a key that counts no more",
            advice: "a mirror that was restored from a backup, or one slow upstream among several: nothing. Otherwise tell the feed's operators: a master was restored from an old backup, or somebody replays old heads",
        },
        Entry {
            messages: &[
                "head of feed {got}, expected {expected}",
                "manifest of feed {got}, expected {expected}",
                "root of feed {got}, expected {expected}",
            ],
            meaning: "the upstream serves another feed",
            advice: "check the upstream's address in mirror.toml",
        },
        Entry {
            messages: &[
                "head refused: {reason}",
                "release refused: {reason}",
                "root refused: {reason}",
            ],
            meaning: "",
            advice: "nothing was installed; tell the feed's operators if it repeats",
        },
        Entry {
            messages: &[
                "head was issued {minutes} minutes after this machine's time: is the clock right?",
            ],
            meaning: "",
            advice: "check this machine's clock; if it is right, the upstream is cut off from its feed",
        },
        Entry {
            messages: &[
                "{path} holds another database of ClamAV's: {name}",
                "{path} is another script of ClamAV's: {reason}",
                "{path} is not ClamAV's: {reason}",
                "{path} is nothing that ClamAV signs",
                "it does not say which version it makes",
                "it edits {text}.info",
                "it edits no .info",
                "it makes version {database_version}",
                "{path}: the release says its {field} is {stated}, it is {is}",
            ],
            meaning: "found while the release was checked before it was installed",
            advice: "nothing was installed; tell the feed's operators at once: whoever signed this release can sign releases alone, and put into it what ClamAV did not sign",
        },
        Entry {
            messages: &[
                "it uses extension {tag}, which this version of tidecast does not know: upgrade tidecast",
            ],
            meaning: "",
            advice: "upgrade tidecast on this machine",
        },
        Entry {
            messages: &[
                "key {key} named another release under the number of the installed one; {serves}",
                "key {key} signed two different heads under one number; {serves}",
            ],
            meaning: "",
            advice: "tell the feed's operators and send them the files in `evidence` of the state folder; nothing of it was installed",
        },
        Entry {
            messages: &[
                "key {key} signed two different heads under number {seq}: evidence kept, nothing installed",
            ],
            meaning: "",
            advice: "tell the feed's operators: a master's key is in wrong hands",
        },
        Entry {
            messages: &[
                "manifest {got} ({got_bytes} bytes) is not the {expected} ({expected_bytes} bytes) the head names",
                "manifest is of release {got}, the head says {expected}",
                "manifest of release {got} is not newer than the installed release {have}",
                "manifest {object_id} of this release was revoked by the feed's root",
                "release {got} is below the feed's floor {floor}",
                "release needs epoch {needed}, the root has {have}: a newer root is missing",
            ],
            meaning: "the release cannot follow the one that is live",
            advice: "a mirror: nothing was installed, tell the feed's operators if it repeats. A publisher: publish again, above the number that the root asks for",
        },
        Entry {
            messages: &[
                "nothing new is installed: trust.log cannot be written: {reason}",
                "the record of what this mirror believes cannot be written: nothing new is installed until it can; what is installed is served",
                "what this mirror believes cannot be written down; it is tried again",
            ],
            meaning: "what was accepted is written down before anything is installed",
            advice: "look up the reason on this page: mostly a full disk, or a state folder that does not belong to the user tidecast runs as; then nothing, it is tried again",
        },
        Entry {
            messages: &["release refused: {unproved}"],
            meaning: "",
            advice: "nothing was installed; tell the feed's operators at once: whoever signed this release can sign releases alone, and put into it what ClamAV did not sign",
        },
        Entry {
            messages: &["root 1 is {got}, but the fingerprint given is {expected}"],
            meaning: "either the upstream serves another feed, or the fingerprint is wrong",
            advice: "ask the feed's operators for the fingerprint again, and check the upstream's address; both stand in mirror.toml",
        },
        Entry {
            messages: &[
                "root {version} expired; nothing new is accepted until the feed publishes a newer root",
                "root {version} expires in 1 day: nothing newer is taken after it",
                "root {version} expires in {days} days: nothing newer is taken after it",
                "root {version} expires today: nothing newer is taken after it",
                "root {version} has expired: nothing but a newer root is taken",
                "the feed's root has expired: no mirror installs a release before a newer root",
                "the feed's root has expired: no mirror installs this release before a newer root",
                "the root expires in {left}; {serves}",
                "the root expires in {left}, and with it every mirror; {serves}",
                "the root has expired, mirrors accept nothing new; {serves}",
            ],
            meaning: "mirrors take a new root even when the old one has expired",
            advice: "a mirror: ask the feed's operators when the new root comes. A master: make a newer root first: `tidecast root rotate`, and have it signed by the holders of the root keys",
        },
        Entry {
            messages: &[
                "stale: no fresh head or root has come, so nobody vouches for what is newest; it is served on",
                "stale: {what}; release {release} is served",
            ],
            meaning: "the release that is live stays in service",
            advice: "check with `tidecast sync` whether an upstream answers; check this machine's clock; if both are well, the feed's masters sign no heads: tell its operators",
        },
        Entry {
            messages: &["the feed's root expires in {left}, nothing newer is taken after it"],
            meaning: "",
            advice: "ask the feed's operators today when the new root comes; or: ask the feed's operators whether a new root is on its way",
        },
        Entry {
            messages: &[
                "the record of what this mirror believed is {what}; a new one is begun",
                "the record of what this mirror believed is gone; a new one is begun",
            ],
            meaning: "a damaged one is kept beside it, under the name in the field `aside`",
            advice: "look for a failing disk; keep the file if you want to prove something by it",
        },
        Entry {
            messages: &["the trust state in {folder} is not usable: {reason}"],
            meaning: "",
            advice: "restore the state folder, or join again with the fingerprint",
        },
    ],
};
