//! Row "wrong domain": a signature over one kind of object, or over anything else its key may ever sign, is worth
//! nothing for another.

use ed25519_dalek::Signer as _;
use tidecast_proto::codec;
use tidecast_proto::head::SignedHead;
use tidecast_proto::key::{SecretKey, Signature};
use tidecast_proto::manifest::SignedManifest;
use tidecast_proto::receipt::SignedReceipt;
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::signed::KeySignature;

use crate::support::{Feed, NOW, envelope, keys, newer, publics, sign, signature};

const KINDS: [&str; 4] = ["root", "manifest", "head", "receipt"];

/// A feed where one key may sign everything, so that nothing but the domain tells its signatures apart.
struct OneKey {
    feed: Feed,
    key: SecretKey,
}

impl OneKey {
    fn new() -> Self {
        let key = keys(&[77]).remove(0);
        let mut feed = Feed::new();
        let mut body: RootBody = feed.next_root();
        body.version.0 = 1;
        body.root_keys = publics(std::slice::from_ref(&key));
        (
            body.root_threshold,
            body.release_threshold,
            body.added_threshold,
        ) = (1, 1, 1);
        body.release_keys = body.root_keys.clone();
        body.head_keys = body.root_keys.clone();
        feed.first = sign(&body, std::slice::from_ref(&key));
        let one = || vec![key.clone()];
        (feed.root_keys, feed.release_keys, feed.head_keys, feed.node) =
            (one(), one(), one(), key.clone());
        Self { feed, key }
    }

    fn body(&self, kind: &str) -> Vec<u8> {
        match kind {
            "root" => codec::encode(&self.feed.next_root()),
            "manifest" => codec::encode(&self.feed.manifest_body(1)),
            "head" => codec::encode(&self.feed.head_body(1, &self.feed.manifest(1), 1)),
            _ => codec::encode(&self.feed.receipt_body()),
        }
    }

    /// Offers bytes as an object of `kind`.
    fn takes(&self, kind: &str, bytes: &[u8]) -> bool {
        let feed = &self.feed;
        let mut trust = feed.trust();
        match kind {
            "root" => {
                SignedRoot::from_bytes(bytes).is_ok_and(|root| trust.accept_root(root).is_ok())
            }
            "head" => {
                SignedHead::from_bytes(bytes).is_ok_and(|head| trust.accept_head(head, NOW).is_ok())
            }
            "receipt" => SignedReceipt::from_bytes(bytes)
                .is_ok_and(|receipt| receipt.verify(&self.key.public(), &feed.id()).is_ok()),
            _ => {
                let head = newer(&mut trust, feed.head(1, 1));
                SignedManifest::from_bytes(bytes)
                    .is_ok_and(|manifest| trust.verify_manifest(manifest, &head).is_ok())
            }
        }
    }

    fn signed_raw(&self, message: &[u8]) -> KeySignature {
        let signature = Signature(self.key.as_dalek().sign(message).to_bytes());
        KeySignature {
            key: self.key.public(),
            signature,
        }
    }
}

#[test]
fn every_kinds_signature_is_refused_on_every_others_bytes() {
    let feed = OneKey::new();
    let mut tried = 0;
    for of in KINDS {
        let body = feed.body(of);
        for domain in KINDS {
            for place in KINDS {
                let bytes = envelope(&body, &[signature(&feed.key, domain, &body)]);
                let right = of == domain && of == place;
                assert_eq!(
                    feed.takes(place, &bytes),
                    right,
                    "a {of} signed as {domain}, offered as {place}"
                );
                tried += 1;
            }
        }
    }
    println!("{tried} combinations of body, domain and place; only the fitting ones are taken");
}

#[test]
fn a_signature_over_other_bytes_of_the_same_object_is_refused() {
    let feed = OneKey::new();
    for kind in KINDS {
        let body = feed.body(kind);
        let hash = blake3::hash(&body);
        let whole = envelope(&body, &[signature(&feed.key, kind, &body)]);
        // As TLS 1.3 has a node sign its handshake (RFC 8446, 4.4.3).
        let tls = [
            &[0x20; 64][..],
            b"TLS 1.3, client CertificateVerify\0",
            hash.as_bytes(),
        ]
        .concat();
        let messages: Vec<Vec<u8>> = vec![
            body.clone(),
            hash.as_bytes().to_vec(),
            whole,
            [b"tidecast/", kind.as_bytes(), b"/v2\0", &body].concat(),
            [b"tidecast/", kind.as_bytes(), b"/v1", &body].concat(),
            [b"tidecast/", kind.as_bytes(), b"/v1\0\0", &body].concat(),
            [b"TIDECAST/", kind.as_bytes(), b"/v1\0", &body].concat(),
            [b"tidecast/", kind.as_bytes(), b"/v1\0", hash.as_bytes()].concat(),
            [b"tidecast/", kind.as_bytes(), b"/v1\0", &body[1..]].concat(),
            [b"tidecast/", kind.as_bytes(), b"/v1\0"].concat(),
            tls,
            Vec::new(),
        ];
        for message in messages {
            let bytes = envelope(&body, &[feed.signed_raw(&message)]);
            assert!(
                !feed.takes(kind, &bytes),
                "{kind} signed over {message:02x?}"
            );
        }
        let right = [b"tidecast/", kind.as_bytes(), b"/v1\0", &body].concat();
        assert!(feed.takes(kind, &envelope(&body, &[feed.signed_raw(&right)])));
    }
}
