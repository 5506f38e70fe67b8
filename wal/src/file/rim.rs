//! Where the file medium meets threads and the runtime: the same synchronous steps, driven by threads or by tasks.
//!
//! Owns: the loops of writer and keeper, and the hand-over of blocking calls. Never: decides anything.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Condvar;
use tokio::sync::Notify;

use super::Driver;
use super::writer::{Kept, Shared, Turn, Writer};

/// Wakes a loop that sleeps. A thread sleeps on the state's lock, a task on its own cell.
pub(super) enum Wake {
    Thread(Condvar),
    Task(Notify),
}

impl Wake {
    pub fn of(driver: Driver) -> Self {
        match driver {
            Driver::Thread => Wake::Thread(Condvar::new()),
            Driver::Task { .. } => Wake::Task(Notify::new()),
        }
    }

    pub fn wake(&self) {
        match self {
            Wake::Thread(condvar) => {
                condvar.notify_one();
            }
            Wake::Task(notify) => notify.notify_one(),
        }
    }
}

/// Runs a blocking call off the runtime's threads, or inline where the simulation wants one thread.
pub(super) async fn blocking<T: Send + 'static>(
    driver: Driver,
    act: impl FnOnce() -> T + Send + 'static,
) -> T {
    match driver {
        Driver::Task { .. } => act(),
        Driver::Thread => {
            #[expect(
                clippy::disallowed_methods,
                reason = "the real disk blocks; the simulation takes the other arm"
            )]
            let task = tokio::task::spawn_blocking(act);
            match task.await {
                Ok(done) => done,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
}

/// Starts the loops of an open log.
pub(super) fn start(mut writer: Writer, shared: &Arc<Shared>, driver: Driver) {
    let keeper = Arc::clone(shared);
    match driver {
        Driver::Thread => {
            thread("wal-writer", move || write_on_thread(&mut writer));
            thread("wal-keeper", move || keep_on_thread(&keeper));
        }
        Driver::Task { sync_latency } => {
            tokio::spawn(write_on_task(writer, sync_latency));
            tokio::spawn(async move { keep_on_task(&keeper).await });
        }
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) {
    // Nobody joins it: the end of the writer is told by `ended`, and it holds nothing that outlives it.
    std::thread::Builder::new().name(name.into()).spawn(run).expect("the system gives a thread at start");
}

fn write_on_thread(writer: &mut Writer) {
    let shared = Arc::clone(writer.shared());
    let Wake::Thread(condvar) = &shared.writer_wake else { unreachable!("the driver is a thread") };
    loop {
        let turn = {
            let mut state = shared.state.lock();
            loop {
                match writer.turn(&mut state) {
                    Turn::Sleep { mark_after: None } => condvar.wait(&mut state),
                    Turn::Sleep { mark_after: Some(idle) } => {
                        if condvar.wait_for(&mut state, idle).timed_out() && writer.is_idle(&state) {
                            break Turn::Mark;
                        }
                    }
                    turn => break turn,
                }
            }
        };
        if !writer.act(turn) {
            return;
        }
    }
}

async fn write_on_task(mut writer: Writer, sync_latency: Duration) {
    let shared = Arc::clone(writer.shared());
    let Wake::Task(notify) = &shared.writer_wake else { unreachable!("the driver is a task") };
    loop {
        let turn = {
            let mut state = shared.state.lock();
            writer.turn(&mut state)
        };
        let turn = match turn {
            Turn::Sleep { mark_after: None } => {
                notify.notified().await;
                continue;
            }
            Turn::Sleep { mark_after: Some(idle) } => {
                if tokio::time::timeout(idle, notify.notified()).await.is_ok() {
                    continue;
                }
                let state = shared.state.lock();
                if writer.is_idle(&state) { Turn::Mark } else { continue }
            }
            turn => turn,
        };
        // Records that arrive meanwhile form the next group, as they do while a real disk syncs.
        let latency = sync_latency + shared.stall();
        if latency.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(latency).await;
        }
        if !writer.act(turn) {
            return;
        }
    }
}

fn keep_on_thread(shared: &Shared) {
    let Wake::Thread(condvar) = &shared.keeper_wake else { unreachable!("the driver is a thread") };
    loop {
        match shared.keep() {
            Kept::Ended => return,
            Kept::Idle => {
                let mut state = shared.state.lock();
                if !state.keep_again() {
                    condvar.wait(&mut state);
                }
            }
            Kept::Retry(after) => {
                let mut state = shared.state.lock();
                if !state.keep_again() {
                    condvar.wait_for(&mut state, after);
                }
            }
        }
    }
}

async fn keep_on_task(shared: &Shared) {
    let Wake::Task(notify) = &shared.keeper_wake else { unreachable!("the driver is a task") };
    loop {
        let stall = shared.stall();
        if !stall.is_zero() {
            tokio::time::sleep(stall).await;
        }
        match shared.keep() {
            Kept::Ended => return,
            Kept::Idle => notify.notified().await,
            Kept::Retry(after) => {
                let _ = tokio::time::timeout(after, notify.notified()).await;
            }
        }
    }
}
