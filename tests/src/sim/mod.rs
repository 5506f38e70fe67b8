//! The simulation: the real broker, WAL, streams and quorum on simulated clock, disk, store and network.
//!
//! Owns: one run: seed → faults and sizes → a safety phase with faults → a liveness phase without → audits.
//! Invariants: everything follows from the seed; the event log of a run is the same in every process.
//! Never: reads a real clock, disk or socket.
//!
//! Checked (names of `reliability.md` section 2): P1, P2, P3, P4, P6, P7, P8 and I1 by the oracle and the final read,
//! F2 and F5 by the clients, S6 by listing the bucket after every topic is deleted, L1 by the liveness phase's end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_common::random::{Random, SeededRandom};

mod audit;
pub mod broker;
mod clients;
pub mod history;
mod wire;
pub mod world;

use history::History;
use world::World;

/// Where clients find the broker.
const BROKER: &str = "broker";
const PORT: u16 = 9092;

/// What one seed gave.
pub struct Run {
    pub events: Vec<String>,
    /// BLAKE3 over the events.
    pub hash: String,
    /// One line of what happened how often.
    pub counts: String,
    pub simulated_ms: u64,
    pub violation: Option<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64) -> Run {
    let history = History::new();
    let random = SeededRandom::new(seed ^ 0x5EED_0001);
    let mut plan = Plan::draw(&random);
    let world = World::new(seed, plan.faults_until_ms + 2_000, history.clone());
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(Duration::from_millis(1 + random.below(20)));
    let mut sim = builder.build();
    let host_world = world.clone();
    sim.host(BROKER, move || broker::host(host_world.clone()));
    let finished = Rc::new(RefCell::new(0usize));
    let clients = clients::spawn(&mut sim, &world, &finished);

    let outcome = drive(&mut sim, &world, &mut plan, &random, || *finished.borrow() == clients);
    let simulated_ms = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
    let violation = outcome.err().or_else(|| history.violation());
    let events = history.events();
    let mut hasher = blake3::Hasher::new();
    for event in &events {
        hasher.update(event.as_bytes());
        hasher.update(b"\n");
    }
    let hash = hasher.finalize().to_hex()[..16].to_owned();
    Run { events, hash, counts: history.counts(), simulated_ms, violation }
}

/// When what goes wrong: drawn from the seed, swarm-wise (a class of faults is on or off for a whole run).
struct Plan {
    faults_until_ms: u64,
    crashes: bool,
    power_loss: bool,
    store_faults: bool,
    outages: bool,
    cuts: bool,
    next_ms: u64,
}

impl Plan {
    fn draw(random: &SeededRandom) -> Self {
        let on = |per_mille: u64| random.below(1000) < per_mille;
        Self {
            faults_until_ms: 15_000 + random.below(15_000),
            crashes: on(900),
            power_loss: on(700),
            store_faults: on(600),
            outages: on(400),
            cuts: on(500),
            next_ms: 1_500,
        }
    }
}

/// Steps the simulation, injecting what the plan says, until the clients are done.
fn drive(
    sim: &mut turmoil::Sim<'_>,
    world: &Arc<World>,
    plan: &mut Plan,
    random: &SeededRandom,
    done: impl Fn() -> bool,
) -> Result<(), String> {
    let mut healed = false;
    if plan.store_faults {
        world.store_faults(random);
    }
    while !done() {
        sim.step().map_err(|e| format!("a simulated host failed: {e}"))?;
        let now_ms = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
        world.clock.set_ms(now_ms);
        for name in world.due_repairs() {
            sim.repair(BROKER, name);
            world.history.note(&format!("repair {name}"));
        }
        if world.history.violation().is_some() {
            return Ok(());
        }
        if now_ms >= plan.faults_until_ms {
            if !healed {
                healed = true;
                world.heal();
                for name in clients::names() {
                    sim.repair(BROKER, *name);
                }
                if !sim.is_host_running(BROKER) {
                    sim.bounce(BROKER);
                }
                world.history.note("heal");
            }
            if world.take_down() {
                world.history.violate("the broker ended by itself after the faults were over");
                return Ok(());
            }
            if now_ms > plan.faults_until_ms + 300_000 {
                return Err("L1: clients are not done 300 s after the last fault".into());
            }
            continue;
        }
        if world.take_down() {
            // The process ended by itself (a poisoned log): its supervisor starts it again.
            restart(sim, world, false);
        }
        if now_ms >= plan.next_ms {
            plan.next_ms = now_ms + 200 + random.below(2_000);
            inject(sim, world, plan, random);
        }
    }
    Ok(())
}

fn inject(sim: &mut turmoil::Sim<'_>, world: &Arc<World>, plan: &Plan, random: &SeededRandom) {
    match random.below(5) {
        0 | 1 if plan.crashes => {
            let power_loss = plan.power_loss && random.below(2) == 0;
            world.history.note(if power_loss { "crash with power loss" } else { "crash" });
            restart(sim, world, power_loss);
        }
        2 if plan.outages => {
            let ms = 200 + random.below(4_000);
            world.outage(ms);
        }
        3 if plan.cuts => {
            let name = clients::names()[random.below(clients::names().len() as u64) as usize];
            world.history.note(&format!("cut {name}"));
            sim.partition(BROKER, name);
            world.repair_at(name, 100 + random.below(3_000));
        }
        _ => {}
    }
}

fn restart(sim: &mut turmoil::Sim<'_>, world: &Arc<World>, power_loss: bool) {
    sim.crash(BROKER);
    if power_loss {
        world.disk.crash();
    } else {
        world.disk.kill();
    }
    world.new_life();
    sim.bounce(BROKER);
}
