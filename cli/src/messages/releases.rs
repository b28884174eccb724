//! Proposals and several signers.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "PROPOSALS AND SEVERAL SIGNERS",
    introduction: "What `tidecast release` says.",
    entries: &[
        Entry {
            messages: &[
                "has another content",
                "has {here} bytes in your copy, {proposed} in the proposal",
                "is executable in one of them only",
                "is not in your copy",
                "is only in your copy",
                "not signed: {text} not as in {tree}",
            ],
            meaning: "",
            advice: "find out which of the two is wrong before you sign anything",
        },
        Entry {
            messages: &["{public_key} has signed it already"],
            meaning: "",
            advice: "another sigmaker must sign",
        },
        Entry {
            messages: &["{to} is named twice"],
            meaning: "",
            advice: "name it once",
        },
        Entry {
            messages: &["{path} is no proposal: {reason}"],
            meaning: "",
            advice: "copy the file again from the machine it was proposed on",
        },
        Entry {
            messages: &["{public_key} is no release key of this feed"],
            meaning: "",
            advice: "name the file of a key that stands in the feed's root; `tidecast root show` lists them",
        },
        Entry {
            messages: &["{release_path} is not in the newest release"],
            meaning: "",
            advice: "check the path",
        },
        Entry {
            messages: &["{path} is not the manifest that this one follows"],
            meaning: "",
            advice: "it must be {id}",
        },
        Entry {
            messages: &[
                "it is the feed's first release",
                "it puts back what was there before",
                "too few of today's release keys signed the release it would add to",
            ],
            meaning: "why a release cannot be signed by fewer keys, as one that only adds what ClamAV itself signed",
            advice: "have it signed by as many keys as the root asks for",
        },
        Entry {
            messages: &["{what} may be one of {count} proposals"],
            meaning: "",
            advice: "give more digits of its id",
        },
        Entry {
            messages: &["not signed: the contents were not checked"],
            meaning: "",
            advice: "name your own copy of them with --tree, or say --yes",
        },
        Entry {
            messages: &["nothing that release {release_number} did is left in the newest one"],
            meaning: "",
            advice: "nothing is left to withdraw",
        },
        Entry {
            messages: &["nothing would change: release {release_number} holds the same files"],
            meaning: "",
            advice: "nothing is left to do; --force proposes it all the same",
        },
        Entry {
            messages: &[
                "proposal {id} is stale: it was to follow {previous}, the newest release is {newest}",
            ],
            meaning: "",
            advice: "propose it anew on top of the newest release, and drop this one",
        },
        Entry {
            messages: &["{proposals_max} proposals are open already"],
            meaning: "",
            advice: "drop those that nobody will sign: `tidecast release drop`",
        },
        Entry {
            messages: &["release {release_number} is just this proposal: it is announced already"],
            meaning: "",
            advice: "nothing is left to do",
        },
        Entry {
            messages: &["release {release_number} is not in the store"],
            meaning: "",
            advice: "`tidecast release list` shows what is there",
        },
        Entry {
            messages: &[
                "that is proposal {got}, not {expected}",
                "{path} was changed since it was proposed: its content makes it {is}",
            ],
            meaning: "",
            advice: "sign nothing; copy the file again from the machine it was proposed on, and compare its id over the telephone",
        },
        Entry {
            messages: &["the feed's root is not at hand"],
            meaning: "",
            advice: "name it with --root: the folder `roots` of a master or mirror, or the file of the first root",
        },
        Entry {
            messages: &["the proposal is for feed {got}, not for {expected}"],
            meaning: "",
            advice: "name the state folder, or the roots, of the proposal's feed",
        },
        Entry {
            messages: &[
                "the release before {release_number} is not in the store: what was there before cannot be put back",
                "the store no longer holds the content of {path}, as release {release} had it",
            ],
            meaning: "",
            advice: "propose a tree that holds what clients should have: `tidecast release propose TREE`",
        },
        Entry {
            messages: &["the roots in {path}: {reason}"],
            meaning: "",
            advice: "name the file of the feed's first root, or the folder `roots` of a master or mirror that holds every root from the first on",
        },
        Entry {
            messages: &["there is no file {file}", "there is no file {what}"],
            meaning: "",
            advice: "check the path",
        },
        Entry {
            messages: &["there is no proposal {what}"],
            meaning: "",
            advice: "`tidecast release list` shows what is open",
        },
        Entry {
            messages: &["without what release {release_number} brought no file would be left"],
            meaning: "",
            advice: "publish what should be there instead",
        },
    ],
};
