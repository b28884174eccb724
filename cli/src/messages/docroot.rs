//! The folder that a mirror's web clients see.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "THE DOCROOT OF A MIRROR",
    introduction: "What a mirror says about the folder that its web clients see. Whatever is said here, the release that was live stays live.",
    entries: &[
        Entry {
            messages: &["a file of the docroot's time before tidecast was moved to {to}"],
            meaning: "",
            advice: "nothing if nobody misses it: it is kept there for 30 days. If it is your own, take it back under a name that begins with `local_`",
        },
        Entry {
            messages: &[
                "a file that is not of the release was moved to {to}",
                "the docroot was mended: {advice}",
            ],
            meaning: "somebody else changed the docroot",
            advice: "if it repeats, look for another program that writes into the docroot, an old rsync job for example",
        },
        Entry {
            messages: &[
                "a release that was begun and not added to for a week was removed",
                "; an unfinished release without progress for a week was removed",
                "what somebody who was killed left stays",
            ],
            meaning: "what is left of syncs that never ended takes room for a week at most",
            advice: "nothing; if it repeats, find out why no sync comes to its end",
        },
        Entry {
            messages: &[
                "a served file was changed by somebody; it is fetched again",
                "damaged files; they are fetched again",
            ],
            meaning: "",
            advice: "if it repeats, look for another program that writes into the docroot, an old rsync job for example, then for a failing disk",
        },
        Entry {
            messages: &["; an interrupted switch could not be completed: {reason}"],
            meaning: "",
            advice: "look up the reason on this page; the next sync or start completes it",
        },
        Entry {
            messages: &[
                "; an unfinished release will be continued",
                "; completed the interrupted switch to {release}",
                "; {moved_away} files moved away",
                "; {corrected} leftovers corrected",
                "no release yet",
                "release {release} is live",
            ],
            meaning: "what was found in the docroot at the start, and done about it, in one line",
            advice: "nothing; files that were moved away lie in `.tidecast/removed` for 30 days",
        },
        Entry {
            messages: &[
                "{path}: built from its chunks, but its content is not what the manifest says",
            ],
            meaning: "",
            advice: "run `tidecast sync` again; if it repeats, check the disk",
        },
        Entry {
            messages: &[
                "cannot {action} {path}: permission denied",
                "docroot {path} is not writable for this user",
            ],
            meaning: "",
            advice: "give the folder and everything in it to the user tidecast runs as",
        },
        Entry {
            messages: &["cannot remove old trees"],
            meaning: "replaced releases stay longer than their time and take room on the disk",
            advice: "look up the reason on this page; the next look tries again",
        },
        Entry {
            messages: &["docroot {path} belongs to feed {has}, not to feed {wanted}"],
            meaning: "",
            advice: "give each feed a docroot of its own",
        },
        Entry {
            messages: &["docroot {path} cannot change places with another as a whole: {obstacle}"],
            meaning: "the setting `layout` asks for it, and something in the docroot forbids it; the obstacle is listed by itself",
            advice: "look up the obstacle on this page, or take `layout` out of mirror.toml",
        },
        Entry {
            messages: &["docroot {path} does not exist"],
            meaning: "",
            advice: "create it, mount it, or correct `docroot` in the configuration",
        },
        Entry {
            messages: &["docroot {path} is in use by another tidecast ({holder})"],
            meaning: "two daemons on one docroot would undo each other's work, so the second one does nothing",
            advice: "talk to the running daemon (`tidecast status`) or stop it first",
        },
        Entry {
            messages: &["docroot {path} is not a folder"],
            meaning: "",
            advice: "name a folder that holds nothing but the databases",
        },
        Entry {
            messages: &[
                "docroot {path} was replaced while it was in use: {what} is another one now",
            ],
            meaning: "a file system was mounted or unmounted there, or somebody renamed the folder",
            advice: "put it back, or unmount what lies over it, and look for jobs that still write there (an old rsync with --delete); the daemon goes on by itself, and needs a restart only if this is the docroot from now on",
        },
        Entry {
            messages: &[
                "{path} has mode {got}, should have {expected}",
                "{text} holds other bytes than were signed",
                "{text} in the docroot does not lead to the release",
                "{text} is missing",
            ],
            meaning: "`verify` found that somebody or the disk changed what is served",
            advice: "type `tidecast sync`, which mends it; if it comes back, look for another program that writes into the docroot, then for a failing disk",
        },
        Entry {
            messages: &[
                "how far the scrub is could not be noted",
                "the live release could not be healed",
                "the scrub cannot go on; it tries again",
            ],
            meaning: "",
            advice: "look up the reason, in the field `error`, on this page; it is tried again",
        },
        Entry {
            messages: &["{text} in the docroot is not of the release"],
            meaning: "`verify` found a name that tidecast did not put there",
            advice: "if it is your own, rename it so that it begins with `local_`; otherwise the next sync moves it to `.tidecast/removed`",
        },
        Entry {
            messages: &[
                "{path} is a folder of the system",
                "{path} is the web server's default folder",
                "{path} looks like a living web site: it holds {signs}",
            ],
            meaning: "`join` asks before it takes over a folder that others use",
            advice: "name a folder that holds nothing but the databases; or, if you are sure, add --yes",
        },
        Entry {
            messages: &["{path} is damaged: {what}"],
            meaning: "the file is one of tidecast's own in `.tidecast`",
            advice: "run `tidecast verify`; the next sync repairs what it can",
        },
        Entry {
            messages: &[
                "{path} is in a folder that the release has as well, so it is not served any more; it is kept with the folder and goes to .tidecast/removed",
            ],
            meaning: "",
            advice: "put files of your own at the top of the docroot, under names that begin with `local_`",
        },
        Entry {
            messages: &["it holds .tidecast: it has the layout with links"],
            meaning: "",
            advice: "name a new folder as docroot and remove this one later, or take `layout` out of mirror.toml",
        },
        Entry {
            messages: &["it holds {text}, which is yours and would not be there at every instant"],
            meaning: "",
            advice: "move it out of the docroot and let the web server find it there (Alias in Apache); or let the server follow links (Options FollowSymLinks) and take `layout` out of mirror.toml",
        },
        Entry {
            messages: &["it is a mount point"],
            meaning: "",
            advice: "name a folder below it as docroot",
        },
        Entry {
            messages: &["it is a symbolic link"],
            meaning: "",
            advice: "name the folder itself as docroot",
        },
        Entry {
            messages: &["{reason}; it stays"],
            meaning: "something in the docroot could not be moved out of the way or removed",
            advice: "look up the reason on this page; then type `tidecast sync`",
        },
        Entry {
            messages: &["no release is served from {path}"],
            meaning: "",
            advice: "fetch a release with `tidecast sync`",
        },
        Entry {
            messages: &["refusing to touch {name}: it belongs to the operator"],
            meaning: "names that begin with `local_` are never written, linked or moved",
            advice: "nothing on this machine; tell the feed's operators that they published such a name",
        },
        Entry {
            messages: &["release {got} is not newer than release {have}, which is served"],
            meaning: "a release was offered that the docroot has, or has left behind",
            advice: "nothing: the newer one stays. If it comes back with every sync, tell the feed's operators",
        },
        Entry {
            messages: &["release is of feed {got}, the docroot of feed {have}"],
            meaning: "",
            advice: "give each feed a docroot of its own; `tidecast status` shows which feed this mirror follows",
        },
        Entry {
            messages: &[
                "{reason}; release {release} is served all the same, and the next sync or start finishes its switch",
            ],
            meaning: "",
            advice: "look up the reason on this page; then type `tidecast sync`",
        },
        Entry {
            messages: &["release refused"],
            meaning: "a signed rule forbids to put this release after the one that is live; the reason follows",
            advice: "ask the feed's operators; the old release stays in service",
        },
        Entry {
            messages: &["scrub: the disk does not hold what was signed; it is healed"],
            meaning: "",
            advice: "if it repeats, look for another program that writes into the docroot, then for a failing disk",
        },
        Entry {
            messages: &[
                "the disk took minutes to store the new files' times; caches may hold old files for a while",
            ],
            meaning: "clients and proxies ask by time whether a file changed, and some asked before the times were set",
            advice: "nothing: they ask again. If it repeats, the disk is too slow or too busy",
        },
        Entry {
            messages: &["; the tree that was live is gone, fell back"],
            meaning: "somebody removed the folder of the release that was served, and an older one is served now",
            advice: "type `tidecast sync`; then find out what removes folders in `.tidecast`",
        },
        Entry {
            messages: &[
                "`timestamp` does not say whether this mirror is stale",
                "`timestamp` was not written: {reason}",
                "web clients may see an old `timestamp`",
            ],
            meaning: "whoever watches mirrors by this file sees an old time",
            advice: "look up the reason on this page: mostly a full disk or a wrong owner",
        },
    ],
};
