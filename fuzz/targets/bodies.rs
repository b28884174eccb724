//! Bodies of signed objects without the signatures that would keep the fuzzer out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::{
    codec, head::HeadBody, manifest::ManifestBody, receipt::ReceiptBody, root::RootBody,
    signed::Body,
};

fn read<T: Body>(bytes: &[u8]) -> Option<T> {
    let body: T = codec::decode_exact(T::NAME, bytes, T::BYTES_MAX).ok()?;
    assert_eq!(codec::encode(&body), bytes);
    body.check().ok()?;
    Some(body)
}

fuzz_target!(|bytes: &[u8]| {
    read::<RootBody>(bytes);
    read::<HeadBody>(bytes);
    read::<ReceiptBody>(bytes);
    if let Some(manifest) = read::<ManifestBody>(bytes) {
        for file in &manifest.files {
            assert_eq!(manifest.file(file.path.as_str()), Some(file));
        }
        assert!(manifest.check_successor_of(&manifest).is_ok());
    }
});
