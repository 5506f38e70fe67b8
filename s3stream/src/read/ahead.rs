//! How far ahead to read: a window per sequential reader that grows while it is used and shrinks when it was for
//! nothing.
//!
//! Owns: the cursors of one stream's readers, told apart only by where they go on.
//! Invariants: a reader that does not go on where it stopped gets no read-ahead; windows stay within `min` and `max`;
//! at most [`CURSORS_MAX`] cursors, the least recently used goes first.
//! Never: does I/O; stops altogether after an eviction (the window is halved, so a slow phase costs one doubling).

use tidegate_common::Offset;

const CURSORS_MAX: usize = 8;
const WINDOW_MIN: u64 = 512 << 10;

#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    cursors: Vec<Cursor>,
    next_id: u64,
}

#[derive(Debug)]
struct Cursor {
    id: u64,
    /// Where the reader goes on.
    next: Offset,
    /// Bytes to have ahead of it; 0 until it was seen to go on once.
    window: u64,
    /// What was asked for lies below this.
    ahead_to: Offset,
    running: bool,
}

/// Load about this much from here on, then say how far it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) cursor: u64,
    pub(crate) from: Offset,
    pub(crate) bytes: u64,
}

impl ReadAhead {
    /// A read of `[from, next)` from objects. `missed`: a block was not in memory.
    pub(crate) fn on_read(&mut self, from: Offset, next: Offset, missed: bool, max: u64) -> Option<Ahead> {
        let min = WINDOW_MIN.min(max);
        let at = self.cursors.iter().position(|cursor| cursor.next == from);
        let mut cursor = match at {
            Some(at) => self.cursors.remove(at),
            None => {
                self.next_id += 1;
                Cursor { id: self.next_id, next: from, window: 0, ahead_to: from, running: false }
            }
        };
        if at.is_some() {
            cursor.window = match (cursor.window, missed && from < cursor.ahead_to) {
                (0, _) => min,
                // It was read ahead and evicted before it was used.
                (window, true) => (window / 2).max(min),
                (window, false) => (window * 2).min(max),
            };
        }
        cursor.next = next;
        cursor.ahead_to = cursor.ahead_to.max(next);
        let ask = (cursor.window > 0 && !cursor.running).then_some(Ahead {
            cursor: cursor.id,
            // From the reader on: what is in memory already costs nothing, and fills the window to its size.
            from: next,
            bytes: cursor.window,
        });
        cursor.running |= ask.is_some();
        if self.cursors.len() == CURSORS_MAX {
            self.cursors.remove(0);
        }
        self.cursors.push(cursor);
        ask
    }

    /// The read-ahead of `cursor` is on its way up to `to`.
    pub(crate) fn reached(&mut self, cursor: u64, to: Offset) {
        if let Some(cursor) = self.cursors.iter_mut().find(|c| c.id == cursor) {
            cursor.ahead_to = cursor.ahead_to.max(to);
            cursor.running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const MAX: u64 = 4096 * KIB;

    fn read(ahead: &mut ReadAhead, from: i64, missed: bool) -> Option<u64> {
        let ask = ahead.on_read(Offset(from), Offset(from + 10), missed, MAX);
        if let Some(ask) = ask {
            assert_eq!(ask.from, Offset(from + 10));
            ahead.reached(ask.cursor, Offset(from + 1000));
        }
        ask.map(|ask| ask.bytes / KIB)
    }

    #[test]
    fn the_window_grows_while_it_is_used_and_is_halved_by_an_eviction() {
        let mut ahead = ReadAhead::default();
        assert_eq!(read(&mut ahead, 0, true), None, "one read is no sequence");
        assert_eq!(read(&mut ahead, 10, true), Some(512));
        assert_eq!(read(&mut ahead, 20, false), Some(1024));
        assert_eq!(read(&mut ahead, 30, false), Some(2048));
        assert_eq!(read(&mut ahead, 40, true), Some(1024), "evicted unread");
        assert_eq!(read(&mut ahead, 50, true), Some(512));
        assert_eq!(read(&mut ahead, 60, true), Some(512), "never below the least");
        for from in 7..20 {
            assert!(read(&mut ahead, from * 10, false).is_some_and(|kib| kib <= MAX / KIB));
        }
    }

    #[test]
    fn readers_at_different_places_have_windows_of_their_own() {
        let mut ahead = ReadAhead::default();
        read(&mut ahead, 0, true);
        read(&mut ahead, 5000, true);
        assert_eq!(read(&mut ahead, 5010, true), Some(512));
        assert_eq!(read(&mut ahead, 10, true), Some(512));
        assert_eq!(read(&mut ahead, 20, false), Some(1024));
        assert_eq!(read(&mut ahead, 5020, false), Some(1024));
        assert_eq!(read(&mut ahead, 777, true), None);
        for from in 0..20 {
            read(&mut ahead, 100_000 + from * 100, true);
        }
        assert_eq!(ahead.cursors.len(), CURSORS_MAX);
        assert_eq!(read(&mut ahead, 30, false), None, "forgotten: it was the oldest");
    }

    #[test]
    fn one_read_ahead_at_a_time_per_reader() {
        let mut ahead = ReadAhead::default();
        ahead.on_read(Offset(0), Offset(10), true, MAX);
        assert!(ahead.on_read(Offset(10), Offset(20), true, MAX).is_some());
        assert!(ahead.on_read(Offset(20), Offset(30), false, MAX).is_none(), "the first is still on its way");
    }
}
