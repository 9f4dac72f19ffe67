//! A worker without sockets: that no event can flood the log, and what it starts from.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use metrics::with_local_recorder;
use metrics_util::debugging::DebuggingRecorder;
use noctule_core::delivery::AckKind;
use noctule_core::effects::{DropReason, Effects, Reason};
use noctule_core::engine::Engine;
use noctule_core::hash::Seed;
use noctule_core::id::{ConnId, Now, WorkerId};
use noctule_core::policy::Limits;
use noctule_core::shared::Shared;
use noctule_core::store::MemoryStore;
use noctule_mqtt::server::{AuthMethods, ServerLimits};
use tracing::span;
use tracing::subscriber::{Interest, Subscriber, with_default};

use super::*;
use crate::broker::admission::Admission;
use crate::broker::backing::Backing;
use crate::broker::memory::Memory;
use crate::broker::settings::{self, Settings};
use crate::broker::telemetry::record_metrics;
use crate::broker::worker::{LOG_LINES_PER_SECOND, REPORT_INTERVAL_MS};
use crate::config::{Config, Durability, Period, Size};

/// Counts lines.
struct Lines(Arc<AtomicU32>);

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn worker() -> Worker {
    let config = Config::default();
    let settings = Arc::new(Settings::new(&config, Arc::new(AuthMethods::default()), None, Vec::new()));
    let shared = Arc::new(Shared::new(&Seed::new(1), 1, settings::retained_limits(&config)));
    let engine = Engine::new(WorkerId(0), shared, Arc::clone(&settings.policy), Now::default());
    let (store, fx) = (Backing::Memory(MemoryStore::default()), Effects::default());
    let admission = Arc::new(Admission::new((&config.limits).into()));
    Worker::new(engine, store, fx, settings, admission, Arc::new(Memory::new(0)), Arc::default())
}

#[test]
fn no_event_is_written_more_often_than_the_limit() {
    let conn = ConnId { slot: 0, generation: 1 };
    let client_id: Box<str> = "client".into();
    let events = [
        Event::Connected { conn, client_id: client_id.clone(), session_present: false },
        Event::Disconnected { conn, client_id: client_id.clone(), graceful: true },
        Event::TakenOver { client_id: client_id.clone(), old: conn, new: conn },
        Event::SessionEnded { client_id: client_id.clone(), lost: 1 },
        Event::Dropped { whose: client_id, reason: DropReason::ALL[0], count: 1 },
    ];
    for event in events {
        let lines = Arc::new(AtomicU32::new(0));
        with_default(Lines(Arc::clone(&lines)), || {
            let mut worker = worker();
            for _ in 0..3 * LOG_LINES_PER_SECOND {
                worker.log_event(0, event.clone());
            }
        });
        assert_eq!(lines.load(Relaxed), LOG_LINES_PER_SECOND, "{event:?}");
    }
}

#[test]
fn debug_lines_are_for_requests_and_refusals_not_for_messages() {
    let conn = ConnId { slot: 0, generation: 1 };
    let peer = Origin::Net(([127, 0, 0, 1], 1).into());
    let packet_id = NonZeroU16::MIN;
    let ack = |reason| Reply::Ack { kind: AckKind::PubAck, packet_id, reason };
    let lines = Arc::new(AtomicU32::new(0));
    let written = |note: &dyn Fn()| {
        with_default(Lines(Arc::clone(&lines)), note);
        lines.swap(0, Relaxed)
    };
    let requested = |input: &Input<'_>| {
        written(&|| {
            note_request(peer, input);
        })
    };
    let subscribe = |filters| Input::Subscribe { conn, packet_id, id: None, selector: None, filters };
    assert_eq!(requested(&subscribe(&[])), 1);
    assert_eq!(requested(&Input::Unsubscribe { conn, packet_id, filters: &[] }), 1);
    assert_eq!(requested(&Input::Ping(conn)), 0);
    assert_eq!(written(&|| note_answer(peer, &ack(Reason::QuotaExceeded))), 1);
    assert_eq!(written(&|| note_answer(peer, &ack(Reason::NoMatchingSubscribers))), 0);
    assert_eq!(written(&|| note_answer(peer, &Reply::Pong)), 0);
}

#[test]
fn nothing_is_gathered_before_somebody_records() {
    let recorder = DebuggingRecorder::new();
    let gathered = |now_ms| {
        with_local_recorder(&recorder, || {
            let mut worker = worker();
            worker.report(now_ms);
        });
        recorder.snapshotter().snapshot().into_vec().len()
    };
    assert_eq!(gathered(REPORT_INTERVAL_MS), 0);
    record_metrics();
    assert_eq!(gathered(REPORT_INTERVAL_MS - 1), 0);
    assert!(gathered(REPORT_INTERVAL_MS) > 10);
}

#[test]
fn the_pure_crates_have_the_configuration_s_defaults() {
    let mut config = Config::default();
    let settings = Settings::new(&config, Arc::new(AuthMethods::default()), None, Vec::new());
    assert_eq!(settings.mqtt, ServerLimits::default());
    assert_eq!(settings.stomp, noctule_stomp::server::ServerLimits::default());
    let held = (settings.policy.limits.max_held_messages, settings.policy.limits.max_held_messages_online);
    assert!(held.0 < held.1 && held.1 < usize::MAX, "the disk gives messages back");
    config.store.durability = Durability::Never;
    let settings = Settings::new(&config, Arc::new(AuthMethods::default()), None, Vec::new());
    assert_eq!(settings.policy.limits, Limits::default(), "memory has none to give back");
}

#[test]
fn the_time_until_a_refused_publisher_is_disconnected_is_the_configured_one() {
    let mut config = Config::default();
    config.delivery.refuse_timeout = Period::from_millis(700);
    let settings = Settings::new(&config, Arc::new(AuthMethods::default()), None, Vec::new());
    assert_eq!(settings.policy.limits.refuse_timeout_ms, 700);
}

/// The ERROR of each names its key, so that there has to be one.
#[test]
fn what_a_stomp_connection_may_hold_is_as_configured() {
    let mut config = Config::default();
    config.stomp.max_receipt_bytes = Size::from_kib(3);
    config.stomp.max_transaction_bytes = Size::from_kib(5);
    let stomp = Settings::new(&config, Arc::new(AuthMethods::default()), None, Vec::new()).stomp;
    assert_eq!((stomp.max_receipt_bytes, stomp.max_transaction_bytes), (3 << 10, 5 << 10));
}
