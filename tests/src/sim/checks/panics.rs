//! Panics of the software under test. The runtime catches a task's panic and goes on; a run must not.
//!
//! Owns: a hook that keeps the first panic of this thread.

use std::cell::RefCell;

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on, panics of any thread are kept for [`take`] as well as printed.
pub fn watch() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let said = info
            .payload()
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let one_line: String = said.chars().map(|c| if c == '\n' { ' ' } else { c }).take(300).collect();
        FIRST.with(|first| {
            first.borrow_mut().get_or_insert(format!("panic at {place}: {one_line}"));
        });
        before(info);
    }));
}

/// The first panic of this thread since the last call.
pub fn take() -> Option<String> {
    FIRST.with(|first| first.borrow_mut().take())
}
