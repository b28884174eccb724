//! What an audit finds.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "AUDIT",
    introduction: "What `tidecast audit` finds in a master's log or a mirror's state. Keep a copy of the folder before anything else.",
    entries: &[
        Entry {
            messages: &[
                "a head made under root {root_version} after one made under root {root}",
                "a head made under root {root_version}, which is not there",
                "its kind is not known: a later version of tidecast wrote it",
                "manifest {manifest} is announced as release {release}, in record {record} it was {manifest}",
                "number {seq} after number {last}",
                "number {seq} of an earlier version is below {last}, used before",
                "release {release} is announced after release {release}",
            ],
            meaning: "a master signed, or its log says it signed, what it must not have signed",
            advice: "find out who could write there or use its head key, then replace that key by a new root with another epoch",
        },
        Entry {
            messages: &[
                "evidence against key {key} that it did not sign",
                "installed for a head of epoch {epoch}",
                "installed for a head of root {version}, unknown then",
                "it begins a second time",
                "it does not name release {release} as the one before it",
                "it is of feed {of}",
                "no head",
                "no root",
                "release {release} goes back to {anchored}",
                "release {release} goes back to release {anchored}, the one before to {anchored}",
                "release {release} is below the floor of root {version}",
                "release {release} was installed after release {release}",
                "release {release} was installed for a head that names release {release}",
                "release {release} was installed for a head whose key root {version}, the newest then, does not name",
                "release {release} was revoked by root {version}",
                "root {version} was accepted after root {root}",
                "root {version} was accepted as {id}, there is {root}",
                "root {version} was accepted, but is not there",
                "the log does not say where it begins",
                "the two heads held as evidence are one",
                "there is no root to hold it against",
            ],
            meaning: "a step of the mirror, or a release of the master, is not authorised by what is there",
            advice: "somebody wrote into the folder, or files are missing: restore the folder from a backup, or join again with the fingerprint; tell the feed's operators",
        },
    ],
};
