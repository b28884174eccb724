//! What fewer keys may do: add genuine databases to what enough keys signed, and nothing else. SPEC §3.3.
mod support;

use support::{Feed, NOW, database, file, sign};
use tidecast_proto::addition::{NotAnAddition, Vouched};
use tidecast_proto::codec;
use tidecast_proto::extension::Extension;
use tidecast_proto::id::{ObjectId, ReleaseNumber};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::manifest::{
    Anchor, Database, File, ManifestBody, ManifestError, SignedManifest,
};
use tidecast_proto::signed::SignedError;
use tidecast_proto::trust::Trust;

/// A feed whose release 1 both keys signed, and a mirror that has it installed.
#[derive(Clone)]
struct Network {
    feed: std::rc::Rc<Feed>,
    trust: Trust,
    anchor: SignedManifest,
}

impl Network {
    fn new() -> Self {
        let feed = std::rc::Rc::new(Feed::new());
        let mut trust = feed.trust();
        let anchor = sign(&body(&feed, 1, 10), &feed.release_keys);
        install(&feed, &mut trust, &anchor, &[]).unwrap();
        Self {
            feed,
            trust,
            anchor,
        }
    }

    /// A thief: one release key, and the head key.
    fn thief(&self) -> &[SecretKey] {
        &self.feed.release_keys[..1]
    }

    /// Release `number` with `daily` at `version`, as an addition to release 1.
    fn addition(&self, number: u64, version: u64) -> ManifestBody {
        let mut body = body(&self.feed, number, version);
        body.anchor = Some(anchor_of(&self.anchor, 1));
        body
    }

    /// What the mirror says to what the thief signs.
    fn thief_installs(&mut self, body: &ManifestBody) -> Result<Vec<String>, ManifestError> {
        let signed = sign(body, self.thief());
        install(&self.feed, &mut self.trust, &signed, &[&self.anchor])
    }

    #[track_caller]
    fn refuses(&mut self, change: impl FnOnce(&mut ManifestBody)) -> NotAnAddition {
        let mut body = self.addition(2, 11);
        change(&mut body);
        match self.thief_installs(&body) {
            Err(ManifestError::NotAnAddition { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn body(feed: &Feed, release: u64, version: u64) -> ManifestBody {
    let mut body = feed.manifest_body(release.min(1_000));
    body.release = ReleaseNumber(release);
    body.files = vec![
        cdiff(5),
        database("daily.cvd", version),
        database("main.cvd", 3),
        database("own.cvd", 1),
        file("readme.txt", b"read me"),
    ];
    body
}

fn cdiff(version: u64) -> File {
    file(&format!("daily-{version}.cdiff"), &version.to_be_bytes())
}

fn anchor_of(signed: &SignedManifest, release: u64) -> Anchor {
    Anchor {
        release: ReleaseNumber(release),
        manifest: signed.id(),
    }
}

fn put(body: &mut ManifestBody, file: File) {
    body.files.retain(|other| other.path != file.path);
    body.files.push(file);
    body.files.sort_by(|a, b| a.path.cmp(&b.path));
}

/// Takes `signed` as far as a mirror does before it looks into the files; `known` are the manifests it can get. Returns
/// what would have to be proved.
fn install(
    feed: &Feed,
    trust: &mut Trust,
    signed: &SignedManifest,
    known: &[&SignedManifest],
) -> Result<Vec<String>, ManifestError> {
    let release = signed.claims().unwrap().release.0;
    install_as(feed, trust, signed, known, release)
}

/// The same, with the number that the head states.
fn install_as(
    feed: &Feed,
    trust: &mut Trust,
    signed: &SignedManifest,
    known: &[&SignedManifest],
    release: u64,
) -> Result<Vec<String>, ManifestError> {
    let seq = trust.seqs().first().map_or(0, |(_, seq)| seq.0) + 1;
    let head = feed.head_body(seq, signed, release);
    let head = sign(&head, &feed.head_keys[..1]);
    let head = trust.accept_head(head, NOW).unwrap().head().clone();
    let (manifest, to_prove) = match trust.verify_manifest(signed.clone(), &head)? {
        Vouched::Whole(manifest) => (manifest, Vec::new()),
        Vouched::Addition(addition) => {
            let anchor = addition.anchor().manifest;
            let found = known.iter().find(|known| known.id() == anchor);
            let found = (*found.unwrap_or(&known[0])).clone();
            let added = trust.verify_addition(addition, found)?;
            (added.manifest, added.to_prove)
        }
    };
    trust.install(&manifest);
    Ok(to_prove.iter().map(ToString::to_string).collect())
}

#[test]
fn one_key_adds_a_newer_database_and_its_cdiff_and_both_must_be_proved() {
    let mut network = Network::new();
    let mut body = network.addition(2, 12);
    put(&mut body, cdiff(11));
    put(&mut body, cdiff(12));
    let to_prove = network.thief_installs(&body).unwrap();
    assert_eq!(to_prove, ["daily-11.cdiff", "daily-12.cdiff", "daily.cvd"]);
    let installed = network.trust.installed().unwrap();
    assert_eq!(installed.release, ReleaseNumber(2));
    assert_eq!(installed.anchored, ReleaseNumber(1));
}

#[test]
fn one_key_does_nothing_else() {
    type Change = fn(&mut ManifestBody);
    let mut network = Network::new();
    let removed: Change = |body| body.files.retain(|file| file.path.as_str() != "readme.txt");
    assert!(
        matches!(network.refuses(removed), NotAnAddition::Removes(path) if path.as_str() == "readme.txt")
    );
    let cases: [(&str, Change); 11] = [
        ("another file changes", |body| {
            put(body, file("readme.txt", b"other"));
        }),
        ("a file becomes executable", |body| {
            body.files[4].executable = true;
        }),
        ("a database becomes executable", |body| {
            body.files[1].executable = true;
        }),
        ("an older version", |body| {
            put(body, database("daily.cvd", 9));
        }),
        ("the same version anew", |body| {
            let file = file("daily.cvd", b"other");
            let database = database("daily.cvd", 10).database;
            put(body, File { database, ..file });
        }),
        ("nothing but another build time", |body| {
            let mut daily = database("daily.cvd", 10);
            daily.database.as_mut().unwrap().build_time_s += 1;
            put(body, daily);
        }),
        ("nothing but another stated version", |body| {
            let mut daily = database("daily.cvd", 10);
            daily.database.as_mut().unwrap().version += 1;
            daily.hash = database("daily.cvd", 10).hash;
            daily.executable = true;
            put(body, daily);
        }),
        ("a database of nobody's", |body| {
            put(body, database("own.cvd", 2));
        }),
        ("a database under another's name", |body| {
            let mut main = database("main.cvd", 4);
            main.database.as_mut().unwrap().name = "daily".into();
            put(body, main);
        }),
        ("a database that states nothing", |body| {
            put(body, file("daily.cvd", b"something"));
        }),
        ("an old cdiff with another content", |body| {
            put(body, file("daily-5.cdiff", b"other"));
        }),
    ];
    for (what, change) in cases {
        let why = network.refuses(change);
        assert!(matches!(why, NotAnAddition::Changes(_)), "{what}: {why}");
    }
    let added: [(&str, Change); 8] = [
        ("any file", |body| put(body, file("new.txt", b"x"))),
        ("a new database", |body| {
            put(body, database("bytecode.cvd", 1));
        }),
        ("a daily.cld beside it", |body| {
            put(body, database("daily.cld", 11));
        }),
        ("a cdiff of an older version", |body| put(body, cdiff(10))),
        ("a cdiff of a version to come", |body| put(body, cdiff(12))),
        ("an empty cdiff", |body| {
            put(body, file("daily-11.cdiff", b""));
        }),
        ("a cdiff of nobody's", |body| {
            put(body, file("own-11.cdiff", b"x"));
        }),
        ("a cdiff elsewhere", |body| {
            put(body, file("sub/daily-11.cdiff", b"x"));
        }),
    ];
    for (what, change) in added {
        let why = network.refuses(change);
        assert!(matches!(why, NotAnAddition::Adds(_)), "{what}: {why}");
    }
    for path in ["daily-11.cvd.sign", "daily-11.cdiff.sign"] {
        let why = network.refuses(|body| put(body, file(path, b"x")));
        assert!(
            matches!(&why, NotAnAddition::Signature(is) if is.as_str() == path),
            "{why}"
        );
        // Leaving it out would not be enough.
        let why = network.refuses(|body| {
            put(body, file(path, b"x"));
            put(body, file("new.txt", b"x"));
        });
        assert!(matches!(why, NotAnAddition::Adds(_)), "{why}");
    }
    let shrinks: Change = |body| body.flags.allow_shrink = true;
    let rolls_back: Change = |body| body.flags.allow_database_rollback = true;
    assert_eq!(network.refuses(shrinks), NotAnAddition::Flag);
    assert_eq!(network.refuses(rolls_back), NotAnAddition::Flag);
    let extends: Change = |body| {
        body.extensions = vec![Extension {
            tag: 1,
            critical: false,
            bytes: Vec::new(),
        }];
    };
    assert_eq!(network.refuses(extends), NotAnAddition::Extensions);
    assert_eq!(network.trust.installed_release(), ReleaseNumber(1));
}

#[test]
fn without_an_anchor_one_key_is_too_few_and_no_key_is_never_enough() {
    let mut network = Network::new();
    let plain = body(&network.feed, 2, 11);
    assert!(matches!(
        network.thief_installs(&plain),
        Err(ManifestError::Signed(SignedError::TooFewSignatures {
            good: 1,
            needed: 2,
            ..
        }))
    ));
    let addition = network.addition(2, 11);
    for signers in [&[][..], &network.feed.head_keys, &network.feed.root_keys] {
        let signed = sign(&addition, signers);
        let mut trust = network.trust.clone();
        let outcome = install(&network.feed, &mut trust, &signed, &[&network.anchor]);
        assert!(matches!(
            outcome,
            Err(ManifestError::Signed(SignedError::TooFewSignatures {
                good: 0,
                ..
            }))
        ));
    }
}

#[test]
fn an_anchor_must_be_the_one_named_signed_by_all_and_no_addition() {
    let network = Network::new();
    let (feed, thief) = (&network.feed, network.thief());
    let why = |body: &ManifestBody, known: &SignedManifest| {
        let mut trust = feed.trust();
        let signed = sign(body, thief);
        match install(feed, &mut trust, &signed, &[known]) {
            Err(ManifestError::NotAnAddition { why, .. }) => Ok(why),
            Err(error) => Err(error),
            Ok(_) => panic!("installed"),
        }
    };
    let addition = network.addition(3, 12);
    let other = sign(&body(feed, 1, 11), &feed.release_keys);
    assert_eq!(why(&addition, &other), Ok(NotAnAddition::OtherAnchor));

    // A release of the thief's own as the anchor.
    let own = sign(&body(feed, 2, 1), thief);
    let mut on_own = addition.clone();
    on_own.anchor = Some(anchor_of(&own, 2));
    assert!(matches!(
        why(&on_own, &own),
        Err(ManifestError::Signed(SignedError::TooFewSignatures {
            good: 1,
            needed: 2,
            ..
        }))
    ));

    // The right manifest under another number.
    let mut misnumbered = addition.clone();
    misnumbered.anchor = Some(anchor_of(&network.anchor, 2));
    assert_eq!(
        why(&misnumbered, &network.anchor),
        Ok(NotAnAddition::OtherAnchor)
    );

    // An addition, though all have signed it.
    let second = sign(&network.addition(2, 11), &feed.release_keys);
    let mut on_addition = addition.clone();
    on_addition.anchor = Some(anchor_of(&second, 2));
    assert_eq!(why(&on_addition, &second), Ok(NotAnAddition::AnchorAdds));
}

#[test]
fn what_all_keys_signed_as_an_addition_may_do_no_more_than_one() {
    let mut network = Network::new();
    let mut body = network.addition(2, 11);
    body.files.retain(|file| file.path.as_str() != "readme.txt");
    let signed = sign(&body, &network.feed.release_keys);
    // Else it would go back to release 1, and one key could bring back what it removed.
    assert!(matches!(
        install(
            &network.feed,
            &mut network.trust,
            &signed,
            &[&network.anchor]
        ),
        Err(ManifestError::NotAnAddition {
            why: NotAnAddition::Removes(_),
            ..
        })
    ));
}

#[test]
fn one_key_cannot_bring_back_what_all_have_removed() {
    let mut network = Network::new();
    let mut without = body(&network.feed, 2, 11);
    without
        .files
        .retain(|file| file.path.as_str() != "readme.txt");
    let without = sign(&without, &network.feed.release_keys);
    install(&network.feed, &mut network.trust, &without, &[]).unwrap();
    let back = network.addition(3, 12);
    assert_eq!(
        network.thief_installs(&back),
        Err(ManifestError::AnchorBehind {
            got: ReleaseNumber(1),
            have: ReleaseNumber(2),
        })
    );
    // Nor after an honest addition to the later one, nor once the counters were read again.
    let mut honest = network.addition(3, 12);
    honest
        .files
        .retain(|file| file.path.as_str() != "readme.txt");
    honest.anchor = Some(anchor_of(&without, 2));
    let honest = sign(&honest, network.thief());
    install(&network.feed, &mut network.trust, &honest, &[&without]).unwrap();
    network.trust = support::resume(&network.feed, &[], &network.trust.to_bytes()).unwrap();
    assert!(matches!(
        network.thief_installs(&network.addition(4, 13)),
        Err(ManifestError::AnchorBehind { .. })
    ));
}

#[test]
fn one_key_cannot_use_up_the_numbers() {
    let max = limits::ADDITIONS_PER_ANCHOR as u64;
    let mut network = Network::new();
    let farthest = network.addition(1 + max, 11);
    assert!(network.clone().thief_installs(&farthest).is_ok());
    for number in [2 + max, u64::MAX] {
        // Nobody's tool makes one, so it is put together by hand.
        let bytes = codec::encode(&network.addition(number, 11));
        let signature = support::signature(&network.thief()[0], "manifest", &bytes);
        let signed = SignedManifest::from_bytes(&support::envelope(&bytes, &[signature])).unwrap();
        let installed = install_as(
            &network.feed,
            &mut network.trust,
            &signed,
            &[&network.anchor],
            number,
        );
        assert!(installed.is_err(), "{number}: {installed:?}");
        assert_eq!(network.trust.installed_release(), ReleaseNumber(1));
    }
}

#[test]
fn an_addition_to_what_is_live_cannot_take_a_later_addition_back_whatever_it_says_it_follows() {
    let network = Network::new();
    let feed = &network.feed;
    let verified = |body: &ManifestBody, signers: &[SecretKey]| {
        let signed = sign(body, signers);
        let id = signed.id();
        signed.reopen(&id).unwrap()
    };
    let mut live = network.addition(5, 15);
    put(&mut live, cdiff(15));
    let live = verified(&live, network.thief());
    for previous in [None, Some(live.id()), Some(ObjectId::of(b"never seen"))] {
        let check = |change: &dyn Fn(&mut ManifestBody)| {
            let mut next = network.addition(6, 16);
            put(&mut next, cdiff(15));
            next.previous = previous;
            change(&mut next);
            verified(&next, network.thief()).check_replaces(&live)
        };
        assert_eq!(check(&|_| ()), Ok(()));
        let older = check(&|body| put(body, database("daily.cvd", 14)));
        assert!(
            matches!(older, Err(ManifestError::UndoesAddition { .. })),
            "{previous:?}: {older:?}"
        );
        let without = check(&|body| body.files.retain(|f| f.path.as_str() != "daily-15.cdiff"));
        assert!(matches!(
            without,
            Err(ManifestError::UndoesAddition {
                why: NotAnAddition::Removes(_),
                ..
            })
        ));
    }
    // More keys may: a release that all signed, and what is added to that.
    let mut whole = body(feed, 7, 14);
    whole.flags.allow_database_rollback = true;
    whole.previous = Some(ObjectId::of(b"never seen"));
    let whole = verified(&whole, &feed.release_keys);
    assert_eq!(whole.check_replaces(&live), Ok(()));
    let mut later = body(feed, 8, 14);
    later.previous = Some(whole.id());
    later.anchor = Some(anchor_of(whole.signed(), 7));
    assert_eq!(
        verified(&later, network.thief()).check_replaces(&live),
        Ok(())
    );
}

#[test]
fn a_revoked_anchor_carries_nothing_any_more() {
    let network = Network::new();
    let mut root = network.feed.next_root();
    root.revoked_manifests = vec![network.anchor.id()];
    let mut trust = network.feed.trust_after(&root);
    let signed = sign(&network.addition(2, 11), network.thief());
    assert!(matches!(
        install(&network.feed, &mut trust, &signed, &[&network.anchor]),
        Err(ManifestError::Revoked(_))
    ));
}

#[test]
fn the_database_name_that_an_addition_states_is_that_of_the_release_before() {
    let mut network = Network::new();
    let why = network.refuses(|body| {
        let daily = database("daily.cvd", 11);
        let other = Database {
            name: "main".into(),
            ..daily.database.clone().unwrap()
        };
        put(
            body,
            File {
                database: Some(other),
                ..daily
            },
        );
    });
    assert!(matches!(why, NotAnAddition::Changes(_)), "{why}");
}

#[test]
fn copies_bring_their_good_signatures_together_and_no_others() {
    let feed = Feed::new();
    let body = body(&feed, 1, 1);
    let [one, two] = &feed.release_keys[..] else {
        panic!("two keys")
    };
    let keys = support::publics(&feed.release_keys);
    let by = |signers: &[SecretKey]| sign(&body, signers);
    let merged = by(std::slice::from_ref(one)).with_good_signatures(
        &keys,
        &[&by(std::slice::from_ref(two)), &by(&feed.head_keys)],
    );
    assert_eq!(merged, by(&feed.release_keys));
    let mut other = body.clone();
    other.notes = "other".into();
    let other = sign(&other, &feed.release_keys);
    assert_eq!(by(&[]).with_good_signatures(&keys, &[&other]), by(&[]));
    // A signature that was made for something else, put beside this text.
    let forged = support::envelope(
        by(&[]).body(),
        &[support::signature(one, "manifest", other.body())],
    );
    let forged = SignedManifest::from_bytes(&forged).unwrap();
    assert_eq!(by(&[]).with_good_signatures(&keys, &[&forged]), by(&[]));
    assert_eq!(
        forged.with_good_signatures(&keys, &[&by(&feed.release_keys)]),
        by(&feed.release_keys)
    );
}

#[test]
fn what_is_found_installed_raises_the_release_and_no_anchor() {
    let network = Network::new();
    let mut forged = network.addition(900, 11);
    forged.anchor = Some(Anchor {
        release: ReleaseNumber(899),
        manifest: ObjectId::of(b"nothing"),
    });
    let vouched = |body, keys: &[SecretKey]| {
        let root = network.trust.root();
        let vouched = sign(body, keys).vouch(root, &network.feed.id());
        vouched.unwrap()
    };
    let mut trust = network.trust.clone();
    trust.install_found(vouched(&forged, network.thief()));
    let installed = trust.installed().unwrap();
    assert_eq!(installed.release, ReleaseNumber(900));
    assert_eq!(installed.anchored, ReleaseNumber(1));

    let whole = body(&network.feed, 7, 12);
    let mut trust = network.trust.clone();
    trust.install_found(vouched(&whole, &network.feed.release_keys));
    assert_eq!(trust.installed().unwrap().anchored, ReleaseNumber(7));
}
