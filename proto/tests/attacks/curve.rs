//! Row "weak keys": what the curve allows and honest signers never make. The cases are those of "Taming the many
//! `EdDSAs`" (Chalkias, Garillot, Nikolaenko; 2020), made anew by arithmetic: small and mixed order, other spellings,
//! s beyond the group's order, and what only the cofactored equation takes.

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity as _;
use sha2::{Digest as _, Sha512};
use tidecast_proto::codec;
use tidecast_proto::head::SignedHead;
use tidecast_proto::key::{PublicKey, Signature};
use tidecast_proto::root::RootBody;
use tidecast_proto::signed::KeySignature;

use crate::support::{Feed, NOW, envelope, sign};

/// The order of the base point, little-endian (RFC 8032, 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// y = p + `k`, the second spelling of `k`, with the sign of x.
fn beyond_p(k: u8, negative: bool) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed + k;
    bytes[31] = if negative { 0xff } else { 0x7f };
    bytes
}

/// Other spellings of each point of small order: y not reduced, or a sign for x = 0.
fn other_spellings() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = Vec::new();
    // y = 1 and y = -1 have x = 0, which has no sign; y = 0 and y = 1 are also p and p + 1.
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    all.extend([one, minus_one]);
    for k in [0, 1] {
        all.extend([beyond_p(k, false), beyond_p(k, true)]);
    }
    all
}

fn scalar(n: u64) -> Scalar {
    let mut hash = Sha512::new();
    hash.update(n.to_le_bytes());
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(key);
    hash.update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// A key with a part of small order, and what its holder makes of it.
struct Mixed {
    secret: Scalar,
    point: EdwardsPoint,
    bytes: [u8; 32],
}

impl Mixed {
    fn new(n: u64, torsion: usize) -> Self {
        let secret = scalar(n);
        let point = ED25519_BASEPOINT_TABLE * &secret + EIGHT_TORSION[torsion];
        Self {
            secret,
            point,
            bytes: point.compress().to_bytes(),
        }
    }

    fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.bytes).unwrap()
    }

    /// R = r B + T, spelled `spelling` if that is not the canonical one, and s for it.
    fn sign(
        &self,
        r: Scalar,
        torsion: usize,
        spelling: Option<[u8; 32]>,
        message: &[u8],
    ) -> Signed {
        let point = ED25519_BASEPOINT_TABLE * &r + EIGHT_TORSION[torsion];
        let bytes = spelling.unwrap_or_else(|| point.compress().to_bytes());
        let k = challenge(&bytes, &self.bytes, message);
        let s = r + k * self.secret;
        // s B - k A - R: nothing, or of small order, whatever the key.
        let rest = ED25519_BASEPOINT_TABLE * &s - k * self.point - point;
        assert!(rest.is_small_order(), "the cofactored equation holds");
        Signed {
            signature: both(bytes, s.to_bytes()),
            holds: rest == EdwardsPoint::identity(),
        }
    }
}

struct Signed {
    signature: Signature,
    /// Whether the equation holds without the cofactor.
    holds: bool,
}

fn both(r: [u8; 32], s: [u8; 32]) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&r);
    bytes[32..].copy_from_slice(&s);
    Signature(bytes)
}

/// `a` + `b` over 256 bits, unless that is too much.
fn sum(a: [u8; 32], b: [u8; 32]) -> Option<[u8; 32]> {
    let mut carry = 0_u16;
    let mut out = [0; 32];
    for at in 0..32 {
        let here = u16::from(a[at]) + u16::from(b[at]) + carry;
        out[at] = here.to_le_bytes()[0];
        carry = here >> 8;
    }
    (carry == 0).then_some(out)
}

#[test]
fn no_point_of_small_order_is_a_key_however_it_is_spelled() {
    let canonical = EIGHT_TORSION.map(|point| point.compress().to_bytes());
    let all: Vec<[u8; 32]> = canonical.into_iter().chain(other_spellings()).collect();
    assert_eq!(all.len(), 14);
    for bytes in all {
        assert!(PublicKey::from_bytes(bytes).is_err(), "{bytes:02x?}");
        let raw = codec::encode(&bytes);
        assert!(codec::decode_exact::<PublicKey>("key", &raw, 32).is_err());
    }
}

#[test]
fn no_key_has_a_second_spelling() {
    let mut points = 0;
    for k in 0..19 {
        for negative in [false, true] {
            assert!(
                PublicKey::from_bytes(beyond_p(k, negative)).is_err(),
                "p + {k}"
            );
            let mut reduced = [0; 32];
            (reduced[0], reduced[31]) = (k, if negative { 0x80 } else { 0 });
            points += u32::from(PublicKey::from_bytes(reduced).is_ok());
        }
    }
    assert!(
        points > 10,
        "most of these are points, under their own spelling: {points}"
    );
}

#[test]
fn s_must_be_reduced() {
    let key = Mixed::new(1, 0);
    for n in 0..50 {
        let message = [n; 7];
        let signed = key.sign(scalar(100 + u64::from(n)), 0, None, &message);
        assert!(signed.holds && key.public().verifies(&message, &signed.signature));
        let (r, s) = signed.signature.0.split_at(32);
        let (r, mut s): ([u8; 32], [u8; 32]) = (r.try_into().unwrap(), s.try_into().unwrap());
        let mut beyond = 0;
        while let Some(more) = sum(s, ORDER) {
            s = more;
            beyond += 1;
            assert!(
                !key.public().verifies(&message, &both(r, s)),
                "s + {beyond} L"
            );
        }
        assert!(beyond >= 14, "2^256 holds L fifteen times");
        let mut high = signed.signature;
        for bit in 0..3 {
            high.0[63] = signed.signature.0[63] | 0x20 << bit;
            assert!(!key.public().verifies(&message, &high));
        }
    }
}

#[test]
fn an_r_of_small_order_is_refused_even_where_the_equation_holds() {
    let mut held = 0;
    for torsion in 0..8 {
        let key = Mixed::new(2, torsion);
        for (of_r, point) in EIGHT_TORSION.iter().enumerate() {
            let canonical = point.compress().to_bytes();
            let spelled = other_spellings()
                .into_iter()
                .filter(|bytes| decompressed(bytes) == Some(*point));
            for spelling in [canonical].into_iter().chain(spelled) {
                for n in 0..24_u8 {
                    let signed = key.sign(Scalar::ZERO, of_r, Some(spelling), &[n]);
                    held += u32::from(signed.holds);
                    assert!(!key.public().verifies(&[n], &signed.signature));
                }
            }
        }
    }
    assert!(held > 100, "the equation held {held} times");
    println!("R of small order: the equation held {held} times, 0 accepted");
}

fn decompressed(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    curve25519_dalek::edwards::CompressedEdwardsY(*bytes).decompress()
}

#[test]
fn what_only_the_cofactored_equation_takes_is_refused_everywhere_alike() {
    let (mut held, mut only_cofactored) = (0, 0);
    for torsion in 0..8 {
        let key = Mixed::new(3, torsion);
        for of_r in 0..8 {
            for n in 0..24_u8 {
                let signed = key.sign(scalar(500 + u64::from(n)), of_r, None, &[n]);
                // SPEC §1.4 says which equation: a key of mixed order is its holder's own affair.
                assert_eq!(key.public().verifies(&[n], &signed.signature), signed.holds);
                held += u32::from(signed.holds);
                only_cofactored += u32::from(!signed.holds);
            }
        }
    }
    assert!(held > 100 && only_cofactored > 500);
    println!(
        "mixed order: {only_cofactored} cofactored-only signatures refused, {held} that hold without it taken"
    );
}

#[test]
fn a_head_signed_by_no_key_at_all_is_refused() {
    // R and key of small order, s = 0: a signature over nearly everything, if either were allowed.
    let feed = Feed::new();
    let body = codec::encode(&feed.head_body(1, &feed.manifest(1), 1));
    for point in EIGHT_TORSION {
        let weak = point.compress().to_bytes();
        // A key that decodes to nothing cannot be put into a KeySignature; the bytes are written by hand.
        let mut bytes = codec::encode(&body);
        bytes.extend(codec::encode(&1_u64));
        bytes.extend(weak);
        bytes.extend([0; 64]);
        assert!(SignedHead::from_bytes(&bytes).is_err());
        // And no root names such a key.
        let real = feed.next_root();
        let mut raw = codec::encode(&real);
        let named = *real.head_keys[0].as_bytes();
        let at = raw.windows(32).position(|window| *window == named).unwrap();
        raw[at..at + 32].copy_from_slice(&weak);
        assert!(codec::decode_exact::<RootBody>("root", &raw, 16_384).is_err());
        // An honest key's name beside such a signature.
        let signature = KeySignature {
            key: feed.head_keys[0].public(),
            signature: both(weak, [0; 32]),
        };
        let head = SignedHead::from_bytes(&envelope(&body, &[signature])).unwrap();
        assert!(feed.trust().accept_head(head, NOW).is_err());
    }
}

#[test]
fn a_mixed_key_in_a_root_signs_no_head_that_others_would_judge_otherwise() {
    let feed = Feed::new();
    let key = Mixed::new(4, 1);
    let mut root = feed.next_root();
    root.head_keys.push(key.public());
    root.head_keys.sort();
    let mut trust = feed.trust();
    trust
        .accept_root(sign(&root, &feed.root_keys[..2]))
        .unwrap();
    let (mut taken, mut refused) = (0, 0);
    for n in 0..64 {
        let body = codec::encode(&feed.head_body(1 + n, &feed.manifest(1), 1));
        let message = [b"tidecast/head/v1\0", &body[..]].concat();
        let signed = key.sign(scalar(900 + n), 0, None, &message);
        let signature = KeySignature {
            key: key.public(),
            signature: signed.signature,
        };
        let head = SignedHead::from_bytes(&envelope(&body, &[signature])).unwrap();
        assert_eq!(trust.clone().accept_head(head, NOW).is_ok(), signed.holds);
        if signed.holds {
            taken += 1;
        } else {
            refused += 1;
        }
    }
    assert!(taken > 0 && refused > 40, "{taken} {refused}");
}
