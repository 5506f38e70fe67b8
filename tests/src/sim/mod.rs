//! The simulation: the real broker, WAL, streams and quorum on simulated clock, disk, store and network.
//!
//! Owns: one run: seed → faults and sizes → a safety phase with faults → a liveness phase without → audits.
//! Invariants: everything follows from the seed; the event log of a run is the same in every process; a run ends in a
//! verdict, also when the software under test panics.
//! Never: reads a real clock, disk or socket.
//!
//! What is checked is in [`rules`], what a long run must have reached in [`sometimes`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tidegate_common::random::SeededRandom;

pub mod broker;
pub mod checks;
mod clients;
mod drive;
pub mod history;
pub mod plan;
pub mod rules;
pub mod sometimes;
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
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
    pub simulated_ms: u64,
    pub violation: Option<String>,
}

/// Runs one seed; `long` multiplies the phase with faults.
#[must_use]
pub fn run(seed: u64, long: u64) -> Run {
    checks::panics::take();
    let history = History::new();
    let simulated = Rc::new(RefCell::new(0));
    let whole = {
        let (history, simulated) = (history.clone(), Rc::clone(&simulated));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            run_with(seed, long, &history, &simulated)
        }))
    };
    let outcome = match whole {
        Ok(outcome) => outcome,
        Err(_) => {
            let panic = checks::panics::take().unwrap_or_default();
            Err(format!("{}: {panic}", rules::L0.id))
        }
    };
    let violation = history.violation().or(outcome.err());
    let events = history.events();
    let mut hasher = blake3::Hasher::new();
    for event in &events {
        hasher.update(event.as_bytes());
        hasher.update(b"\n");
    }
    let hash = hasher.finalize().to_hex()[..16].to_owned();
    let simulated_ms = *simulated.borrow();
    Run { events, hash, counts: history.counts(), simulated_ms, violation }
}

fn run_with(seed: u64, long: u64, history: &History, simulated: &RefCell<u64>) -> Result<(), String> {
    let random = SeededRandom::new(seed ^ 0x5EED_0001);
    let plan = plan::Plan::draw(&random, long);
    let world = World::new(seed, &plan, history.clone());
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(4_000))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(Duration::from_micros(plan.sizes.latency_us));
    let mut sim = builder.build();
    let host_world = world.clone();
    sim.host(BROKER, move || broker::host(host_world.clone()));
    let finished = Rc::new(RefCell::new(0usize));
    let clients = clients::spawn(&mut sim, &world, plan.nasty, &finished);
    let mut driver = drive::Driver::new(&world, plan, &random);
    let outcome = driver.run(&mut sim, || *finished.borrow() == clients);
    *simulated.borrow_mut() = u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX);
    outcome
}
