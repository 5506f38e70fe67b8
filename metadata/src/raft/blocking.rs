//! Where blocking disk calls run: the executor seam, and its real side.
//!
//! Invariants: jobs of one lane run one after the other, in the order they were given; a job that was given runs
//! even when nobody waits for it any more. Never: runs a job on a runtime's thread in production.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::Blocking;

type Job = Box<dyn FnOnce() + Send>;

/// An executor of blocking jobs.
pub(super) struct Lane(Option<mpsc::Sender<Job>>);

impl Lane {
    /// With [`Blocking::Thread`], a thread of this name lives as long as the lane.
    pub fn start(blocking: Blocking, name: &str) -> std::io::Result<Self> {
        if blocking == Blocking::Inline {
            return Ok(Self(None));
        }
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(Self(Some(sender)))
    }

    /// # Panics
    /// When the job panicked: its caller's state is then as unknown as after a panic of its own.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let Some(thread) = &self.0 else { return job() };
        let (answer, wait) = oneshot::channel();
        let job = Box::new(move || {
            let _ = answer.send(job());
        });
        thread.send(job).expect("the thread ends with the lane, or by a panic of an earlier job");
        wait.await.expect("the job panicked")
    }
}
