//! Attacks with fewer keys than a release takes: one release key and a head key, against SPEC §3.3 "An addition".

use tidecast_proto::addition::{Added, Vouched};
use tidecast_proto::extension::Extension;
use tidecast_proto::head::Head;
use tidecast_proto::id::{FileHash, ListId, ObjectId, ReleaseNumber};
use tidecast_proto::limits;
use tidecast_proto::manifest::{
    Anchor, File, Flags, Manifest, ManifestBody, ManifestError, SignedManifest,
};
use tidecast_proto::trust::{Trust, Verdict};

use crate::support::{Feed, NOW, database, file, sign};

/// A feed whose release 5 both keys signed, on a mirror that has it.
struct Stage {
    feed: Feed,
    trust: Trust,
    anchor: SignedManifest,
    live: Manifest,
}

fn script(version: u64) -> File {
    file(&format!("daily-{version}.cdiff"), &version.to_be_bytes())
}

fn other(path: &str) -> File {
    file(path, b"another content")
}

impl Stage {
    fn new() -> Self {
        let feed = Feed::new();
        let mut body = feed.manifest_body(5);
        body.files = vec![
            script(10),
            database("daily.cvd", 10),
            database("own.cvd", 1),
            file("readme.txt", b"read me"),
            File {
                executable: true,
                ..file("tool", b"#!")
            },
        ];
        let anchor = sign(&body, &feed.release_keys);
        let mut trust = feed.trust();
        let live = install(&feed, &mut trust, &anchor, &anchor)
            .unwrap()
            .manifest;
        Self {
            feed,
            trust,
            anchor,
            live,
        }
    }

    /// The next release as an honest sigmaker makes it alone: daily 11 and its script.
    fn addition(&self) -> ManifestBody {
        let mut body: ManifestBody = (*self.live).clone();
        body.release = ReleaseNumber(6);
        body.previous = Some(self.anchor.id());
        body.anchor = Some(Anchor {
            release: ReleaseNumber(5),
            manifest: self.anchor.id(),
        });
        replace(&mut body, database("daily.cvd", 11));
        replace(&mut body, script(11));
        body
    }

    /// What becomes of the addition after `change`, signed by one key alone.
    fn offer(&self, change: impl FnOnce(&mut ManifestBody)) -> Result<Added, ManifestError> {
        let mut body = self.addition();
        change(&mut body);
        body.files.sort_by(|a, b| a.path.cmp(&b.path));
        let signed = sign(&body, &self.feed.release_keys[..1]);
        install(&self.feed, &mut self.trust.clone(), &signed, &self.anchor)
    }

    fn refused(&self, why: &str, change: impl FnOnce(&mut ManifestBody)) {
        match self.offer(change) {
            Ok(_) => panic!("{why}: accepted"),
            Err(ManifestError::NotAnAddition { .. } | ManifestError::AnchorBehind { .. }) => {}
            Err(error) => panic!("{why}: refused by another rule: {error}"),
        }
    }
}

fn replace(body: &mut ManifestBody, file: File) {
    body.files.retain(|old| old.path != file.path);
    body.files.push(file);
    body.files.sort_by(|a, b| a.path.cmp(&b.path));
}

fn named<'a>(body: &'a mut ManifestBody, path: &str) -> &'a mut File {
    body.files
        .iter_mut()
        .find(|file| file.path.as_str() == path)
        .unwrap()
}

fn head_for(feed: &Feed, trust: &mut Trust, manifest: &SignedManifest, release: u64) -> Head {
    let head = sign(
        &feed.head_body(release, manifest, release),
        &feed.head_keys[..1],
    );
    let (Verdict::Newer(head) | Verdict::Current(head)) = trust.accept_head(head, NOW).unwrap();
    head
}

/// All the way: head, manifest, anchor, and what a mirror compares with its live release.
fn install(
    feed: &Feed,
    trust: &mut Trust,
    signed: &SignedManifest,
    anchor: &SignedManifest,
) -> Result<Added, ManifestError> {
    let release = body_of(signed, trust, feed).release.0;
    let head = head_for(feed, trust, signed, release);
    let added = match trust.verify_manifest(signed.clone(), &head)? {
        Vouched::Whole(manifest) => Added {
            manifest,
            to_prove: Vec::new(),
        },
        Vouched::Addition(addition) => trust.verify_addition(addition, anchor.clone())?,
    };
    trust.install(&added.manifest);
    Ok(added)
}

fn body_of(signed: &SignedManifest, trust: &Trust, feed: &Feed) -> ManifestBody {
    signed
        .clone()
        .vouch(trust.root(), &feed.id())
        .unwrap()
        .body()
        .clone()
}

#[test]
fn a_newer_database_and_its_scripts_are_all_that_one_key_brings() {
    let stage = Stage::new();
    let added = stage.offer(|_| ()).unwrap();
    let to_prove: Vec<&str> = added
        .to_prove
        .iter()
        .map(tidecast_proto::name::ReleasePath::as_str)
        .collect();
    assert_eq!(
        to_prove,
        ["daily-11.cdiff", "daily.cvd"],
        "each must be proved genuine"
    );
    // Harmless: what nobody is served by.
    let added = stage
        .offer(|body| body.notes = "another page".into())
        .unwrap();
    assert_eq!(added.to_prove.len(), 2);
    stage
        .offer(|body| named(body, "readme.txt").mtime_s = 1)
        .unwrap();
    // Every new script up to the new version, and none is needed.
    stage
        .offer(|body| {
            replace(body, database("daily.cvd", 13));
            replace(body, script(12));
            replace(body, script(13));
        })
        .unwrap();
    stage
        .offer(|body| {
            body.files
                .retain(|file| file.path.as_str() != "daily-11.cdiff");
        })
        .unwrap();
}

#[test]
fn one_key_changes_nothing_else() {
    let stage = Stage::new();
    stage.refused("a changed file", |body| replace(body, other("readme.txt")));
    stage.refused("a changed size", |body| named(body, "readme.txt").size += 1);
    stage.refused("a changed hash", |body| {
        named(body, "readme.txt").hash = FileHash::of(b"x");
    });
    stage.refused("a mode", |body| named(body, "readme.txt").executable = true);
    stage.refused("a mode less", |body| named(body, "tool").executable = false);
    stage.refused("a mode of a database", |body| {
        named(body, "daily.cvd").executable = true;
    });
    stage.refused("a database no longer one", |body| {
        named(body, "daily.cvd").database = None;
    });
    stage.refused("a file that became a database", |body| {
        named(body, "readme.txt").database = database("daily.cvd", 11).database;
    });
    stage.refused("a removal", |body| {
        body.files.retain(|file| file.path.as_str() != "readme.txt");
    });
    stage.refused("an old script removed", |body| {
        body.files
            .retain(|file| file.path.as_str() != "daily-10.cdiff");
    });
    stage.refused("an old script changed", |body| {
        replace(body, other("daily-10.cdiff"));
    });
    stage.refused("everything removed", |body| body.files.clear());
    stage.refused("an older database", |body| {
        replace(body, database("daily.cvd", 9));
    });
    stage.refused("another of the same version", |body| {
        named(body, "daily.cvd").database = database("daily.cvd", 10).database;
    });
    stage.refused("another build time alone", |body| {
        replace(body, database("daily.cvd", 10));
        body.files
            .retain(|file| file.path.as_str() != "daily-11.cdiff");
        named(body, "daily.cvd")
            .database
            .as_mut()
            .unwrap()
            .build_time_s += 1;
    });
    stage.refused("another name inside", |body| {
        named(body, "daily.cvd").database.as_mut().unwrap().name = "main".into();
    });
    stage.refused("a database of the feed's own", |body| {
        replace(body, database("own.cvd", 2));
    });
    stage.refused("another version said of the same content", |body| {
        named(body, "own.cvd").database.as_mut().unwrap().version += 1;
    });
    for path in [
        "new.txt",
        "main.cvd",
        "daily.cld",
        "daily.cud",
        "bytecode.cvd",
        "sub/daily.cvd",
        "sub/daily-11.cdiff",
        "daily-0.cdiff",
        "daily-9.cdiff",
        "daily-12.cdiff",
        "daily-011.cdiff",
        "daily-11.cdiff.sign",
        "own-2.cdiff",
        "Daily-11.cdiff",
        "daily-4294967295.cdiff",
        "daily-4294967307.cdiff",
        "main-1.cdiff",
        "daily.cvd.old",
    ] {
        stage.refused(path, |body| replace(body, other(path)));
    }
    stage.refused("an empty script", |body| {
        replace(body, file("daily-11.cdiff", b""));
    });
    stage.refused("an executable script", |body| {
        named(body, "daily-11.cdiff").executable = true;
    });
    stage.refused("a script that says it is a database", |body| {
        named(body, "daily-11.cdiff").database = database("daily.cvd", 11).database;
    });
    stage.refused("a script without its database", |body| {
        replace(body, database("daily.cvd", 10));
    });
    stage.refused("a flag", |body| {
        body.flags = Flags {
            allow_shrink: true,
            ..Flags::default()
        }
    });
    stage.refused("the other flag", |body| {
        body.flags = Flags {
            allow_database_rollback: true,
            ..Flags::default()
        }
    });
    stage.refused("an extension", |body| {
        body.extensions = vec![Extension {
            tag: 1,
            critical: false,
            bytes: Vec::new(),
        }];
    });
}

#[test]
fn no_other_release_stands_in_for_the_anchor() {
    let stage = Stage::new();
    let head_and_one = |body: &ManifestBody| sign(body, &stage.feed.release_keys[..1]);
    let anchor = |release, manifest| {
        Some(Anchor {
            release: ReleaseNumber(release),
            manifest,
        })
    };
    // Another number than the manifest has.
    stage.refused("an anchor's number", |body| {
        body.anchor = anchor(4, stage.anchor.id());
    });
    stage.refused("an anchor's id", |body| {
        body.anchor = anchor(5, ObjectId::of(b"other"));
    });
    stage.refused("a number that the anchor does not have", |body| {
        (body.release, body.anchor) = (ReleaseNumber(7), anchor(6, stage.anchor.id()));
    });
    // A manifest that one key signed as the anchor of the next.
    let mut lone: ManifestBody = stage.addition();
    lone.anchor = None;
    replace(&mut lone, other("evil.txt"));
    let lone = head_and_one(&lone);
    let mut body = stage.addition();
    body.release = ReleaseNumber(7);
    body.anchor = anchor(6, lone.id());
    replace(&mut body, other("evil.txt"));
    let refused = install(
        &stage.feed,
        &mut stage.trust.clone(),
        &head_and_one(&body),
        &lone,
    );
    assert!(
        matches!(refused, Err(ManifestError::Signed(_))),
        "{refused:?}"
    );
    // An addition as the anchor of the next: one key's word twice is not two keys'.
    let first = head_and_one(&stage.addition());
    body.anchor = anchor(6, first.id());
    let refused = install(
        &stage.feed,
        &mut stage.trust.clone(),
        &head_and_one(&body),
        &first,
    );
    assert!(
        matches!(refused, Err(ManifestError::Signed(_))),
        "{refused:?}"
    );
    // No anchor at all.
    let mut body = stage.addition();
    body.anchor = None;
    let mut trust = stage.trust.clone();
    let signed = head_and_one(&body);
    let head = head_for(&stage.feed, &mut trust, &signed, 6);
    assert!(matches!(
        trust.verify_manifest(signed, &head),
        Err(ManifestError::Signed(_))
    ));
}

#[test]
fn what_a_whole_release_removed_does_not_come_back() {
    let stage = Stage::new();
    let mut trust = stage.trust.clone();
    // Release 7, signed by both, drops the feed's own database.
    let mut body: ManifestBody = (*stage.live).clone();
    body.release = ReleaseNumber(7);
    body.files.retain(|file| file.path.as_str() != "own.cvd");
    let seven = sign(&body, &stage.feed.release_keys);
    install(&stage.feed, &mut trust, &seven, &seven).unwrap();
    let mut body = stage.addition();
    body.release = ReleaseNumber(8);
    let back = sign(&body, &stage.feed.release_keys[..1]);
    let refused = install(&stage.feed, &mut trust.clone(), &back, &stage.anchor);
    assert!(
        matches!(refused, Err(ManifestError::AnchorBehind { .. })),
        "{refused:?}"
    );
    // Nor on a mirror whose newest release is an addition to it, after a restart.
    let mut body = stage.addition();
    body.release = ReleaseNumber(8);
    body.anchor = Some(Anchor {
        release: ReleaseNumber(7),
        manifest: seven.id(),
    });
    body.files.retain(|file| file.path.as_str() != "own.cvd");
    let eight = sign(&body, &stage.feed.release_keys[..1]);
    install(&stage.feed, &mut trust, &eight, &seven).unwrap();
    let mut trust = crate::support::resume(&stage.feed, &[], &trust.to_bytes()).unwrap();
    assert_eq!(trust.installed().unwrap().anchored, ReleaseNumber(7));
    let mut body = stage.addition();
    body.release = ReleaseNumber(9);
    let back = sign(&body, &stage.feed.release_keys[..1]);
    let refused = install(&stage.feed, &mut trust, &back, &stage.anchor);
    assert!(
        matches!(refused, Err(ManifestError::AnchorBehind { .. })),
        "{refused:?}"
    );
}

#[test]
fn an_anchor_that_was_revoked_or_is_below_the_floor_carries_nothing() {
    let stage = Stage::new();
    let changes: [&dyn Fn(&mut tidecast_proto::root::RootBody); 3] = [
        &|root| root.revoked_manifests = vec![stage.anchor.id()],
        &|root| root.release_min = ReleaseNumber(6),
        &|root| root.release_threshold = 2,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut root = stage.feed.next_root();
        change(&mut root);
        let mut trust = stage.trust.clone();
        trust
            .accept_root(sign(&root, &stage.feed.root_keys[..2]))
            .unwrap();
        let addition = sign(&stage.addition(), &stage.feed.release_keys[..1]);
        let done = install(&stage.feed, &mut trust, &addition, &stage.anchor);
        // The last one changes nothing, and shows that the others do.
        assert_eq!(done.is_ok(), at == 2, "{at}: {done:?}");
    }
}

/// Live is daily 20, an addition to release 5 with daily 10; one key publishes daily 15, which ClamAV signed too.
#[test]
fn an_older_genuine_database_does_not_come_back_by_naming_a_previous_nobody_has() {
    let stage = Stage::new();
    let mut trust = stage.trust.clone();
    let mut body = stage.addition();
    replace(&mut body, database("daily.cvd", 20));
    let twenty = sign(&body, &stage.feed.release_keys[..1]);
    let live = install(&stage.feed, &mut trust, &twenty, &stage.anchor)
        .unwrap()
        .manifest;
    for previous in [
        None,
        Some(ObjectId::of(b"nobody's")),
        Some(stage.anchor.id()),
        Some(live.id()),
    ] {
        let offer = |version, scripts: bool| {
            let mut body = stage.addition();
            body.release = ReleaseNumber(7);
            body.previous = previous;
            replace(&mut body, database("daily.cvd", version));
            if !scripts {
                body.files
                    .retain(|file| file.path.as_str() != "daily-11.cdiff");
            }
            let signed = sign(&body, &stage.feed.release_keys[..1]);
            // Trust knows numbers only; what is live is the mirror's to compare.
            let next = install(&stage.feed, &mut trust.clone(), &signed, &stage.anchor).unwrap();
            next.manifest.check_replaces(&live)
        };
        for (version, scripts) in [(15, true), (20, false), (21, false)] {
            let refused = offer(version, scripts);
            assert!(
                matches!(refused, Err(ManifestError::UndoesAddition { .. })),
                "{previous:?} {version} {scripts}: {refused:?}"
            );
        }
        assert!(offer(20, true).is_ok());
        assert!(offer(21, true).is_ok());
    }
}

/// The same for a mirror that is at the anchor itself, and freedom for one that missed a release with a flag.
#[test]
fn only_additions_to_what_is_live_are_bound_to_it_whatever_they_name() {
    let stage = Stage::new();
    let other = Some(ObjectId::of(b"nobody's"));
    let release = |number, anchor, version, signers: usize| {
        let mut body = stage.addition();
        (body.release, body.previous, body.anchor) = (ReleaseNumber(number), other, anchor);
        replace(&mut body, database("daily.cvd", version));
        let signed = sign(&body, &stage.feed.release_keys[..signers]);
        let id = signed.id();
        signed.reopen(&id).unwrap()
    };
    let five = Some(Anchor {
        release: ReleaseNumber(5),
        manifest: stage.anchor.id(),
    });
    assert!(release(6, five, 9, 1).check_replaces(&stage.live).is_err());
    // Release 7 went back under a flag; 8 adds to it, and the mirror at 5 saw neither.
    let seven = release(7, None, 9, 2);
    let eight = release(
        8,
        Some(Anchor {
            release: ReleaseNumber(7),
            manifest: seven.id(),
        }),
        9,
        1,
    );
    assert!(eight.check_replaces(&stage.live).is_ok());
    assert!(seven.check_replaces(&stage.live).is_ok());
}

#[test]
fn fewer_keys_do_not_use_up_the_numbers() {
    let stage = Stage::new();
    let far = 5 + limits::ADDITIONS_PER_ANCHOR as u64;
    let numbered = |number| {
        let mut body = stage.addition();
        body.release = ReleaseNumber(number);
        body
    };
    let one = &stage.feed.release_keys[..1];
    let last = sign(&numbered(far), one);
    let mut trust = stage.trust.clone();
    install(&stage.feed, &mut trust, &last, &stage.anchor).unwrap();
    // Whoever has both keys goes on from there.
    let mut body = numbered(far + 1);
    body.anchor = None;
    let next = sign(&body, &stage.feed.release_keys);
    install(&stage.feed, &mut trust, &next, &next).unwrap();
    for number in [far + 1, u64::MAX] {
        let body = tidecast_proto::codec::encode(&numbered(number));
        let signature = crate::support::signature(&one[0], "manifest", &body);
        let bytes = crate::support::envelope(&body, &[signature]);
        let signed = SignedManifest::from_bytes(&bytes).unwrap();
        assert!(
            signed.vouch(stage.trust.root(), &stage.feed.id()).is_err(),
            "{number}"
        );
    }
}

#[test]
fn what_describes_an_unchanged_file_is_no_content() {
    // Another list or recipe for a file whose hash stays: a mirror that has it links it, one that has not fetches chunks
    // that must add up to the hash. It may fail, and it cannot bring anything else.
    let stage = Stage::new();
    let added = stage
        .offer(|body| named(body, "readme.txt").list = Some(ListId::of(b"nobody's")))
        .unwrap();
    assert!(
        !added
            .to_prove
            .iter()
            .any(|path| path.as_str() == "readme.txt")
    );
    let file = added.manifest.file("readme.txt").unwrap();
    assert!(file.same_as(stage.live.file("readme.txt").unwrap()));
}

#[test]
fn the_anchored_number_never_falls_not_even_for_all_the_keys() {
    let stage = Stage::new();
    let mut trust = stage.trust.clone();
    let mut seven: ManifestBody = (*stage.live).clone();
    seven.release = ReleaseNumber(7);
    let seven = sign(&seven, &stage.feed.release_keys);
    install(&stage.feed, &mut trust, &seven, &seven).unwrap();
    // Both keys sign a release that says it goes back to 5.
    let mut eight = stage.addition();
    eight.release = ReleaseNumber(8);
    let eight = sign(&eight, &stage.feed.release_keys);
    let refused = install(&stage.feed, &mut trust, &eight, &stage.anchor);
    assert!(matches!(refused, Err(ManifestError::AnchorBehind { .. })));
    let installed = trust.installed().unwrap();
    assert_eq!(
        (installed.release, installed.anchored),
        (ReleaseNumber(7), ReleaseNumber(7))
    );
}
