//! The configuration that holds now: what the process was started with, under what the quorum says.
//!
//! Invariants: a reader sees one whole configuration; dynamic values that do not fit what the process was started with
//! (it was restarted with other settings, say) are left out with an error in the log, and never stop the broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tidegate_common::BrokerId;
use tidegate_metadata::Image;

use crate::config::Config;

pub struct LiveConfig {
    node: BrokerId,
    started_with: Arc<Config>,
    now: ArcSwap<Config>,
    /// Versions of the cluster's and this broker's dynamic configs that `now` is made of.
    seen: Mutex<(u64, u64)>,
}

impl LiveConfig {
    #[must_use]
    pub fn new(node: BrokerId, started_with: Arc<Config>, image: &Image) -> Arc<Self> {
        let now = ArcSwap::new(Arc::clone(&started_with));
        let live = Arc::new(Self { node, started_with, now, seen: Mutex::new((0, 0)) });
        live.follow(image);
        live
    }

    #[must_use]
    pub fn load(&self) -> Arc<Config> {
        self.now.load_full()
    }

    /// What the process was started with.
    #[must_use]
    pub fn started_with(&self) -> &Arc<Config> {
        &self.started_with
    }

    /// Takes the dynamic configs of this image. Whether anything changed.
    pub fn follow(&self, image: &Image) -> bool {
        let rows = [None, Some(self.node)].map(|broker| image.broker_configs(broker));
        let versions = rows.map(|row| row.map_or(0, |row| row.version));
        let mut seen = self.seen.lock();
        // Versions only grow: an image that was taken before one that was followed tells nothing new.
        let is_newer = versions[0] >= seen.0 && versions[1] >= seen.1 && *seen != (versions[0], versions[1]);
        if !is_newer {
            return false;
        }
        *seen = (versions[0], versions[1]);
        let none = BTreeMap::new();
        let [all, own] = rows.map(|row| row.map_or(&none, |row| &row.configs));
        let config = self.started_with.with_dynamic(all, own).or_else(|error| {
            tracing::error!(%error, "this broker's dynamic configs do not fit it and are left out");
            self.started_with.with_dynamic(all, &none)
        });
        self.now.store(config.map_or_else(
            |error| {
                tracing::error!(%error, "the cluster's dynamic configs do not fit this broker and are left out");
                Arc::clone(&self.started_with)
            },
            Arc::new,
        ));
        true
    }
}
