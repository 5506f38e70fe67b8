//! Admission to a log: what may still be appended, and who waits for it in which order.
//!
//! Owns: permits given and not yet used up, bytes in flight, the queue of waiters.
//! Invariants: what is permitted is certain to find room; waiters are served in order, and nobody passes them.
//! Never: waits, or knows where room comes from.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::sync::oneshot;

use crate::ReserveError;

/// A waiter's answer: the bytes it may append, or why not. The caller turns it into a permit.
pub(crate) type Answer = Result<usize, ReserveError>;

/// Answers decided under the lock, to be sent after it.
pub(crate) type Answers = Vec<(oneshot::Sender<Answer>, Answer)>;

pub(crate) struct Space {
    /// Room that the medium promises beyond `charged`, in charges; see [`Space::set_room`].
    room: u64,
    /// No more room can be had for now.
    is_full: bool,
    /// Charges of permits and of records not yet durable.
    charged: u64,
    in_flight: u64,
    in_flight_max: u64,
    record_bytes_max: usize,
    is_closed: bool,
    waiters: VecDeque<(usize, u64, oneshot::Sender<Answer>)>,
    /// What `Full` says.
    used: u64,
    limit: u64,
}

impl Space {
    pub fn new(in_flight_max: u64, record_bytes_max: usize, limit: u64) -> Self {
        Self {
            room: 0,
            is_full: false,
            charged: 0,
            in_flight: 0,
            in_flight_max: in_flight_max.max(record_bytes_max as u64),
            record_bytes_max,
            is_closed: false,
            waiters: VecDeque::new(),
            used: 0,
            limit,
        }
    }

    /// Takes `bytes`, which cost `charge`, if they are there and nobody waits.
    pub fn try_take(&mut self, bytes: usize, charge: u64) -> Answer {
        if self.waiters.is_empty() {
            self.take(bytes, charge)
        } else {
            Err(self.fits(bytes, charge).err().unwrap_or(ReserveError::Busy))
        }
    }

    /// As `try_take`, queueing the caller when waiting helps.
    pub fn take_or_wait(&mut self, bytes: usize, charge: u64) -> Result<Answer, oneshot::Receiver<Answer>> {
        match self.try_take(bytes, charge) {
            Err(ReserveError::Busy) => {
                let (sender, receiver) = oneshot::channel();
                self.waiters.push_back((bytes, charge, sender));
                Err(receiver)
            }
            answer => Ok(answer),
        }
    }

    /// A permit was used: in the queue its record costs less than the worst case.
    pub fn settle(&mut self, worst: u64, charge: u64) {
        self.charged -= worst - charge;
    }

    /// A permit was dropped, or its record is durable.
    pub fn give_back(&mut self, bytes: u64, charge: u64) {
        self.charged -= charge;
        self.in_flight -= bytes;
    }

    /// What the medium promises now, and whether it could get more.
    pub fn set_room(&mut self, room: u64, used: u64) {
        (self.room, self.used) = (room, used);
    }

    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    pub fn close(&mut self) {
        self.is_closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Serves waiters in order for as long as the first can be answered.
    #[must_use]
    pub fn serve(&mut self) -> Answers {
        let mut answers = Vec::new();
        while let Some((bytes, charge, waiter)) = self.waiters.pop_front() {
            if waiter.is_closed() {
                continue;
            }
            match self.take(bytes, charge) {
                Err(ReserveError::Busy) => {
                    self.waiters.push_front((bytes, charge, waiter));
                    break;
                }
                answer => answers.push((waiter, answer)),
            }
        }
        answers
    }

    fn take(&mut self, bytes: usize, charge: u64) -> Answer {
        self.fits(bytes, charge)?;
        self.charged += charge;
        self.in_flight += bytes as u64;
        Ok(bytes)
    }

    fn fits(&self, bytes: usize, charge: u64) -> Result<(), ReserveError> {
        if self.is_closed {
            return Err(ReserveError::Closed);
        }
        if bytes > self.record_bytes_max {
            return Err(ReserveError::TooLarge { bytes, limit: self.record_bytes_max });
        }
        if self.charged + charge > self.room {
            let full = ReserveError::Full { used: self.used, limit: self.limit };
            // What is in flight was charged for the worst case: some of it comes back.
            return Err(if self.is_full && charge > self.room { full } else { ReserveError::Busy });
        }
        if self.in_flight + bytes as u64 > self.in_flight_max { Err(ReserveError::Busy) } else { Ok(()) }
    }
}

/// A reservation that waits. One that goes away in the moment of the answer gives the bytes back.
pub(crate) struct Waiting<F: FnMut(usize)> {
    waiter: oneshot::Receiver<Answer>,
    give_back: F,
}

impl<F: FnMut(usize)> Waiting<F> {
    pub fn new(waiter: oneshot::Receiver<Answer>, give_back: F) -> Self {
        Self { waiter, give_back }
    }
}

impl<F: FnMut(usize) + Unpin> Future for Waiting<F> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.waiter.poll_unpin(cx).map(|answer| answer.unwrap_or(Err(ReserveError::Closed)))
    }
}

impl<F: FnMut(usize)> Drop for Waiting<F> {
    fn drop(&mut self) {
        self.waiter.close();
        if let Ok(Ok(bytes)) = self.waiter.try_recv() {
            (self.give_back)(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        let mut space = Space::new(100, 50, 1000);
        space.set_room(1000, 0);
        space
    }

    #[test]
    fn waiters_are_served_in_order_and_nobody_passes_them() {
        let mut space = space();
        assert_eq!(space.try_take(50, 60), Ok(50));
        assert_eq!(space.try_take(40, 50), Ok(40));
        let mut first = space.take_or_wait(50, 60).expect_err("waits");
        let mut second = space.take_or_wait(1, 10).expect_err("waits behind it, though it would fit");
        assert_eq!(space.try_take(1, 10), Err(ReserveError::Busy));
        space.give_back(40, 50);
        for (waiter, answer) in space.serve() {
            waiter.send(answer).expect("is waited for");
        }
        assert_eq!(first.try_recv(), Ok(Ok(50)));
        assert!(second.try_recv().is_err());
        space.give_back(50, 60);
        space.close();
        assert_eq!(space.serve().pop().map(|(_, answer)| answer), Some(Err(ReserveError::Closed)));
    }

    #[test]
    fn full_is_said_at_once_and_busy_while_room_may_come() {
        let mut space = space();
        space.set_room(70, 900);
        assert_eq!(space.try_take(51, 60), Err(ReserveError::TooLarge { bytes: 51, limit: 50 }));
        assert_eq!(space.try_take(50, 60), Ok(50));
        let mut waiter = space.take_or_wait(10, 20).expect_err("room may come");
        space.set_full(true);
        assert!(space.serve().is_empty(), "what is charged may come back");
        space.give_back(50, 60);
        space.set_room(15, 900);
        for (waiter, answer) in space.serve() {
            waiter.send(answer).expect("is waited for");
        }
        let full = Err(ReserveError::Full { used: 900, limit: 1000 });
        assert_eq!(waiter.try_recv(), Ok(full));
        assert_eq!(space.try_take(10, 20), full);
        assert_eq!(space.try_take(5, 10), Ok(5));
    }

    #[test]
    fn a_waiter_that_went_away_takes_nothing() {
        let mut space = space();
        assert_eq!(space.try_take(50, 60), Ok(50));
        assert_eq!(space.try_take(50, 60), Ok(50));
        drop(space.take_or_wait(50, 60));
        space.give_back(50, 60);
        assert!(space.serve().is_empty());
        assert_eq!(space.in_flight(), 50);
    }
}
