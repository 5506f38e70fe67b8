//! openraft's own suite on our log store and state machine.

use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use tidegate_segment::disk::sim::SimDisk;
use tidegate_segment::disk::{Disk, OsDisk};

use super::super::types::{StorageError, StorageIOError, Types};
use super::*;

struct OnSimDisk;
struct OnRealFiles;

impl StoreBuilder<Types, LogStore, StateMachine, ()> for OnSimDisk {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError> {
        let (log, state) = stores(&shared(&SimDisk::new(1))).map_err(|error| StorageIOError::read(&error))?;
        Ok(((), log, state))
    }
}

impl StoreBuilder<Types, LogStore, StateMachine, tempfile::TempDir> for OnRealFiles {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(dir.path().to_owned()));
        let (log, state) = stores(&disk).map_err(|error| StorageIOError::read(&error))?;
        Ok((dir, log, state))
    }
}

#[test]
fn openrafts_suite_passes_on_the_simulated_disk() {
    Suite::test_all(OnSimDisk).expect("the suite passes");
}

#[test]
fn openrafts_suite_passes_on_real_files() {
    Suite::test_all(OnRealFiles).expect("the suite passes");
}
