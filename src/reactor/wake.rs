//! How the runtime says which sockets are ready: a waker per socket that puts its slot on the worker's list.
//!
//! The list says where to look, not what is there: a slot may be listed twice or have another tenant by now.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

/// Slots whose socket has become readable or writable since the last turn.
#[derive(Debug)]
pub(super) struct Ready {
    slots: Mutex<Vec<u32>>,
    /// The worker's task.
    main: Waker,
}

impl Ready {
    pub(super) fn new(main: Waker) -> Arc<Self> {
        Arc::new(Self { slots: Mutex::new(Vec::new()), main })
    }

    /// Exchanges the list for an empty one.
    pub(super) fn swap(&self, empty: &mut Vec<u32>) {
        mem::swap(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner), empty);
    }

    /// The waker of the socket in `slot`.
    pub(super) fn waker(self: &Arc<Self>, slot: u32) -> Waker {
        Waker::from(Arc::new(SlotWaker { slot, ready: Arc::clone(self) }))
    }
}

struct SlotWaker {
    slot: u32,
    ready: Arc<Ready>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let first = {
            let mut slots = self.ready.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.push(self.slot);
            slots.len() == 1
        };
        if first {
            self.ready.main.wake_by_ref();
        }
    }
}
