//! Row "re-signed": every field of every object changed by somebody who holds all the keys, and signed well. A rule
//! refuses it, or it is harmless: memory and time are bounded, names stay in the docroot, counters read back.
//!
//! This half drives the rules; `engine/tests/insider.rs` drives a mirror with a docroot.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tidecast_proto::addition::{Added, Vouched};
use tidecast_proto::codec::{self, Decode, Encode};
use tidecast_proto::head::{Head, SignedHead};
use tidecast_proto::id::{ListId, RecipeId};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::manifest::{ManifestBody, SignedManifest};
use tidecast_proto::receipt::SignedReceipt;
use tidecast_proto::recipe::Recipe;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::{Trust, Verdict};

use crate::altered::{Change, change};
use crate::counting::peak_bytes;
use crate::fields::Fields;
use crate::life::Life;
use crate::raw;
use crate::rng::Rng;
use crate::series::{Tally, cases, run};
use crate::support::{NOW, envelope, signature};

/// Most memory that judging an object of so many bytes may take: what decoding may allocate (SPEC §1.2), and room for a
/// mirror's own counters.
fn memory_bound(bytes: usize) -> usize {
    16 * bytes + 512 * 1024
}

/// Most time one object may take, on a machine that does other things too.
const TIME_BOUND: Duration = Duration::from_secs(5);

fn read<T: Encode + Decode<()>>(bytes: &[u8]) -> T {
    codec::decode_exact("raw", bytes, limits::MANIFEST_BYTES).unwrap()
}

/// Changes one to three fields, or the bytes of the body as they are.
fn alter<T: Fields + Encode + Decode<()>>(
    kind: &str,
    body: &[u8],
    rng: &mut Rng,
    tally: &mut Tally,
) -> Vec<u8> {
    if rng.once_in(5) {
        tally.tried(&format!("{kind}: bytes"));
        return change(*rng.pick(&Change::ALL), body, body, rng);
    }
    let mut raw: T = read(body);
    for _ in 0..1 + rng.below(3) {
        let field = raw.change(rng);
        tally.tried(&format!("{kind}: {field}"));
    }
    codec::encode(&raw)
}

fn signed(name: &str, body: &[u8], keys: &[SecretKey]) -> Vec<u8> {
    let mut all: Vec<_> = keys.iter().map(|key| signature(key, name, body)).collect();
    all.sort_by_key(|s| s.key);
    envelope(body, &all)
}

/// A mirror that has release 5 under root 3.
struct Scene {
    life: Life,
    trust: Trust,
    /// The most memory and time that judging one object took.
    most: Cell<(usize, Duration)>,
}

impl Scene {
    fn new() -> Self {
        let life = Life::new(40);
        let mut trust = life.trust(3);
        life.install(&mut trust, 500, 5);
        Self {
            life,
            trust,
            most: Cell::default(),
        }
    }

    /// Judges `bytes` within what that may cost.
    fn bounded(&self, bytes: &[u8], judge: impl FnOnce()) {
        let began = Instant::now();
        let ((), peak) = peak_bytes(judge);
        let took = began.elapsed();
        assert!(
            peak <= memory_bound(bytes.len()),
            "{peak} bytes held at once for {}",
            bytes.len()
        );
        assert!(took < TIME_BOUND, "{took:?} for {} bytes", bytes.len());
        let (most, longest) = self.most.get();
        self.most.set((most.max(peak), longest.max(took)));
    }

    fn head_for(&self, manifest: &SignedManifest, release: u64) -> Option<(Trust, Head)> {
        let mut trust = self.trust.clone();
        let release = crate::life::Release {
            number: release,
            manifest: manifest.clone(),
        };
        let head = self.life.fresh_head(&trust, 600, &release);
        match trust.accept_head(head, NOW) {
            Ok(Verdict::Newer(head) | Verdict::Current(head)) => Some((trust, head)),
            Err(_) => None,
        }
    }

    /// Whatever became of it, the counters read back and nothing is lower.
    fn check(&self, after: &Trust, roots: &[SignedRoot]) {
        let bytes = after.to_bytes();
        assert!(bytes.len() <= Trust::BYTES_MAX);
        let again = Trust::resume(&self.life.id, roots.to_vec(), Some(&bytes))
            .unwrap()
            .unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert!(after.installed_release() >= self.trust.installed_release());
        assert!(after.root().version >= self.trust.root().version);
        assert!(
            after.now(NOW) <= NOW,
            "the floor never passes our own clock"
        );
    }

    fn root(&self, rng: &mut Rng, tally: &mut Tally) {
        let keys = &self.life.root_keys;
        let body = self.life.roots[3].body();
        let body = alter::<raw::Root>("root", body, rng, tally);
        let bytes = signed("root", &body, keys);
        let mut trust = self.trust.clone();
        self.bounded(&bytes, || match SignedRoot::from_bytes(&bytes) {
            Err(error) => tally.refused(&error),
            Ok(root) => match trust.accept_root(root.clone()) {
                Err(error) => tally.refused(&error),
                Ok(()) => {
                    tally.outcome("harmless: a root by its own keys, obeying every rule");
                    let roots = [&self.life.roots[..3], &[root]].concat();
                    self.check(&trust, &roots);
                }
            },
        });
    }

    fn head(&self, rng: &mut Rng, tally: &mut Tally) {
        let release = self.life.releases.iter().find(|r| r.number == 8).unwrap();
        let sound = codec::encode(&self.life.head_body(600, release));
        let body = alter::<raw::Head>("head", &sound, rng, tally);
        let bytes = signed("head", &body, &self.life.head_keys[..1]);
        let mut trust = self.trust.clone();
        self.bounded(&bytes, || match SignedHead::from_bytes(&bytes) {
            Err(error) => tally.refused(&error),
            Ok(head) => match trust.accept_head(head, NOW) {
                Err(error) => tally.refused(&error),
                Ok(_) => {
                    tally.outcome("harmless: a head that installs nothing");
                    assert_eq!(trust.installed(), self.trust.installed());
                }
            },
        });
        self.check(&trust, &self.life.roots[..3]);
    }

    fn manifest(&self, rng: &mut Rng, tally: &mut Tally) {
        let number = *rng.pick(&[6, 8, 11]);
        let sound = self.life.release(number).body();
        let body = alter::<raw::Manifest>("manifest", sound, rng, tally);
        let signers = 1 + rng.below(3);
        let bytes = signed("manifest", &body, &self.life.release_keys[..signers]);
        // The head follows whatever number the insider wrote.
        let claims = codec::decode_exact::<raw::Manifest>("raw", &body, limits::MANIFEST_BYTES);
        let number = claims.map_or(number, |raw| raw.release);
        self.bounded(&bytes, || {
            self.judge_manifest(&bytes, number, signers, tally);
        });
    }

    fn judge_manifest(&self, bytes: &[u8], number: u64, signers: usize, tally: &mut Tally) {
        let manifest = match SignedManifest::from_bytes(bytes) {
            Ok(manifest) => manifest,
            Err(error) => return tally.refused(&error),
        };
        let Some((mut trust, head)) = self.head_for(&manifest, number.max(1)) else {
            return tally.outcome("refused: no head may point there");
        };
        let vouched = match trust.verify_manifest(manifest, &head) {
            Ok(vouched) => vouched,
            Err(error) => return tally.refused(&error),
        };
        let manifest = match vouched {
            Vouched::Whole(manifest) => manifest,
            Vouched::Addition(addition) => {
                let anchor = self.life.with_id(addition.anchor().manifest);
                let anchor = anchor.unwrap_or(self.life.release(5)).clone();
                match trust.verify_addition(addition, anchor.clone()) {
                    Ok(added) => {
                        only_adds(&added, &anchor);
                        added.manifest
                    }
                    Err(error) => return tally.refused(&error),
                }
            }
        };
        tally.outcome(if signers > 1 {
            "harmless: a release by enough keys"
        } else {
            "harmless: an addition"
        });
        assert!(signers > 1 || manifest.anchor.is_some());
        is_safe(&manifest);
        trust.install(&manifest);
        self.check(&trust, &self.life.roots[..3]);
    }

    fn receipt(&self, rng: &mut Rng, tally: &mut Tally) {
        let sound = self.life.receipt();
        let body = alter::<raw::Receipt>("receipt", sound.body(), rng, tally);
        let bytes = signed("receipt", &body, std::slice::from_ref(&self.life.node));
        let node = self.life.node.public();
        self.bounded(&bytes, || match SignedReceipt::from_bytes(&bytes) {
            Err(error) => tally.refused(&error),
            Ok(receipt) => match receipt.verify(&node, &self.life.id) {
                Err(error) => tally.refused(&error),
                Ok(receipt) => {
                    tally.outcome("harmless: a receipt is its node's own word");
                    assert!(!receipt.state.word().is_empty());
                }
            },
        });
    }

    /// Lists and recipes are named by whoever signs the manifest, so any bytes may be theirs.
    fn list(&self, rng: &mut Rng, tally: &mut Tally) {
        let sound: raw::Entries = (1..8).map(|n| ([n; 32], 1000 + u32::from(n))).collect();
        let body = alter::<raw::Entries>("list", &codec::encode(&sound), rng, tally);
        self.bounded(&body, || {
            match List::decode(&body, ListId::of(&body), 7028) {
                Err(error) => tally.refused(&error),
                Ok(list) => {
                    tally.outcome("harmless: a list of the right length");
                    assert_eq!(list.total_bytes(), 7028);
                    assert!(
                        list.entries()
                            .iter()
                            .all(|entry| (1..=262_144).contains(&entry.len))
                    );
                }
            }
        });
    }

    fn recipe(&self, rng: &mut Rng, tally: &mut Tally) {
        let segments = vec![
            raw::Segment::Literal(vec![1; 11]),
            raw::Segment::Deflate(9, 1, 8, 7021, 3000),
        ];
        let sound = codec::encode(&raw::Recipe {
            opened: [5; 32],
            segments,
        });
        let body = alter::<raw::Recipe>("recipe", &sound, rng, tally);
        self.bounded(&body, || {
            match Recipe::decode(&body, RecipeId::of(&body), 3011) {
                Err(error) => tally.refused(&error),
                Ok(recipe) => {
                    tally.outcome("harmless: a recipe of the right length");
                    assert!(
                        recipe.opened_bytes() <= 2_147_483_647 && recipe.segments().len() <= 1024
                    );
                }
            }
        });
    }
}

/// The rules of SPEC §4 and §3.3 once more, written by somebody who does not trust the first time.
fn is_safe(manifest: &ManifestBody) {
    let mut before = "";
    for file in &manifest.files {
        let path = file.path.as_str();
        assert!(path > before, "sorted, and none twice");
        before = path;
        assert!(!path.is_empty() && path.len() <= 1024);
        let parts: Vec<&str> = path.split('/').collect();
        assert!(parts.len() <= 16 && parts[0] != "timestamp", "{path:?}");
        for part in &parts {
            assert!(
                !part.is_empty() && part.len() <= 255 && !part.starts_with('.'),
                "{path:?}"
            );
            assert!(!part.starts_with("local_"), "{path:?}");
            assert!(
                part.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._+@-".contains(&b)),
                "{path:?}"
            );
        }
        assert!(file.list.is_some() || file.size <= 262_144);
    }
    for pair in manifest.files.windows(2) {
        let folder = format!("{}/", pair[0].path);
        assert!(
            !manifest
                .files
                .iter()
                .any(|file| file.path.as_str().starts_with(&folder))
        );
    }
    assert!(
        !manifest
            .notes
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
    );
}

/// Nothing of the anchor is gone, and what is not as it was is to be proved, byte for byte.
fn only_adds(added: &Added, anchor: &SignedManifest) {
    let old: raw::Manifest = read(anchor.body());
    for file in &added.manifest.files {
        let path = file.path.as_str();
        let before = old.files.iter().find(|old| old.path == path);
        if added.to_prove.contains(&file.path) {
            let kind = if before.is_some() { ".cvd" } else { ".cdiff" };
            assert!(path.ends_with(kind) && !file.executable, "{path}");
            continue;
        }
        let before = before.unwrap_or_else(|| panic!("{path} is new and nobody looks at it"));
        assert!(
            before.hash == file.hash.0 && before.size == file.size,
            "{path}"
        );
        assert_eq!(before.executable, file.executable, "{path}");
    }
    let kept = |old: &raw::File| added.manifest.file(&old.path).is_some();
    assert!(old.files.iter().all(kept));
}

#[test]
fn what_an_insider_signs_is_refused_or_harmless() {
    let scene = Scene::new();
    let name = "what_an_insider_signs_is_refused_or_harmless";
    let tally = run(name, cases(12_000, 180_000), |rng, tally| {
        match rng.below(8) {
            0 | 1 => scene.root(rng, tally),
            2 => scene.head(rng, tally),
            3..=5 => scene.manifest(rng, tally),
            6 if rng.once_in(4) => scene.receipt(rng, tally),
            6 => scene.list(rng, tally),
            _ => scene.recipe(rng, tally),
        }
    });
    let (most, longest) = scene.most.get();
    println!("  at most {most} bytes held at once and {longest:?} for one object, 0 panics");
    if std::env::var_os("TIDECAST_CASE").is_none() {
        assert!(tally.count("refused") > 0 && tally.count("harmless") > 0);
    }
}

#[test]
fn the_largest_objects_an_insider_can_make_are_bounded_too() {
    let scene = Scene::new();
    let keys = &scene.life.release_keys[..2];
    let sound: raw::Manifest = read(scene.life.release(8).body());
    let file = sound.files[0].clone();
    let many = |n: u32, path: &dyn Fn(u32) -> String| {
        let mut raw = sound.clone();
        raw.files = (0..n)
            .map(|n| raw::File {
                path: path(n),
                ..file.clone()
            })
            .collect();
        raw.sort();
        codec::encode(&raw)
    };
    let deep = |n: u32| format!("{}f{n:06}", "d/".repeat(15));
    let bodies = [
        ("many short paths", many(110_000, &|n| format!("f{n:06}"))),
        ("many deep paths", many(80_000, &deep)),
        (
            "one path again and again",
            many(110_000, &|_| "same".into()),
        ),
        (
            "more than there is room for",
            many(200_000, &|n| format!("f{n:06}")),
        ),
        ("a list that says it has 2^61 files", {
            let mut body = many(1, &|n| n.to_string());
            let at = body
                .windows(8)
                .position(|w| w == 1_u64.to_le_bytes())
                .unwrap();
            body[at..at + 8].copy_from_slice(&(1_u64 << 61).to_le_bytes());
            body
        }),
    ];
    for (what, body) in bodies {
        let bytes = signed("manifest", &body, keys);
        let began = Instant::now();
        let (accepted, peak) = peak_bytes(|| {
            let manifest = SignedManifest::from_bytes(&bytes).ok()?;
            manifest
                .vouch(scene.trust.root(), &scene.life.id)
                .ok()
                .map(|_| ())
        });
        let took = began.elapsed();
        println!(
            "{what}: {} bytes, {peak} held at once, {took:?}, accepted {}",
            bytes.len(),
            accepted.is_some()
        );
        assert!(peak <= memory_bound(bytes.len()), "{what}");
        assert!(took < TIME_BOUND * 4, "{what}: {took:?}");
    }
}
