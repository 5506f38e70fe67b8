//! Where blocking disk calls run: the executor seam, and its real side.
//!
//! Invariants: jobs of one lane run one after the other, in the order they were given; a job that was given runs
//! even when nobody waits for it any more. Never: runs a job on a runtime's thread in production.

use std::sync::{Arc, mpsc};

use tidegate_segment::disk::Disk;
use tokio::sync::{Mutex, oneshot};

use super::Blocking;

type Job = Box<dyn FnOnce() + Send>;

/// An executor of blocking jobs.
pub(super) enum Lane {
    Thread(mpsc::Sender<Job>),
    /// On the calling task, unless the simulated disk stalls: then on one of its own.
    Inline {
        disk: Arc<dyn Disk>,
        turn: Arc<Mutex<()>>,
    },
}

impl Lane {
    /// With [`Blocking::Thread`], a thread of this name lives as long as the lane.
    pub fn start(blocking: Blocking, name: &str, disk: &Arc<dyn Disk>) -> std::io::Result<Self> {
        if blocking == Blocking::Inline {
            return Ok(Self::Inline { disk: Arc::clone(disk), turn: Arc::default() });
        }
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(Self::Thread(sender))
    }

    /// # Panics
    /// When the job panicked: its caller's state is then as unknown as after a panic of its own.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, wait) = oneshot::channel();
        match self {
            Self::Inline { disk, turn } => {
                if disk.stall().is_zero()
                    && let Ok(_turn) = turn.try_lock()
                {
                    return job();
                }
                let (disk, turn) = (Arc::clone(disk), Arc::clone(turn));
                tokio::spawn(async move {
                    // A fair lock: jobs take their turns in the order they were given.
                    let _turn = turn.lock().await;
                    tokio::time::sleep(disk.stall()).await;
                    let _ = answer.send(job());
                });
            }
            Self::Thread(thread) => {
                let job = Box::new(move || {
                    let _ = answer.send(job());
                });
                thread.send(job).expect("the thread ends with the lane, or by a panic of an earlier job");
            }
        }
        wait.await.expect("the job panicked")
    }
}
