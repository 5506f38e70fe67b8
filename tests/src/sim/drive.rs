//! The driver: steps the simulation, does what the plan says, and starts the broker again.
//!
//! Owns: when a fault happens, what a supervisor does, the end of the faults (`heal`) and of the run.
//! Invariants: every run ends: in a violation, or once all clients are done, within a bound of simulated time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_common::random::{Random, SeededRandom};
use tidegate_common::{Position, WalId};
use tidegate_segment::disk::sim::{Rot, SimDisk};

use super::checks::bucket::Bucket;
use super::checks::panics;
use super::checks::recovery::{self, Verdict};
use super::checks::white::White;
use super::plan::{Act, Plan};
use super::world::World;
use super::{BROKER, clients, rules, sometimes};

/// Simulated time from the last fault to the end of all clients.
const DONE_WITHIN_MS: u64 = 300_000;
/// Simulated time after the faults within which every producer has an acknowledgement of every partition.
const ACCEPTS_WITHIN_MS: u64 = 60_000;
/// What a supervisor waits before it starts a process again.
const RESTART_MS: u64 = 250;
/// A process that a fault hit may end so long after the last one.
const HAND_OVER_MS: u64 = 5_000;
const AUDIT_MS: u64 = 1_000;

pub struct Driver<'a> {
    world: Arc<World>,
    plan: Plan,
    random: &'a SeededRandom,
    white: White,
    bucket: Bucket,
    next_ms: u64,
    audit_ms: u64,
    start_at_ms: Option<u64>,
    /// Crash again at that time, so many times.
    again: Option<(u64, u64)>,
    rot: Option<Rot>,
    /// The disk that was taken out while a damaged copy is in.
    kept_disk: Option<SimDisk>,
    /// A process that lost its Raft log must refuse to start.
    must_refuse: bool,
    sync_failed: bool,
    healed: bool,
    /// What the life that just died had released.
    last: (WalId, Position),
}

impl<'a> Driver<'a> {
    pub fn new(world: &Arc<World>, plan: Plan, random: &'a SeededRandom) -> Self {
        world.history.note(&plan.say());
        Self {
            world: Arc::clone(world),
            white: White::new(plan.fork_every),
            plan,
            random,
            bucket: Bucket::default(),
            next_ms: 1_500,
            audit_ms: AUDIT_MS,
            start_at_ms: None,
            again: None,
            rot: None,
            kept_disk: None,
            must_refuse: false,
            sync_failed: false,
            healed: false,
            last: (WalId(0), Position::ZERO),
        }
    }

    /// Runs until all clients are done.
    pub fn run(&mut self, sim: &mut turmoil::Sim<'_>, done: impl Fn() -> bool) -> Result<(), String> {
        while !done() {
            self.step(sim)?;
            if self.world.history.violation().is_some() {
                return Ok(());
            }
        }
        self.bucket.audit(&self.world);
        self.bucket.audit_listing(&self.world);
        Ok(())
    }

    fn step(&mut self, sim: &mut turmoil::Sim<'_>) -> Result<(), String> {
        let stepped = sim.step();
        let world = Arc::clone(&self.world);
        if let Some(panic) = panics::take() {
            world.history.violate(&rules::L0, &panic);
        }
        stepped.map_err(|e| format!("{}: a simulated host failed: {e}", rules::L0.id))?;
        self.white.step(&world, self.random);
        self.bucket.events(&world);
        let now_ms = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
        world.clock.set_ms(now_ms);
        if now_ms >= self.audit_ms {
            self.audit_ms = now_ms + AUDIT_MS;
            self.bucket.audit(&world);
        }
        for name in world.due_repairs() {
            sim.repair(BROKER, name);
            world.history.note(&format!("repair {name}"));
        }
        self.bucket.restore(&world, false);
        self.supervise(sim, now_ms);
        if now_ms >= self.plan.faults_until_ms {
            if !self.healed {
                self.heal(sim);
            }
            let accepted = world.accepted.load(Ordering::Acquire) == u64::from(clients::PRODUCERS);
            if !accepted && now_ms > world.produce_until_ms + ACCEPTS_WITHIN_MS {
                let why = format!("not every partition accepts {ACCEPTS_WITHIN_MS} ms after the faults");
                world.history.violate(&rules::L1, &why);
            }
            if now_ms > self.plan.faults_until_ms + DONE_WITHIN_MS {
                let why = format!("clients are not done {DONE_WITHIN_MS} ms after the last fault");
                world.history.violate(&rules::L1, &why);
            }
            return Ok(());
        }
        for (name, ms) in world.take_cuts() {
            sim.partition(BROKER, name);
            world.repair_at(name, ms);
        }
        if world.disk().is_off() {
            world.history.note("the power went off within a call");
            self.crash(sim, true);
            self.start(sim);
        }
        if let Some((at_ms, left)) = self.again
            && now_ms >= at_ms
        {
            self.again = (left > 1).then(|| (now_ms + self.random.below(60), left - 1));
            self.crash(sim, self.random.below(2) == 0);
            self.start(sim);
        }
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.plan.pause_ms / 2 + self.random.below(self.plan.pause_ms);
            if let Some(act) = self.plan.next(self.random) {
                self.act(sim, act);
            }
        }
        Ok(())
    }

    fn act(&mut self, sim: &mut turmoil::Sim<'_>, act: Act) {
        let (world, random) = (Arc::clone(&self.world), self.random);
        // Log-uniform from `low` over so many octaves.
        let spread = |low: u64, octaves: u64| (low << random.below(octaves)) + random.below(low);
        match act {
            Act::Kill | Act::PowerLoss => {
                self.crash(sim, act == Act::PowerLoss);
                self.start(sim);
            }
            Act::PowerLossInCall => {
                let calls = spread(1, 7);
                world.history.note(&format!("the power will go off in {calls} calls"));
                world.disk().fail_after(calls);
            }
            Act::CrashAgain => {
                self.crash(sim, random.below(2) == 0);
                self.start(sim);
                self.again = Some((world.clock.ms() + random.below(60), 1 + random.below(3)));
            }
            Act::FailSync => {
                let n = random.below(6);
                world.history.note(&format!("sync {n} from now fails"));
                world.disk().fail_sync(n);
                self.sync_failed = true;
            }
            Act::FailWrite => {
                let n = random.below(6);
                world.history.note(&format!("write {n} from now fails"));
                world.disk().fail_write(n);
                self.sync_failed = true;
            }
            Act::DiskFull => world.disk_full(random.below(4) * world.sizes.wal_segment, spread(500, 6)),
            Act::Stall => world.stall(spread(1_000, 6).min(60_000)),
            Act::Outage => world.outage(spread(200, 6)),
            Act::Cut => {
                let names = clients::names();
                let name = names[random.below(names.len() as u64) as usize];
                world.history.note(&format!("cut {name}"));
                sim.partition(BROKER, name);
                world.repair_at(name, spread(100, 6));
            }
            Act::Rot => self.rot(sim, "wal/"),
            Act::RotRaft => self.rot(sim, "raft/"),
            Act::LoseRaft => self.lose_raft(sim),
            Act::Vanish => {
                if let Some(key) = self.bucket.victim(&world, random.next_u64()) {
                    world.vanish(key, spread(200, 5));
                }
            }
        }
    }

    /// The process dies, with or without the machine.
    fn crash(&mut self, sim: &mut turmoil::Sim<'_>, power_loss: bool) {
        let world = Arc::clone(&self.world);
        world.history.note(if power_loss { "crash with power loss" } else { "crash" });
        let known = world.fold.image();
        if let Some(broker) = world.broker() {
            self.last = (broker.releaser.wal().id(), broker.releaser.released());
            if known.all_prepared().any(|p| p.incarnation == broker.incarnation) {
                world.history.count(sometimes::FAILOVER_DURING_UPLOAD);
            }
        } else if self.start_at_ms.is_none() && known.wals().count() > 1 {
            world.history.count(sometimes::CRASH_IN_RECOVERY);
        }
        sim.crash(BROKER);
        let disk = world.disk();
        if power_loss {
            let survived = disk.crash();
            let wal = survived.iter().filter(|s| s.path.starts_with("wal/"));
            if wal.clone().any(|s| s.kept > 0) && wal.clone().any(|s| s.lost + s.torn > 0) {
                world.history.count(sometimes::HOLE_ABOVE_D);
            }
        } else {
            disk.kill();
        }
        if self.rot.is_none() && self.kept_disk.is_none() && self.last.0 > WalId(0) {
            recovery::after_crash(&world, self.last, power_loss, self.random);
        }
    }

    fn start(&mut self, sim: &mut turmoil::Sim<'_>) {
        self.start_at_ms = None;
        self.world.new_life();
        self.world.take_down();
        sim.bounce(BROKER);
    }

    /// Starts a process again that ended by itself.
    fn supervise(&mut self, sim: &mut turmoil::Sim<'_>, now_ms: u64) {
        let world = Arc::clone(&self.world);
        if self.must_refuse && world.is_serving() {
            world
                .history
                .violate(&rules::M4, "a broker serves without the Raft log that it served with before");
        }
        if let Some(why) = world.take_down() {
            if self.healed && now_ms > self.plan.faults_until_ms + HAND_OVER_MS {
                world.history.violate(&rules::L0, &format!("the broker ended without a fault: {why}"));
                return;
            }
            self.crash(sim, false);
            if self.must_refuse {
                self.refused(&why);
            }
            if self.rot.is_some() && (why.contains("damage") || why.contains("Damage")) {
                self.undo_rot(&why);
            }
            self.start_at_ms = Some(now_ms + RESTART_MS + self.random.below(RESTART_MS));
        }
        if self.start_at_ms.is_some_and(|at| now_ms >= at) {
            if self.sync_failed {
                self.sync_failed = false;
                world.history.count(sometimes::SYNC_FAILED);
            }
            self.start(sim);
        }
    }

    /// W3: a bit flips while the process is down.
    fn rot(&mut self, sim: &mut turmoil::Sim<'_>, below: &str) {
        let world = Arc::clone(&self.world);
        if self.rot.is_some() || self.kept_disk.is_some() {
            return;
        }
        self.crash(sim, false);
        let disk = world.disk();
        let whole = disk.fork(5);
        if let Some(rot) = disk.rot(below, self.random) {
            let name = rot.path.rsplit('/').next().unwrap_or_default();
            let log = u64::from_str_radix(name.get(..16).unwrap_or_default(), 16).unwrap_or(1);
            let verdict = recovery::judge(&world, below.trim_end_matches('/'), log, &rot, &whole);
            if matches!(verdict, Verdict::Unmarked) {
                world.history.count("rot-in-unmarked-tail");
                disk.undo(&rot);
            } else {
                let what = if matches!(verdict, Verdict::Damage) { "damage" } else { "quiet" };
                world.history.note(&format!("a bit of {} at {} flips: {what}", rot.path, rot.offset));
                self.rot = Some(rot);
            }
        }
        self.start(sim);
    }

    fn undo_rot(&mut self, why: &str) {
        let Some(rot) = self.rot.take() else { return };
        let world = &self.world;
        let label =
            if rot.path.starts_with("raft/") { sometimes::DAMAGE_RAFT } else { sometimes::DAMAGE_BELOW_D };
        world.history.count(label);
        if !world.disk().undo(&rot) {
            world.history.violate(&rules::W3, &format!("what was refused as damaged was written to: {why}"));
        }
        world.history.note(&format!("{} is put back from an undamaged copy", rot.path));
    }

    /// M4: the Raft log is gone, all else is there.
    fn lose_raft(&mut self, sim: &mut turmoil::Sim<'_>) {
        let world = Arc::clone(&self.world);
        if self.rot.is_some() || self.kept_disk.is_some() || world.newest_wal() == WalId(0) {
            return;
        }
        self.crash(sim, false);
        world.history.note("the Raft log is lost");
        let without = world.disk().fork(6);
        without.forget_dir("raft");
        self.kept_disk = Some(world.swap_disk(without));
        self.must_refuse = true;
        self.start(sim);
    }

    fn refused(&mut self, why: &str) {
        if why.contains("holds no metadata") {
            self.world.history.count("lost-raft-refused");
        } else if !why.starts_with("start failed") {
            self.world
                .history
                .violate(&rules::M4, &format!("a broker without its Raft log ended with: {why}"));
        } else {
            // The bucket was out of reach, say: it will be tried again.
            return;
        }
        self.whole_disk();
    }

    fn whole_disk(&mut self) {
        if let Some(disk) = self.kept_disk.take() {
            self.world.swap_disk(disk);
            self.world.history.note("the Raft log is put back");
        }
        self.must_refuse = false;
    }

    /// The end of all faults.
    fn heal(&mut self, sim: &mut turmoil::Sim<'_>) {
        let world = Arc::clone(&self.world);
        self.healed = true;
        self.again = None;
        world.heal();
        self.bucket.restore(&world, true);
        for name in clients::names() {
            sim.repair(BROKER, *name);
        }
        if self.kept_disk.is_some() {
            self.crash(sim, false);
            self.whole_disk();
            self.start(sim);
        }
        if let Some(rot) = self.rot.take() {
            world.disk().undo(&rot);
        }
        if world.disk().is_off() {
            self.crash(sim, true);
            self.start(sim);
        }
        world.disk().heal();
        world.history.note("heal");
    }
}
