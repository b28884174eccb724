//! ClamAV's own signatures: a base-64 number, RSA, and two paddings.
//!
//! Public keys and public data only, so nothing here needs to run in constant time.

use alloc::string::String;
use alloc::vec::Vec;

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

/// Longest signature text read, in characters. The last 350 bytes of a cdiff are where clients look for
/// it (`libclamav_rust/src/cdiff.rs`); a 2,048-bit number has at most 342.
pub const DSIG_CHARS_MAX: usize = 350;

/// Digits of the number encoding, least significant first (`libclamav/dsig.c`, `cli_ndecode`).
const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";

/// Length of the padded message, of the digest and of the salt in bytes.
const PADDED_BYTES: usize = 256;
const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 32;
const MASKED_BYTES: usize = PADDED_BYTES - HASH_BYTES - 1;

/// Why a signature does not hold.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DsigError {
    #[error("the signature is empty")]
    Empty,
    #[error("the signature has {chars} characters, at most {DSIG_CHARS_MAX} are read")]
    TooLong { chars: usize },
    #[error("the signature's character {at} is byte {byte:#04x}, not one of a-z A-Z 0-9 + /")]
    Digit { at: usize, byte: u8 },
    /// The same signature plus a multiple of the modulus; no signer writes that.
    #[error("the signature is not smaller than the key's modulus")]
    OutOfRange,
    /// Another file's signature, another key's, or an edited one: these cannot be told apart.
    #[error("the signature is not this key's, or not over these bytes")]
    Mismatch,
}

/// An RSA public key of ClamAV's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    /// Modulus in decimal digits, as ClamAV's sources state it.
    modulus: &'static str,
    exponent: u32,
}

impl PublicKey {
    /// Signs the MD5 in a `.cvd` header; 1,024 bits. `CLI_NSTR`, `CLI_ESTR` of `libclamav/dsig.c`.
    pub const OUTER: Self = Self::new(
        "1186409955516453426030700016584531897515277744120277437465994057432431426074641447673610\
         6064065584474976078889002228342492276248891756555100246777110966959818941043469903453223\
         2228621591089508178591428456220796841621637175567590476666928698770143328137383952820383\
         197532047771780196576957695822641224262693037",
        100_001_027,
    );

    /// Signs `.info`; 2,047 bits. `INFO_NSTR`, `INFO_ESTR` of `libclamav/readdb.c`.
    pub const INFO: Self = Self::new(
        "1108889498304854547365955610662719492392894179179504762059165869741358104332271591217249\
         6806525381055880964520618400224333320534660299233983755341740679502866829909679955734391\
         3926683783612215242053966310901051516412708572770803107343209516537005089417174191687239\
         4250789070290470270758745162169105075430785038339986534648720379846417853739221140278648\
         1359824461197231102895415093770394216666324484593935762408468516826633192140826667923494\
         8220458053478099328484548458869717064243605586678627758760720594377033653802091016977385\
         7751547693508546945527999411314597799408461832848215101314239337331633751997724473274797\
         7",
        100_002_049,
    );

    /// Signs cdiffs; 2,047 bits. `PSS_NSTR`, `PSS_ESTR` of `libclamav_rust/src/cdiff.rs`.
    pub const CDIFF: Self = Self::new(
        "1478390587407746709026222851655791757025459963837620353203198921410555284726968748977197\
         5792123442185817287694951949800908791527542017115600501303394778618535864845235700041590\
         0563182301024496122174585490160893133065913885907907965158196541023207257123008223563487\
         2401123265483750324173617790778419870083444068112472706054003575469965810589505009657622\
         6753008596881698828185652424901921668758326578462003247906470982092298106789657211905488\
         9862810783463614695244848295595608862271980919954984406766396398304635932113860550653602\
         8842239405399813445862371254068329403495381841245836219811781199000602198984418072101094\
         7",
        100_002_053,
    );

    /// A key whose modulus has at most 2,048 bits.
    pub(super) const fn new(modulus: &'static str, exponent: u32) -> Self {
        Self { modulus, exponent }
    }

    /// Whether `dsig` signs `md5`: the recovered number must be the 16 bytes and nothing more.
    ///
    /// RSA without padding (`libclamav/dsig.c`, `cli_versig`). Clients in which a leading zero byte of the
    /// MD5 goes missing refuse one good signature in 256; signers draw again, and so we need not.
    ///
    /// # Errors
    /// [`DsigError`]: the signer of the file is at fault, or whoever edited it.
    pub fn verify_md5(&self, md5: &[u8; 16], dsig: &str) -> Result<(), DsigError> {
        if self.recover(dsig)? == BigUint::from_bytes_be(md5) {
            Ok(())
        } else {
            Err(DsigError::Mismatch)
        }
    }

    /// Whether `dsig` signs a text with SHA-256 `digest`: RSASSA-PSS, MGF1 over SHA-256, 32 bytes of salt.
    ///
    /// RFC 8017 section 9.1.2 with ClamAV's two liberties (`libclamav/dsig.c`, `cli_versig2`), kept so
    /// that both judge alike: the top bit alone is cleared, and zeros before the salt's 0x01 are not
    /// asked for. Neither helps a forger, who must still meet a SHA-256 sum.
    ///
    /// # Errors
    /// [`DsigError`]: the signer of the file is at fault, or whoever edited it.
    pub fn verify_pss(&self, digest: &[u8; 32], dsig: &str) -> Result<(), DsigError> {
        let number = self.recover(dsig)?.to_bytes_be();
        let Some(zeros) = PADDED_BYTES.checked_sub(number.len()) else {
            return Err(DsigError::Mismatch);
        };
        let mut padded = [0; PADDED_BYTES];
        padded[zeros..].copy_from_slice(&number);
        if pss_matches(&padded, digest) {
            Ok(())
        } else {
            Err(DsigError::Mismatch)
        }
    }

    /// `dsig^exponent mod modulus`.
    fn recover(&self, dsig: &str) -> Result<BigUint, DsigError> {
        let signature = decode_number(dsig)?;
        let modulus = self.modulus();
        if signature >= modulus {
            return Err(DsigError::OutOfRange);
        }
        Ok(signature.modpow(&BigUint::from(self.exponent), &modulus))
    }

    fn modulus(&self) -> BigUint {
        // Zero where the constant had another character than a digit, which every verification of
        // genuine data would show: then no signature is in range.
        BigUint::parse_bytes(self.modulus.as_bytes(), 10).unwrap_or_default()
    }
}

/// Reads a number in ClamAV's base 64: digit `i` counts `64^i`, no padding.
///
/// Zero digits at the end, the most significant ones, are taken as clients take them: so a signature has
/// several spellings.
///
/// # Errors
/// `Empty`, `TooLong` (nothing is computed then) or `Digit`.
pub fn decode_number(text: &str) -> Result<BigUint, DsigError> {
    if text.is_empty() {
        return Err(DsigError::Empty);
    }
    if text.len() > DSIG_CHARS_MAX {
        return Err(DsigError::TooLong { chars: text.len() });
    }
    let mut digits = Vec::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        digits.push(match byte {
            b'a'..=b'z' => byte - b'a',
            b'A'..=b'Z' => byte - b'A' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(DsigError::Digit { at, byte }),
        });
    }
    // Absent: `None`, because every digit is below the radix.
    Ok(BigUint::from_radix_le(&digits, 64).unwrap_or_default())
}

/// Writes a number so that [`decode_number`] reads it back, without leading zero digits.
#[must_use]
pub fn encode_number(number: &BigUint) -> String {
    number
        .to_radix_le(64)
        .into_iter()
        .map(|digit| char::from(ALPHABET[usize::from(digit & 63)]))
        .collect()
}

/// Whether `padded` is a PSS encoding of `digest`.
fn pss_matches(padded: &[u8; PADDED_BYTES], digest: &[u8; 32]) -> bool {
    let (masked, rest) = padded.split_at(MASKED_BYTES);
    let (hash, trailer) = rest.split_at(HASH_BYTES);
    if trailer != [0xbc] {
        return false;
    }
    let mut data = mask(hash);
    for (byte, masked) in data.iter_mut().zip(masked) {
        *byte ^= masked;
    }
    data[0] &= 0x7f;
    let Some(one) = data.iter().position(|byte| *byte == 1) else {
        return false;
    };
    let salt = &data[one + 1..];
    if salt.len() != SALT_BYTES {
        return false;
    }
    let mut sum = Sha256::new();
    sum.update([0; 8]);
    sum.update(digest);
    sum.update(salt);
    sum.finalize().as_slice() == hash
}

/// MGF1 over SHA-256 (RFC 8017, B.2.1), as long as the masked part of the padded message.
fn mask(seed: &[u8]) -> [u8; MASKED_BYTES] {
    let mut mask = [0; MASKED_BYTES];
    for (counter, piece) in (0_u32..).zip(mask.chunks_mut(HASH_BYTES)) {
        let mut sum = Sha256::new();
        sum.update(seed);
        sum.update(counter.to_be_bytes());
        piece.copy_from_slice(&sum.finalize()[..piece.len()]);
    }
    mask
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// Private half of a test key.
    pub(in crate::database) struct SigningKey {
        pub(in crate::database) public: PublicKey,
        pub(in crate::database) private_exponent: &'static str,
    }

    impl SigningKey {
        fn raise(&self, padded: &[u8]) -> String {
            let exponent = BigUint::parse_bytes(self.private_exponent.as_bytes(), 10).unwrap();
            let message = BigUint::from_bytes_be(padded);
            encode_number(&message.modpow(&exponent, &self.public.modulus()))
        }

        /// RSA without padding.
        pub(in crate::database) fn sign_md5(&self, md5: &[u8; 16]) -> String {
            self.raise(md5)
        }

        /// PSS with a fixed salt, which costs a test nothing.
        pub(in crate::database) fn sign_pss(&self, digest: &[u8; 32]) -> String {
            self.raise(&pad(digest, &[0x5a; 32], 0))
        }
    }

    /// PSS encoding whose top two bits are clear, as a 2,047-bit modulus needs. `junk` is put where
    /// the zeros before the salt belong.
    fn pad(digest: &[u8; 32], salt: &[u8], junk: u8) -> [u8; PADDED_BYTES] {
        let mut sum = Sha256::new();
        sum.update([0; 8]);
        sum.update(digest);
        sum.update(salt);
        let hash = sum.finalize();
        let mut data = [junk; MASKED_BYTES];
        data[MASKED_BYTES - salt.len() - 1] = 1;
        data[MASKED_BYTES - salt.len()..].copy_from_slice(salt);
        let mut padded = [0xbc; PADDED_BYTES];
        for (i, byte) in mask(&hash).into_iter().enumerate() {
            padded[i] = data[i] ^ byte;
        }
        padded[0] &= 0x3f;
        padded[MASKED_BYTES..MASKED_BYTES + HASH_BYTES].copy_from_slice(&hash);
        padded
    }

    const DIGEST: [u8; 32] = [7; 32];

    #[test]
    fn numbers_are_little_endian_base_64() {
        for (text, value) in [
            ("a", 0_u32),
            ("b", 1),
            ("/", 63),
            ("ab", 64),
            ("ba", 1),
            ("Z9+", 51 + 61 * 64 + 62 * 4096),
        ] {
            assert_eq!(decode_number(text), Ok(BigUint::from(value)), "{text}");
        }
        assert_eq!(encode_number(&BigUint::from(0_u32)), "a");
        assert_eq!(encode_number(&BigUint::from(64_u32)), "ab");
    }

    #[test]
    fn text_that_is_no_number_is_named() {
        assert_eq!(decode_number(""), Err(DsigError::Empty));
        assert_eq!(
            decode_number("ab="),
            Err(DsigError::Digit { at: 2, byte: b'=' })
        );
        assert_eq!(
            decode_number("a b"),
            Err(DsigError::Digit { at: 1, byte: b' ' })
        );
        assert_eq!(
            decode_number("é"),
            Err(DsigError::Digit { at: 0, byte: 0xc3 })
        );
        let long = "a".repeat(DSIG_CHARS_MAX + 1);
        assert_eq!(decode_number(&long), Err(DsigError::TooLong { chars: 351 }));
        assert!(decode_number(&long[1..]).is_ok());
    }

    #[test]
    fn the_three_keys_have_the_lengths_clamav_states() {
        let bits = |key: PublicKey| key.modulus().bits();
        assert_eq!(bits(PublicKey::OUTER), 1024);
        assert_eq!(bits(PublicKey::INFO), 2047);
        assert_eq!(bits(PublicKey::CDIFF), 2047);
    }

    #[test]
    fn a_raw_signature_holds_for_its_md5_alone() {
        let key = super::super::samples::OUTER;
        let md5 = [0xab; 16];
        let dsig = key.sign_md5(&md5);
        assert_eq!(key.public.verify_md5(&md5, &dsig), Ok(()));
        assert_eq!(
            key.public.verify_md5(&[0xac; 16], &dsig),
            Err(DsigError::Mismatch)
        );
        assert_eq!(
            PublicKey::OUTER.verify_md5(&md5, &dsig),
            Err(DsigError::Mismatch)
        );
    }

    #[test]
    fn leading_zero_bytes_of_an_md5_are_no_reason_to_refuse() {
        let key = super::super::samples::OUTER;
        let mut md5 = [9; 16];
        md5[0] = 0;
        assert_eq!(key.public.verify_md5(&md5, &key.sign_md5(&md5)), Ok(()));
    }

    /// Clients once compared the low 16 bytes only; then anybody can forge.
    #[test]
    fn a_recovered_number_longer_than_an_md5_is_refused() {
        let key = super::super::samples::OUTER;
        let mut long = [3; 17];
        long[0] = 1;
        let dsig = key.raise(&long);
        assert_eq!(
            key.public.verify_md5(&[3; 16], &dsig),
            Err(DsigError::Mismatch)
        );
    }

    #[test]
    fn a_signature_plus_the_modulus_is_refused() {
        let key = super::super::samples::OUTER;
        let md5 = [1; 16];
        let number = decode_number(&key.sign_md5(&md5)).unwrap() + key.public.modulus();
        assert_eq!(
            key.public.verify_md5(&md5, &encode_number(&number)),
            Err(DsigError::OutOfRange)
        );
    }

    #[test]
    fn a_pss_signature_holds_for_its_digest_and_key_alone() {
        let key = super::super::samples::INFO;
        let dsig = key.sign_pss(&DIGEST);
        assert_eq!(key.public.verify_pss(&DIGEST, &dsig), Ok(()));
        assert_eq!(
            key.public.verify_pss(&[8; 32], &dsig),
            Err(DsigError::Mismatch)
        );
        assert_eq!(
            super::super::samples::CDIFF
                .public
                .verify_pss(&DIGEST, &dsig),
            Err(DsigError::Mismatch)
        );
        assert_eq!(
            PublicKey::INFO.verify_pss(&DIGEST, &dsig),
            Err(DsigError::Mismatch)
        );
    }

    #[test]
    fn pss_needs_a_salt_of_32_bytes_and_the_trailer() {
        assert!(pss_matches(&pad(&DIGEST, &[0x5a; 32], 0), &DIGEST));
        assert!(pss_matches(&pad(&DIGEST, &[1; 32], 0), &DIGEST));
        for salt in [0, 1, 31, 33, 64] {
            let salt = [0x5a; 64][..salt].to_vec();
            assert!(
                !pss_matches(&pad(&DIGEST, &salt, 0), &DIGEST),
                "{} bytes",
                salt.len()
            );
        }
        let mut trailer = pad(&DIGEST, &[0x5a; 32], 0);
        trailer[255] = 0xbd;
        assert!(!pss_matches(&trailer, &DIGEST));
    }

    #[test]
    fn pss_judges_the_bytes_before_the_salt_as_clients_do() {
        assert!(pss_matches(&pad(&DIGEST, &[0x5a; 32], 2), &DIGEST));
        assert!(!pss_matches(&pad(&DIGEST, &[0x5a; 32], 1), &DIGEST));
    }

    #[test]
    fn any_flipped_bit_of_a_pss_encoding_but_the_top_one_is_refused() {
        let good = pad(&DIGEST, &[0x5a; 32], 0);
        // The last 66 bytes are the 0x01, salt, hash and trailer; before them clients look for a 0x01 only.
        for bit in (PADDED_BYTES - 66) * 8..PADDED_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!pss_matches(&bad, &DIGEST), "bit {bit}");
        }
        let mut top = good;
        top[0] ^= 0x80;
        assert!(pss_matches(&top, &DIGEST));
    }

    #[test]
    fn an_unsigned_file_is_refused_by_every_key() {
        for key in [PublicKey::OUTER, PublicKey::INFO, PublicKey::CDIFF] {
            for dsig in ["X", "a", "b"] {
                assert_eq!(key.verify_md5(&[0xff; 16], dsig), Err(DsigError::Mismatch));
                assert_eq!(key.verify_pss(&DIGEST, dsig), Err(DsigError::Mismatch));
            }
        }
        assert!(DsigError::Mismatch.to_string().contains("not this key's"));
    }

    proptest! {
        #[test]
        fn what_encodes_decodes_back(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let number = BigUint::from_bytes_be(&bytes);
            prop_assert_eq!(decode_number(&encode_number(&number)), Ok(number));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,400}") {
            let _ = decode_number(&text);
        }

        #[test]
        fn arbitrary_encodings_never_panic_nor_match(bytes in prop::collection::vec(any::<u8>(), 256)) {
            let padded: [u8; 256] = bytes.try_into().unwrap();
            prop_assert!(!pss_matches(&padded, &DIGEST));
        }
    }
}
