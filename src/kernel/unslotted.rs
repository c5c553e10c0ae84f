//! Numbers of blocks that are not in slots.

use super::skel::types;

/// Blocks of threads that found no free slot since counting began. Totals only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnslottedBlocks {
    /// Blocks put into task storage.
    pub stored: u64,
    /// Blocks put into the spare map, because there was no memory for task storage.
    pub spare: u64,
    /// Blocks of either kind whose threads have ended.
    pub ended: u64,
}

impl UnslottedBlocks {
    pub(super) fn of(raw: &types::losses) -> Self {
        Self {
            stored: raw.stored,
            spare: raw.spared,
            ended: raw.outside_gone,
        }
    }

    /// Number of blocks whose threads are alive.
    pub(super) fn living(self) -> u64 {
        (self.stored + self.spare).saturating_sub(self.ended)
    }
}
