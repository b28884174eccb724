//! `test_file_download.py`: files that are not what the manifest says.

use tidecast_proto::addition::Vouched;
use tidecast_proto::codec;
use tidecast_proto::id::{ChunkId, FileHash, ReleaseNumber};
use tidecast_proto::list::List;
use tidecast_proto::manifest::SignedManifest;

use crate::support::{Feed, envelope, file, newer, sign, signature};

#[test]
fn repository_substitutes_target_file() {
    let feed = Feed::new();
    let manifest = feed
        .manifest(1)
        .verify_stored(feed.trust().root(), &feed.id())
        .unwrap();
    let file = manifest.file("readme.txt").unwrap();
    let list = List::of_small_file(file.hash, file.size).unwrap();
    assert_eq!(list.entries()[0].id, ChunkId::of(b"read me"));
    for other in [&b"malicious data"[..], b"read mf", b"read m", b"read me "] {
        assert_ne!(list.entries()[0].id, ChunkId::of(other));
        assert_ne!(file.hash, FileHash::of(other));
    }
}

#[test]
fn multiple_changes_to_target() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    for number in 1..=11_u64 {
        let mut body = feed.manifest_body(number);
        body.files = vec![file("target.txt", format!("contents {number}").as_bytes())];
        let sound = sign(&body, &feed.release_keys);
        let head = sign(
            &feed.head_body(number, &sound, number),
            &feed.head_keys[..1],
        );
        let head = newer(&mut trust, head);
        // The file changed, the manifest did not follow.
        body.files[0].hash = FileHash::of(b"malicious");
        let bytes = codec::encode(&body);
        let all: Vec<_> = feed
            .release_keys
            .iter()
            .map(|key| signature(key, "manifest", sound.body()))
            .collect();
        let forged = SignedManifest::from_bytes(&envelope(&bytes, &all)).unwrap();
        assert!(trust.verify_manifest(forged, &head).is_err());
        let manifest = trust
            .verify_manifest(sound, &head)
            .and_then(Vouched::whole)
            .unwrap();
        trust.install(&manifest);
        assert_eq!(trust.installed_release(), ReleaseNumber(number));
    }
}
