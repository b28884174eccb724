//! What a mirror says of itself after each switch and each hour. SPEC §3.5.

use tidecast_proto::receipt::{ReceiptBody, ServingState, SignedReceipt};
use tidecast_proto::wire::{FrameType, frame};

use super::Mirror;

impl Mirror {
    /// What to tell the upstream about the docroot.
    pub(super) async fn receipt(&self) -> Option<Vec<u8>> {
        let live = self
            .disk
            .run(|disk| disk.docroot.current().cloned())
            .await
            .ok()??;
        let body = ReceiptBody {
            feed: self.feed,
            release: live.release(),
            manifest: live.manifest().id(),
            state: if self.stale_since_ms().is_some() {
                ServingState::STALE
            } else if self.hold.now().is_some() {
                ServingState::HELD
            } else {
                ServingState::LIVE
            },
            switched: live.switched(),
            issued: self.clock.now(),
            extensions: Vec::new(),
        };
        let shown = self.present().shown;
        let signed = SignedReceipt::sign(&body, &[&self.keys.shown(shown)]).ok()?;
        Some(frame(FrameType::RECEIPT, &signed.to_bytes()))
    }
}
