//! Deletion of what left the state.
//!
//! Owns: the loop that asks the quorum what is due, deletes it and confirms it.
//! Invariants: only what the quorum's garbage list names is deleted, never what a LIST shows; a leaf goes after every
//! object that it lists, so a crash in between loses none of them; what is not there is deleted already.
//! Never: decides that something is garbage; confirms a key that the store did not name as deleted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_common::{Lineage, ObjectId};

use crate::format::{LEAF_HEAD_LEN, Leaf, decode_leaf, leaf_len};
use crate::io::IoError;
use crate::manager::{GarbageKind, GarbageRow, ManagerError};
use crate::storage::Core;

/// The deletion loop. Ends with its task.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        core.park_when_stopped().await;
        if !round(&core).await {
            tokio::time::sleep(Duration::from_millis(core.settings.gc_interval_ms.max(1))).await;
        }
    }
}

/// Deletes one batch of what is due. False when there was nothing, or it did not go well: then it is time to wait.
pub(crate) async fn round(core: &Core) -> bool {
    let due = core.objects.garbage_due(core.settings.gc_batch.max(1));
    let mut rows = Vec::with_capacity(due.len());
    let mut all = true;
    for row in &due {
        match row.kind {
            GarbageKind::Object => rows.push(*row),
            // What it lists first; what fails leaves the leaf for the next round.
            GarbageKind::LeafAndListed => match delete_listed(core, row).await {
                Ok(()) => rows.push(*row),
                Err(error) => {
                    all = false;
                    report(core, &format!("objects of leaf {}: {error}", row.id));
                }
            },
        }
    }
    let keys: Vec<(Lineage, ObjectId)> = rows.iter().map(|row| (row.lineage, row.id)).collect();
    let results = core.background_io.delete(&keys).await;
    tracing::debug!(?results, "garbage deleted");
    let mut deleted: Vec<GarbageRow> = Vec::with_capacity(rows.len());
    for (row, (_, result)) in rows.iter().zip(results) {
        match result {
            Ok(()) => deleted.push(*row),
            Err(error) => {
                all = false;
                report(core, &error.to_string());
            }
        }
    }
    if deleted.is_empty() {
        return false;
    }
    let count = deleted.len();
    match core.objects.confirm_deleted(deleted).await {
        Ok(()) => core.observer.deleted(count),
        Err(ManagerError::Fenced) => core.fence(),
        // They are deleted once more, which is success.
        Err(error) => {
            all = false;
            report(core, &error.to_string());
        }
    }
    all
}

fn report(core: &Core, why: &str) {
    tracing::warn!(why, "garbage is not deleted yet");
    core.observer.delete_failed(why);
}

async fn delete_listed(core: &Core, row: &GarbageRow) -> Result<(), IoError> {
    let leaf = match read_leaf(core, row).await {
        Ok(leaf) => leaf,
        // It goes last: all that it listed is gone.
        Err(IoError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let keys: Vec<(Lineage, ObjectId)> = leaf.rows.iter().map(|row| (row.lineage, row.id)).collect();
    core.background_io.delete(&keys).await.into_iter().try_for_each(|(_, result)| result)
}

/// A garbage row does not say how long the leaf is: its first bytes do.
async fn read_leaf(core: &Core, row: &GarbageRow) -> Result<Leaf, IoError> {
    let head = 0..LEAF_HEAD_LEN as u64;
    let len = core.background_io.get_verified(row.id, row.lineage, head, leaf_len).await?;
    let decode = |bytes: &Bytes| decode_leaf(bytes);
    core.background_io.get_verified(row.id, row.lineage, 0..len, decode).await
}
