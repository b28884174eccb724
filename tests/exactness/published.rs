//! What publishing makes of files, and what the store gives back of them.

use std::collections::BTreeMap;

use tidecast_engine::master::Feed;
use tidecast_engine::store::Store;
use tidecast_engine::store::explain::{self, Closed, ClosedReason, Opening};
use tidecast_proto::deflate::{Batch, Encoder, Tokenizer};
use tidecast_proto::id::{ListId, ReleaseNumber};
use tidecast_proto::list::List;
use tidecast_proto::manifest::{File, Manifest};
use tidecast_proto::recipe::{Recipe, Segment};

use crate::support::world::World;

const RELEASE: ReleaseNumber = ReleaseNumber(1);

/// A release, published.
pub(crate) struct Published {
    store: Store,
    manifest: Manifest,
    openings: BTreeMap<String, Opening>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All its streams open; how they were made.
    Exact(String),
    /// None does; why.
    Whole(String),
}

impl Published {
    /// Publishes what is laid out in `world`.
    pub(crate) fn new(world: &World) -> Self {
        let ran = world.publish_with(&[]).object();
        assert_eq!(ran["release"], RELEASE.0);
        let feed = Feed::load(&world.path("master")).unwrap();
        let store = Store::open(&feed.store_folder()).unwrap();
        let signed = store.manifest(RELEASE).unwrap().unwrap();
        let manifest = signed.verify_stored(&feed.root, &feed.id).unwrap();
        let explanation = explain::load(store.folder(), RELEASE).unwrap().unwrap();
        let openings = explanation.openings.into_iter();
        Self {
            store,
            manifest,
            openings: openings.map(|file| (file.path, file.opening)).collect(),
        }
    }

    /// What became of the file, which holds `bytes`. Whatever it was, every mirror gets the same bytes.
    #[track_caller]
    pub(crate) fn outcome(&self, path: &str, bytes: &[u8]) -> Outcome {
        let file = self.manifest.file(path).expect(path);
        assert!(self.whole(file) == bytes, "{path} as it is");
        let opening = self.openings.get(path);
        let opening = opening.unwrap_or_else(|| panic!("no stream was found in {path}"));
        match (&opening.opened, opening.closed.as_slice()) {
            (Some(opened), []) => {
                let recipe = file.recipe.expect(path);
                let recipe_bytes = self.store.recipe(&recipe).unwrap().open().unwrap();
                let recipe = Recipe::decode(&recipe_bytes, recipe, file.size).unwrap();
                assert!(self.rebuilt(&recipe) == bytes, "{path} from its content");
                let how = opened
                    .streams
                    .iter()
                    .map(|made| made.parameters.to_string());
                Outcome::Exact(how.collect::<Vec<_>>().join("; "))
            }
            (None, [Closed { reason, .. }]) => {
                assert_eq!(file.recipe, None, "{path}");
                let ClosedReason::Differs { at, nearest, .. } = reason else {
                    panic!("{path} holds a sound stream: {reason:?}");
                };
                assert!(*at < bytes.len() as u64, "{path} has a byte {at}");
                Outcome::Whole(format!("differs at {at} of {} ({nearest})", bytes.len()))
            }
            _ => panic!("{path} holds one stream: {opening:?}"),
        }
    }

    /// As a mirror without an older release gets it.
    fn whole(&self, file: &File) -> Vec<u8> {
        match file.list {
            Some(id) => self.content(id, file.size),
            None => self.chunks(&List::of_small_file(file.hash, file.size).unwrap()),
        }
    }

    fn content(&self, id: ListId, bytes: u64) -> Vec<u8> {
        let list = self.store.list(&id).unwrap().open().unwrap();
        self.chunks(&List::decode(&list, id, bytes).unwrap())
    }

    fn chunks(&self, list: &List) -> Vec<u8> {
        let mut content = Vec::new();
        for entry in list.entries() {
            content.extend(self.store.chunk(&entry.id).unwrap().open().unwrap());
        }
        content
    }

    /// As a mirror makes it that knows the opened content. SPEC §5.5.
    fn rebuilt(&self, recipe: &Recipe) -> Vec<u8> {
        let content = self.content(recipe.opened(), recipe.opened_bytes());
        let mut rest = content.as_slice();
        let mut take = |bytes: u64| rest.split_off(..usize::try_from(bytes).unwrap()).unwrap();
        let mut file = Vec::new();
        for segment in recipe.segments() {
            match segment {
                Segment::Literal(bytes) => file.extend_from_slice(bytes),
                Segment::Plain { bytes } => file.extend_from_slice(take(*bytes)),
                Segment::Deflate(deflate) => {
                    let (parameters, bytes) = (deflate.parameters().unwrap(), deflate.plain_bytes);
                    let mut tokenizer = Tokenizer::new(parameters, bytes, 0);
                    let mut encoder = Encoder::new(parameters, bytes);
                    let mut batch = Batch::default();
                    tokenizer.push_new(take(bytes), &mut batch);
                    tokenizer.finish(&mut batch);
                    encoder.push(&batch.tokens, &batch.plain, &mut file);
                    encoder.finish(&mut file);
                }
            }
        }
        assert!(rest.is_empty());
        file
    }
}
