//! The cases of the TUF conformance suite that have a counterpart here, under their names. `tests/TUF.md` has the table.

mod basics;
mod download;
mod expiry;
mod keys;
mod rollback;
mod rotation;

use tidecast_proto::manifest::{ManifestError, SignedManifest};
use tidecast_proto::trust::{Trust, Verdict};

use crate::support::{Feed, NOW, sign};

/// Takes `manifest` by a sound head.
fn takes(
    trust: &Trust,
    feed: &Feed,
    manifest: SignedManifest,
    release: u64,
) -> Result<(), ManifestError> {
    let mut trust = trust.clone();
    let head = sign(
        &feed.head_body(900, &manifest, release),
        &feed.head_keys[..1],
    );
    let (Verdict::Newer(head) | Verdict::Current(head)) = trust.accept_head(head, NOW).unwrap();
    trust.verify_manifest(manifest, &head)?.whole().map(|_| ())
}

const TABLE: &str = include_str!("../../../../tests/TUF.md");
const HERE: [&str; 6] = [
    include_str!("basics.rs"),
    include_str!("expiry.rs"),
    include_str!("download.rs"),
    include_str!("keys.rs"),
    include_str!("rollback.rs"),
    include_str!("rotation.rs"),
];
const SYNC: &str = include_str!("../../../../engine/tests/sync.rs");

/// Cases that the suite has in the files named, counting each of a parametrised test's ids that stands in the table.
const CASES: usize = 34;

#[test]
fn every_named_test_exists() {
    let rows = TABLE
        .lines()
        .filter(|line| line.starts_with("| test_") && !line.contains(".py"));
    let (mut cases, mut without) = (0, 0);
    for row in rows {
        let answer = row.split('|').nth(2).unwrap().trim();
        cases += 1;
        if answer.starts_with("no counterpart: ") {
            without += 1;
            continue;
        }
        let name = answer
            .split('`')
            .nth(1)
            .unwrap_or_else(|| panic!("no test: {row}"));
        let sources = if answer.contains("engine/tests/sync.rs") {
            &[SYNC][..]
        } else {
            &HERE
        };
        let defined = [
            format!("#[test]\nfn {name}()"),
            format!("\nasync fn {name}()"),
        ];
        let exists = |source: &&str| defined.iter().any(|defined| source.contains(defined));
        assert!(sources.iter().any(exists), "{name} does not exist");
    }
    assert_eq!(cases, CASES);
    println!("{cases} cases of the suite, {without} without a counterpart");
    // And nothing here is left out of the table.
    for piece in HERE
        .iter()
        .flat_map(|file| file.split("#[test]\nfn ").skip(1))
    {
        let name = piece.split('(').next().unwrap();
        assert!(TABLE.contains(&format!("`{name}`")), "{name}");
    }
}
