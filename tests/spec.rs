//! SPEC.md against the code: limits, numbers, sections that comments cite, and every test vector, byte for byte.
//!
//! After a change of the format on purpose, `UPDATE_SPEC=1 cargo test -p tidecast --test spec` writes the vectors
//! of SPEC.md §11 and the fuzz seeds anew (tests that read them meanwhile may fail: run again without it); look at
//! the difference before you commit it. Under `CI` that is refused: a format must not change unseen. The bundle of
//! §11.9 is compared by what its frames open to, for zstd's next version may pack the same content into other bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidecast_proto::manifest::SignedManifest;
use tidecast_proto::name::{NameError, ReleasePath};

#[path = "spec/bundle.rs"]
mod bundle;
#[path = "spec/cutting.rs"]
mod cutting;
#[path = "spec/decoding.rs"]
mod decoding;
#[path = "spec/metrics.rs"]
mod metrics;
#[path = "spec/numbers.rs"]
mod numbers;
#[path = "spec/page.rs"]
mod page;
#[path = "spec/seeds.rs"]
mod seeds;
#[path = "spec/vectors.rs"]
mod vectors;
#[path = "../proto/tests/deflate/support/zlib.rs"]
mod zlib;

use bundle::Reader;
use page::{Page, unhex};
use vectors::Vectors;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn spec() -> Page {
    Page::read(&top().join("SPEC.md"))
}

#[test]
fn names_are_judged_as_the_table_says() {
    let rows = spec().table("11.7", "name | verdict");
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let name = page::spelled(&row[0]);
        let verdict = match ReleasePath::new(name.clone()) {
            Ok(_) => "accepted",
            Err(NameError::Empty) => "empty",
            Err(NameError::Character(_)) => "character",
            Err(NameError::Dot) => "dot",
            Err(NameError::Local) => "local",
            Err(NameError::Timestamp) => "timestamp",
            Err(NameError::Long(_)) => "long",
            Err(NameError::Deep) => "deep",
            Err(_) => "another reason",
        };
        assert_eq!(verdict, row[1], "{name:?}");
    }
}

#[test]
fn every_section_the_code_cites_exists() {
    let sections = spec().sections();
    let mut files = Vec::new();
    for folder in ["proto", "engine", "cli", "tests", "fuzz/targets"] {
        page::rust_files(&top().join(folder), &mut files);
    }
    let mut cited = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        for section in page::citations(&text) {
            cited += 1;
            let chapter = section.split('.').next().expect("not empty");
            assert!(sections.contains(chapter), "{}: §{section}", file.display());
            // A chapter without sections is not written yet.
            let written = sections
                .iter()
                .any(|s| s.starts_with(&format!("{chapter}.")));
            assert!(
                !written || sections.contains(&section),
                "{}: §{section}",
                file.display()
            );
        }
    }
    assert!(cited > 40, "{cited} citations");
}

#[test]
fn every_vector_is_made_again_byte_for_byte() {
    let made = Vectors::make();
    let path = top().join("SPEC.md");
    if std::env::var_os("UPDATE_SPEC").is_some() {
        assert!(
            std::env::var_os("CI").is_none(),
            "vectors are not rewritten in CI"
        );
        let page = Page::read(&path).with_vectors(&made.texts);
        fs::write(&path, page).expect("SPEC.md is writable");
        made.write_seeds(&top().join("fuzz/seeds"));
    }
    let stated = Page::read(&path).vectors();
    let names = |vectors: &BTreeMap<String, String>| vectors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&stated), names(&made.texts));
    for (name, text) in &made.texts {
        // Another version of zstd may pack other bytes of the same content.
        if name == BUNDLE {
            assert!(read_bundle(&stated, text).parts == read_bundle(&stated, &stated[name]).parts);
        } else {
            assert_eq!(&stated[name], text, "vector {name}");
        }
    }
}

/// The vectors as SPEC.md has them, whoever made them.
struct Stated(BTreeMap<String, String>);

impl Stated {
    fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(&self.0[name])
    }
}

/// The vector that holds zstd frames: it is compared by what they open to.
const BUNDLE: &str = "bundle";

fn read_bundle(stated: &BTreeMap<String, String>, bundle: &str) -> Reader {
    let old = unhex(&stated["bundle old manifest"]);
    let old = SignedManifest::from_bytes(&old).expect("well formed");
    Reader::read(&old, &unhex(bundle))
}

#[test]
fn the_fuzzers_begin_with_the_vectors() {
    let stated_bundle = Stated(spec().vectors()).bytes(BUNDLE);
    for (path, made) in &Vectors::make().seeds {
        let file = top().join("fuzz/seeds").join(path);
        let kept = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let expected = match path.as_str() {
            "parts/bundle" | "bundle/bundle" => &stated_bundle,
            _ => made,
        };
        assert_eq!(&kept, expected, "{}", file.display());
    }
}
