//! Every vector read by the code: objects, frames, recipes, parts of a bundle, deflate streams, and a whole bundle.

use std::collections::BTreeSet;

use tidecast_proto::{
    addition::Vouched,
    bundle::{FilePart, Header, PartHeader, PartKind, RunPart},
    deflate::{Batch, Encoder, Parser, Status, Tokenizer},
    fingerprint,
    head::SignedHead,
    id::{FeedId, ObjectId, RecipeId},
    key::{PublicKey, SecretKey, Signature},
    list::List,
    manifest::SignedManifest,
    receipt::SignedReceipt,
    recipe::Recipe,
    root::SignedRoot,
    trust::Trust,
    wire::{Answer, FRAME_HEADER_BYTES, FrameType, Hello, Refused, Request, Welcome, parse_header},
};

use crate::page::unhex;
use crate::{BUNDLE, Stated, bundle, read_bundle, spec, vectors, zlib};

#[test]
fn every_object_vector_decodes_and_verifies() {
    let stated = Stated(spec().vectors());
    for line in stated.0["keys"].lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let seed = unhex(fields[1]).try_into().expect("32 bytes");
        assert_eq!(SecretKey::from_seed(&seed).public().to_string(), fields[2]);
    }
    for name in ["root", "manifest", "head", "receipt"] {
        let body = stated.bytes(&format!("{name} body"));
        let id = stated.bytes(&format!("{name} id"));
        assert_eq!(ObjectId::of(&body).0[..], id[..], "{name}");
        // The message as §3.1 says, put together here from the text alone.
        let prefix = stated.bytes(&format!("{name} prefix"));
        assert_eq!(prefix, format!("tidecast/{name}/v1\0").as_bytes());
        let message = [prefix, body.clone()].concat();
        let mut whole = (body.len() as u64).to_le_bytes().to_vec();
        whole.extend_from_slice(&body);
        let signatures = stated.0[&format!("{name} signatures")].clone();
        whole.extend_from_slice(&(signatures.lines().count() as u64).to_le_bytes());
        for line in signatures.lines() {
            let (key, signature) = line.split_once(' ').expect("key, signature");
            let key: PublicKey = key.parse().expect("a key");
            let signature: [u8; 64] = unhex(signature).try_into().expect("64 bytes");
            assert!(key.verifies(&message, &Signature(signature)), "{name}");
            whole.extend_from_slice(key.as_bytes());
            whole.extend_from_slice(&signature);
        }
        assert_eq!(whole, stated.bytes(name), "{name}");
    }

    let root = SignedRoot::from_bytes(&stated.bytes("root")).expect("well formed");
    let feed = fingerprint::parse(&stated.0["fingerprint words"]).expect("24 words");
    assert_eq!(feed, FeedId(root.id().0));
    assert_eq!(fingerprint::parse(&stated.0["root id"]), Ok(feed));
    let mut trust = Trust::begin(&feed, root).expect("the fingerprint fits");
    let head = SignedHead::from_bytes(&stated.bytes("head")).expect("well formed");
    let verdict = trust.accept_head(head, vectors::NOW).expect("a good head");
    let manifest = SignedManifest::from_bytes(&stated.bytes("manifest")).expect("well formed");
    let manifest = trust
        .verify_manifest(manifest, verdict.head())
        .and_then(Vouched::whole)
        .expect("the head's manifest");
    trust.install(&manifest);
    let [database, noise] = &manifest.files[..] else {
        panic!("{} files", manifest.files.len())
    };
    assert_eq!(database.path.as_str(), "daily.cvd");
    assert_eq!(database.database.as_ref().map(|d| d.version), Some(27_800));
    let list = stated.bytes("list");
    let list = List::decode(&list, noise.list.expect("a list"), noise.size).expect("its list");
    assert_eq!(list.total_bytes(), 1_000_000);

    let receipt = SignedReceipt::from_bytes(&stated.bytes("receipt")).expect("well formed");
    let node = trust.root().masters[0].node_key;
    let receipt = receipt.verify(&vectors::mirror_key().public(), &feed);
    let receipt = receipt.expect("signed by the mirror");
    assert_eq!(receipt.manifest, manifest.id());
    assert_ne!(vectors::mirror_key().public(), node);
    assert_eq!(receipt.extensions[0].tag, 7);
}

#[test]
fn every_frame_vector_decodes() {
    let stated = Stated(spec().vectors());
    for (kind, name) in FrameType::ALL {
        let bytes = stated.bytes(&format!("frame {name}"));
        let (header, body) = bytes
            .split_first_chunk::<FRAME_HEADER_BYTES>()
            .expect("a header");
        assert_eq!(parse_header(*header), Ok((*kind, body.len())), "{name}");
        let known = match *kind {
            FrameType::WELCOME => Welcome::decode(body).is_ok(),
            FrameType::REFUSED => Refused::decode(body).is_ok(),
            FrameType::ADMITTED => body.is_empty(),
            FrameType::RECEIPT => body == stated.bytes("receipt"),
            FrameType::HELLO => Hello::decode(body).is_ok(),
            FrameType::POLL
            | FrameType::FETCH_ROOT
            | FrameType::FETCH_OBJECT
            | FrameType::FETCH_CHUNKS
            | FrameType::FETCH_BUNDLE
            | FrameType::FETCH_RUNS => {
                Request::decode(*kind, body).is_ok_and(|request| request.to_frame() == bytes)
            }
            _ => Answer::decode(*kind, body.to_vec()).is_ok(),
        };
        assert!(known, "{name}");
    }
}

#[test]
fn the_recipe_and_part_vectors_decode() {
    let stated = Stated(spec().vectors());
    let bytes = stated.bytes("recipe");
    let recipe = Recipe::decode(&bytes, RecipeId::of(&bytes), 500_118).expect("adds up");
    assert_eq!(recipe.opened().0, stated.bytes("list id")[..]);
    assert_eq!(recipe.opened_bytes(), 1_000_000);
    assert_eq!(recipe.id().0, stated.bytes("recipe id")[..]);
    for (kind, name, _) in PartKind::ALL {
        let read: fn(&[u8]) -> bool = match *kind {
            PartKind::HEADER => |body| Header::decode(body).is_ok_and(|it| it.encode() == body),
            PartKind::FILE => |body| FilePart::decode(body).is_ok_and(|it| it.encode() == body),
            PartKind::RUN => |body| RunPart::decode(body).is_ok_and(|it| it.encode() == body),
            PartKind::END => <[u8]>::is_empty,
            // Signed objects and zstd frames: the bundle of §11.9 has them.
            _ => continue,
        };
        let bytes = stated.bytes(&format!("part {name}"));
        let (header, used) = PartHeader::parse(&bytes)
            .expect("a part")
            .expect("all in view");
        assert_eq!(header.kind, *kind);
        assert_eq!(header.body_bytes, bytes.len() - used);
        assert!(read(&bytes[used..]), "{name}");
    }
}

#[test]
fn the_deflate_vectors_are_what_zlib_makes_and_open_to_the_tokens_it_chose() {
    let stated = Stated(spec().vectors());
    let plain = format!("{}\n", stated.0["deflate plain"]);
    let mut streams = BTreeSet::new();
    for (name, parameters) in vectors::deflates() {
        let packed = stated.bytes(&format!("deflate {name}"));
        assert_eq!(packed, zlib::deflate(plain.as_bytes(), parameters));
        let bytes = (plain.clone().into_bytes(), packed.len());
        assert_eq!(zlib::inflate(&packed, plain.len()), Some(bytes));

        let (mut parser, mut read) = (Parser::new(), Batch::default());
        let mut at = 0;
        loop {
            let step = parser.advance(&packed[at..], &mut read).expect("sound");
            at += step.consumed;
            assert!(!step.stored && step.status != Status::NeedInput);
            if step.status == Status::End {
                break;
            }
        }
        assert_eq!((at, &read.plain[..]), (packed.len(), plain.as_bytes()));
        let mut found = Batch::default();
        let mut tokenizer = Tokenizer::new(parameters, plain.len() as u64, 0);
        tokenizer.push_new(plain.as_bytes(), &mut found);
        tokenizer.finish(&mut found);
        assert_eq!(found.tokens, read.tokens, "{name}");
        let mut encoder = Encoder::new(parameters, plain.len() as u64);
        let mut again = Vec::new();
        encoder.push(&read.tokens, &read.plain, &mut again);
        encoder.finish(&mut again);
        assert_eq!(again, packed, "{name}");
        streams.insert(packed);
    }
    assert_eq!(streams.len(), 2, "the parameters do not show");
}

#[test]
fn the_bundle_vector_leads_from_one_release_to_the_next() {
    let stated = Stated(spec().vectors());
    let bytes = stated.bytes(BUNDLE);
    assert!(bytes.len() < 2560, "{} bytes", bytes.len());
    let read = read_bundle(&stated.0, &stated.0[BUNDLE]);
    let kinds: Vec<String> = read
        .parts
        .iter()
        .map(|part| part.kind.to_string())
        .collect();
    assert_eq!(
        kinds.join(" "),
        "HEADER HEAD ROOT MANIFEST FILE RECIPE LIST RUN FILE RUN END"
    );
    let part = |kind| {
        let part = read.parts.iter().find(|part| part.kind == kind);
        part.expect("one of each kind")
    };
    let old = SignedManifest::from_bytes(&stated.bytes("bundle old manifest"));
    let old = old.expect("well formed");
    let header = Header::decode(&part(PartKind::HEADER).said).expect("a HEADER part");
    assert_eq!(header.from, old.id());
    let recipe = stated.bytes("bundle old recipe");
    let old_body = old.clone().reopen(&old.id()).expect("a legal body");
    assert_eq!(old_body.files[0].recipe, Some(RecipeId::of(&recipe)));

    // Who holds root 1 believes all of it.
    let root = SignedRoot::from_bytes(&stated.bytes("root")).expect("well formed");
    let feed = FeedId(root.id().0);
    let mut trust = Trust::begin(&feed, root).expect("the fingerprint fits");
    let next = SignedRoot::from_bytes(&part(PartKind::ROOT).said).expect("well formed");
    trust.accept_root(next).expect("the next root");
    let head = SignedHead::from_bytes(&part(PartKind::HEAD).said).expect("well formed");
    let verdict = trust.accept_head(head, vectors::NOW).expect("a good head");
    let new = SignedManifest::from_bytes(&part(PartKind::MANIFEST).opened).expect("well formed");
    let new = trust
        .verify_manifest(new, verdict.head())
        .and_then(Vouched::whole)
        .expect("the head's manifest");
    new.check_replaces(&old_body).expect("a legal successor");

    // Each file hashed to what the manifest says when it was read; these are the ones the text describes.
    let expected = bundle::Content::new();
    assert_eq!(new.files.len(), read.files.len());
    assert_eq!(read.files["lines.hdb.gz"], expected.packed());
    assert_eq!(
        read.files["note.txt"],
        b"This is release 5 of the vectors.\n"
    );
    let plain = &part(PartKind::RUN).opened;
    assert_eq!(plain, bundle::lines((0..42).filter(|n| *n != 7)).as_bytes());
}
