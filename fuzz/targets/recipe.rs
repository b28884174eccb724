//! Recipes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::{
    id::RecipeId,
    limits,
    recipe::{Recipe, Segment},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(recipe) = Recipe::decode_any(bytes, RecipeId::of(bytes)) else {
        return;
    };
    assert_eq!(recipe.encode(), bytes);
    assert!(recipe.opened_bytes() <= limits::OPENED_BYTES as u64);
    let made: u64 = recipe
        .segments()
        .iter()
        .map(|segment| match segment {
            Segment::Literal(bytes) => bytes.len() as u64,
            Segment::Plain { bytes } => *bytes,
            Segment::Deflate(deflate) => {
                deflate.parameters().unwrap();
                deflate.packed_bytes
            }
        })
        .fold(0, u64::saturating_add);
    assert_eq!(made, recipe.file_bytes());
    let again = Recipe::decode(bytes, recipe.id(), made);
    assert_eq!(again, Ok(recipe));
});
