//! What is posted to a worker, by the others and by the main thread.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use noctule_core::effects::PeerMsg;
use noctule_core::id::ConnId;
use noctule_core::store::StoreEvent;

use crate::auth::Verdict;
use crate::broker::inspect::Question;
use crate::broker::listeners::Changed;
use crate::broker::settings::Settings;
use crate::net::{Facts, Layers};
use crate::reactor::{Detached, Origin};

/// What workers and the main thread post to a worker.
#[derive(Debug)]
pub(in crate::broker) enum Mail {
    /// From another engine.
    Peer(PeerMsg),
    /// From the store.
    Store(Vec<StoreEvent>),
    /// A connection whose session lives here.
    Adopt(Box<Moved>),
    /// Who a client is.
    Verdict(ConnId, Verdict),
    /// Another configuration.
    Reload(Box<Reload>),
    /// An operator asks.
    Question(Question),
    /// The broker stops: wills first. Tells when they are on their way to the other workers.
    PublishWills(Sender<()>),
    /// Say good-bye to everybody, then stop when all is written or at this monotonic millisecond.
    Stop { deadline_ms: u64 },
}

/// Another configuration, for one worker.
#[derive(Debug)]
pub(in crate::broker) struct Reload {
    pub(in crate::broker) settings: Arc<Settings>,
    pub(in crate::broker) listeners: Changed,
}

/// A connection on its way to the worker where its session lives.
#[derive(Debug)]
pub(in crate::broker) struct Moved {
    pub(super) detached: Detached<Layers>,
    pub(super) origin: Origin,
    pub(super) listener: u16,
    pub(super) facts: Option<Box<Facts>>,
}
