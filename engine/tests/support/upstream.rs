//! What every upstream of a test does well, whatever else it does wrong.

use quinn::{Connection, RecvStream, SendStream};
use tidecast_engine::clock::Clock;
use tidecast_engine::master::{Feed, HeadSigner};
use tidecast_engine::store::{Store, StoredBytes};
use tidecast_proto::id::RootVersion;
use tidecast_proto::wire::{FrameType, ObjectName, frame};

use super::World;

/// Hands every question that comes to `endpoint` to `answer`, each on a task of its own.
pub(crate) fn serve<F>(
    endpoint: quinn::Endpoint,
    answer: impl Fn(Connection, SendStream, RecvStream) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else {
                    return;
                };
                while let Ok((send, receive)) = connection.accept_bi().await {
                    tokio::spawn(answer(connection.clone(), send, receive));
                }
            });
        }
    });
}

/// A head of the newest release, as this feed's master signs it.
pub(crate) fn newest_head(world: &World) -> Vec<u8> {
    let feed = Feed::load(&world.master_state()).unwrap();
    let store = Store::open(&feed.store_folder()).unwrap();
    let newest = store.newest().unwrap();
    let manifest = store.manifest(newest.release).unwrap().unwrap();
    let manifest = manifest.verify_stored(&feed.root, &feed.id).unwrap();
    HeadSigner::open(&world.master_state(), feed.head_key().unwrap())
        .unwrap()
        .sign(feed.id, &feed.root, &manifest, world.clock.now())
        .unwrap()
        .bytes
}

/// That there is no such thing.
pub(crate) fn absent() -> Vec<u8> {
    frame(FrameType::ABSENT, &[])
}

/// The answer to who asks for a root.
pub(crate) fn root(roots: &[Vec<u8>], version: RootVersion) -> Vec<u8> {
    let index = usize::try_from(version.0).unwrap() - 1;
    let root = roots.get(index);
    root.map_or_else(absent, |root| frame(FrameType::ROOT, root))
}

/// An object as it lies in `store`.
pub(crate) fn stored(store: &Store, name: ObjectName) -> Option<StoredBytes> {
    match name {
        ObjectName::Manifest(id) => store.manifest_bytes_packed(&id),
        ObjectName::List(id) => store.list(&id),
        ObjectName::Recipe(id) => store.recipe(&id),
    }
}
