//! What a restart makes of the file: first the rows, then the log, chunk by chunk, of which only the index and the
//! queues' stubs stay in memory.
//!
//! Nothing is written here: what has to change on disk waits for the first commit, so that a full or read-only disk can
//! still be read.

mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::num::NonZeroU16;

use noctule_core::id::Qos;
use noctule_core::message::{Message, MessagePool};
use noctule_core::queue::Stub;
use noctule_core::store::{
    Exchange, KeptWill, Recovered, RecoveredGroup, RecoveredSession, RecoveredWill, SessionNumber,
};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableError, TableHandle};

use super::chunk::Chunk;
use super::encoding::Reader;
use super::error::{LogError, OpenError};
use super::index::{Place, Settled};
use super::lookup::{Looked, Lookup};
use super::record::{Record, StoredMessage};
use super::rows::{
    CHUNKS, Direction, ExchangeRow, Marks, RetainedRow, SessionRow, SubscriptionRow, Table, meta,
    parse_stamp, parse_will, split_exchange_key, split_key,
};
use super::state::State;
use super::timeline::{Clocks, Stamp, Timeline};
use super::{FORMAT, Lost, OLDEST_FORMAT};

/// Acknowledgements that are held in memory while the log is read.
const HELD: usize = 1 << 20;

/// What the first commit has to do on disk besides its own.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// Sessions whose client was connected, and the broker time at which it is taken to have left.
    pub(super) left: Vec<u64>,
    pub(super) left_at: u64,
    /// Sessions that have ended, and those of which only remains are there.
    pub(super) ended: BTreeSet<u64>,
    /// Record and recipient of what has died with a session.
    pub(super) acknowledged: Vec<(u64, u64)>,
    /// Exchanges whose message has expired.
    pub(super) exchanges: Vec<(u64, Direction, u16)>,
    /// Retained messages that have expired, by topic and version.
    pub(super) retained: Vec<(Box<str>, u64)>,
    /// Rows that can't be read.
    pub(super) damaged: Vec<(Table, Box<[u8]>)>,
    /// Chunks that can't be read.
    pub(super) chunks: Vec<u64>,
    /// The format's row can't be read, or says that the file is older.
    pub(super) format: bool,
}

impl Deferred {
    pub(super) fn is_nothing(&self) -> bool {
        let Self { left, left_at: _, ended, acknowledged, exchanges, retained, damaged, chunks, format } =
            self;
        left.is_empty()
            && ended.is_empty()
            && acknowledged.is_empty()
            && exchanges.is_empty()
            && retained.is_empty()
            && damaged.is_empty()
            && chunks.is_empty()
            && !format
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) state: State,
    pub(super) deferred: Deferred,
    pub(super) recovered: Recovered,
    pub(super) lost: Lost,
}

/// Whether nothing was ever written to the database.
pub(super) fn is_empty(db: &Database) -> Result<bool, OpenError> {
    Ok(db.begin_read()?.list_tables()?.next().is_none())
}

/// Who had the file open before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Another process: its clients are gone, and time has passed that nobody has watched.
    AnotherProcess,
    /// This one, whose clients are still here and whose engines see themselves to what expires.
    Ourselves,
}

/// Reads everything.
pub(super) fn recover(db: &Database, clock: &Clocks, before: Before) -> Result<Outcome, OpenError> {
    let transaction = db.begin_read()?;
    let format = check_format(&transaction)?;
    let mut recovery = Recovery::new(&transaction, clock, before);
    recovery.deferred.format = format != Some(FORMAT);
    recovery.lost.rows += u64::from(format.is_none());
    recovery.meta()?;
    recovery.sessions()?;
    recovery.groups()?;
    recovery.subscriptions()?;
    recovery.exchanges()?;
    recovery.chunks()?;
    recovery.grouped()?;
    recovery.queues()?;
    recovery.wills()?;
    recovery.retained()?;
    Ok(recovery.finish())
}

/// Makes sure that the file is ours and that we understand it: its format, or `None` if that could only be guessed.
fn check_format(transaction: &ReadTransaction) -> Result<Option<u32>, OpenError> {
    let ours = transaction.list_tables()?.any(|table| table.name() == Table::Meta.name());
    if !ours {
        return Err(OpenError::NotOurs);
    }
    let table = match transaction.open_table(Table::Meta.rows()) {
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(OpenError::NotOurs),
        Ok(table) => table,
    };
    let Some(value) = table.get(meta::FORMAT)? else { return Err(OpenError::NotOurs) };
    let format = |reader: &mut Reader<'_>| reader.array().map(u32::from_le_bytes);
    match Table::Meta.parse(meta::FORMAT, value.value(), format) {
        Some(found) if !(OLDEST_FORMAT..=FORMAT).contains(&found) => {
            Err(OpenError::ForeignFormat { found, known: FORMAT })
        }
        format => Ok(format),
    }
}

/// A session in the making.
struct Session {
    recovered: RecoveredSession,
    /// Broker times, ms; `u64::MAX` for never.
    left_at: u64,
    expires_at: u64,
}

/// An outbound exchange.
#[derive(Clone, Copy)]
struct Outbound {
    session: u64,
    sequence: u64,
    packet_id: NonZeroU16,
    /// Owner and record; `None` once it was received.
    sent: Option<(u64, u64)>,
}

struct Recovery<'t> {
    transaction: &'t ReadTransaction,
    clock: &'t Clocks,
    before: Before,
    /// Broker time now.
    now: u64,
    state: State,
    deferred: Deferred,
    lost: Lost,
    sessions: BTreeMap<u64, Session>,
    groups: BTreeMap<u64, RecoveredGroup>,
    /// Group and record of what groups had not acknowledged when it was read.
    grouped: Vec<(u64, u64)>,
    outbound: Vec<Outbound>,
    /// Owner and record of what was sent.
    under_way: BTreeSet<(u64, u64)>,
    /// Owner and record of what a group had lent to sessions that have ended.
    died: Vec<(u64, u64)>,
    /// The highest numbers seen.
    seen: Marks,
    recovered: Recovered,
}

impl<'t> Recovery<'t> {
    fn new(transaction: &'t ReadTransaction, clock: &'t Clocks, before: Before) -> Self {
        Self {
            transaction,
            clock,
            before,
            now: 0,
            state: State::default(),
            deferred: Deferred::default(),
            lost: Lost::default(),
            sessions: BTreeMap::new(),
            groups: BTreeMap::new(),
            grouped: Vec::new(),
            outbound: Vec::new(),
            under_way: BTreeSet::new(),
            died: Vec::new(),
            seen: Marks::default(),
            recovered: Recovered::default(),
        }
    }

    /// Whether something that ends at the broker time `at` has.
    fn is_over(&self, at: u64) -> bool {
        self.before == Before::AnotherProcess && at <= self.now
    }

    /// A row of a session without a row of its own: what is left of it goes.
    fn orphan(&mut self, session: u64) {
        if self.before == Before::AnotherProcess {
            self.deferred.ended.insert(session);
        }
    }

    /// Calls `each` with every row of a table; what it can make no sense of is lost.
    fn rows(
        &mut self,
        table: Table,
        mut each: impl FnMut(&mut Self, &[u8], &[u8]) -> Option<()>,
    ) -> Result<(), LogError> {
        let rows = match self.transaction.open_table(table.rows()) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            rows => rows?,
        };
        for row in rows.iter()? {
            let (key, value) = row?;
            if each(self, key.value(), value.value()).is_none() {
                self.lost.rows += 1;
                self.deferred.damaged.push((table, key.value().into()));
            }
        }
        Ok(())
    }

    /// The clock, which everything else is judged by, and the marks.
    fn meta(&mut self) -> Result<(), LogError> {
        let mut last = self.last_chunks_stamp()?;
        self.rows(Table::Meta, |this, key, value| {
            let meta = Table::Meta;
            match key {
                meta::CLOCK => {
                    let stamp = meta.parse(key, value, parse_stamp)?;
                    if last.is_none_or(|last| stamp.at >= last.at) {
                        last = Some(stamp);
                    }
                }
                meta::MARKS => this.state.marks = meta.parse(key, value, Marks::parse)?,
                // The format was looked at before, and what a later version adds to this one does no harm.
                _ => {}
            }
            Some(())
        })?;
        self.state.timeline = Timeline::resume(last, self.clock);
        self.now = self.state.timeline.at(self.clock.mono_ms);
        self.deferred.left_at = self.now;
        Ok(())
    }

    fn last_chunks_stamp(&self) -> Result<Option<Stamp>, LogError> {
        let chunks = match self.transaction.open_table(CHUNKS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            chunks => chunks?,
        };
        for chunk in chunks.iter()?.rev() {
            let (number, value) = chunk?;
            if let Some(chunk) = Chunk::open(number.value(), value.value()) {
                return Ok(Some(chunk.stamp));
            }
        }
        Ok(None)
    }

    fn sessions(&mut self) -> Result<(), LogError> {
        self.rows(Table::Sessions, |this, key, value| {
            let row = Table::Sessions.parse(key, value, SessionRow::parse)?;
            let (number, _) = split_key(key)?;
            this.seen.session = this.seen.session.max(number);
            let left_at = row.left_at.unwrap_or(this.now);
            let expires_at = match row.expiry_s {
                u32::MAX => u64::MAX,
                seconds => left_at.saturating_add(u64::from(seconds) * 1_000),
            };
            if this.is_over(expires_at) {
                this.deferred.ended.insert(number);
                return Some(());
            }
            if row.left_at.is_none() && this.before == Before::AnotherProcess {
                this.deferred.left.push(number);
            }
            this.state.known.insert(number, row.born);
            let recovered = RecoveredSession {
                number: SessionNumber(number),
                client_id: row.client_id.into(),
                user: row.user.map(Into::into),
                expiry_s: row.expiry_s,
                expires_ms: this.state.timeline.mono_ms(expires_at),
                will: None,
                subscriptions: Vec::new(),
                queue: Vec::new(),
                outbound: Vec::new(),
                inbound: Vec::new(),
            };
            this.sessions.insert(number, Session { recovered, left_at, expires_at });
            Some(())
        })
    }

    fn subscriptions(&mut self) -> Result<(), LogError> {
        self.rows(Table::Subscriptions, |this, key, value| {
            let row = Table::Subscriptions.parse(key, value, SubscriptionRow::parse)?;
            let (number, filter) = split_key(key)?;
            let filter = std::str::from_utf8(filter).ok()?;
            match this.sessions.get_mut(&number) {
                Some(session) => session.recovered.subscriptions.push(row.recovered(filter)),
                None => this.orphan(number),
            }
            Some(())
        })
    }

    fn exchanges(&mut self) -> Result<(), LogError> {
        self.rows(Table::Exchanges, |this, key, value| {
            let row = Table::Exchanges.parse(key, value, ExchangeRow::parse)?;
            let (session, direction, packet_id) = split_exchange_key(key)?;
            let packet_id = NonZeroU16::new(packet_id)?;
            let Some(known) = this.sessions.get_mut(&session) else {
                // What a group had lent it dies with it [MQTT-4.8.2-5].
                if let ExchangeRow::Sent { owner, record, .. } = row
                    && owner != session
                    && this.before == Before::AnotherProcess
                {
                    this.died.push((owner, record));
                }
                this.orphan(session);
                return Some(());
            };
            let (sequence, sent) = match (direction, row) {
                (Direction::Inbound, ExchangeRow::Inbound) => {
                    known.recovered.inbound.push(packet_id);
                    return Some(());
                }
                (Direction::Outbound, ExchangeRow::Sent { sequence, owner, record }) => {
                    this.under_way.insert((owner, record));
                    (sequence, Some((owner, record)))
                }
                (Direction::Outbound, ExchangeRow::Received { sequence }) => (sequence, None),
                _ => return None,
            };
            this.state.sequence = this.state.sequence.max(sequence);
            this.outbound.push(Outbound { session, sequence, packet_id, sent });
            Some(())
        })
    }

    /// Reads the log, oldest chunk first.
    fn chunks(&mut self) -> Result<(), LogError> {
        let chunks = match self.transaction.open_table(CHUNKS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            chunks => chunks?,
        };
        let mut acknowledged = Vec::new();
        let mut spare = Vec::new();
        for chunk in chunks.iter()? {
            let (number, value) = chunk?;
            let number = number.value();
            let Some(chunk) = Chunk::open(number, value.value()) else {
                self.lost.chunks += 1;
                self.deferred.chunks.push(number);
                continue;
            };
            self.state.chunks.push(number, value.value().len());
            for piece in chunk.pieces() {
                match piece.record {
                    Some(Record::Message(message)) => {
                        // A chunk with more than one record is small, and one record is below 2³² bytes.
                        let place =
                            Place { chunk: number, offset: piece.offset as u32, len: piece.len as u32 };
                        self.message(&message, place, &mut spare);
                    }
                    Some(Record::Acknowledged(pairs)) => acknowledged.extend(pairs.pairs()),
                    // The last one counts, be it here or with a copy of the message.
                    Some(Record::Delivered(numbers)) => {
                        let numbers =
                            numbers.triples().map(|(record, session, number)| ((session, record), number));
                        self.state.deliveries.extend(numbers);
                    }
                    None => self.lost.records += 1,
                }
            }
            if acknowledged.len() >= HELD {
                self.acknowledge(&mut acknowledged);
            }
        }
        self.acknowledge(&mut acknowledged);
        for (owner, record) in mem::take(&mut self.died) {
            if self.state.settle(record, owner) != Settled::NoRecipient {
                self.deferred.acknowledged.push((record, owner));
            }
        }
        for place in self.state.index.places() {
            self.state.chunks.settle_in(place);
        }
        Ok(())
    }

    fn message(&mut self, message: &StoredMessage<'_>, place: Place, spare: &mut Vec<u64>) {
        self.seen.record = self.seen.record.max(message.record);
        spare.clear();
        for recipient in message.recipients() {
            let session = recipient.session;
            self.seen.session = self.seen.session.max(session);
            if self.state.known.get(&session).is_none_or(|&born| place.chunk < born) {
                continue;
            }
            let under_way = self.under_way.contains(&(session, message.record));
            if self.is_over(message.expires_at) && !under_way {
                continue;
            }
            spare.push(session);
            if recipient.deliveries > 0 {
                self.state.deliveries.insert((session, message.record), recipient.deliveries);
            } else if !self.state.deliveries.is_empty() {
                self.state.deliveries.remove(&(session, message.record));
            }
            if under_way {
                continue;
            }
            let Some(known) = self.sessions.get_mut(&session) else {
                self.grouped.push((session, message.record));
                continue;
            };
            let stub = Stub {
                record: message.record,
                cost: message.cost(),
                qos: recipient.qos,
                retain: recipient.retain,
            };
            known.recovered.queue.push(stub);
        }
        self.state.index.append(message.record, spare, place);
    }

    /// Applies what was acknowledged of the messages read so far.
    fn acknowledge(&mut self, pairs: &mut Vec<(u64, u64)>) {
        self.state.index.order();
        for (record, session) in pairs.drain(..) {
            self.state.index.settle(record, session);
        }
        let State { index, deliveries, .. } = &mut self.state;
        index.tidy();
        deliveries.retain(|&(session, record), _| index.waits(record, session));
    }

    /// Puts the sessions' queues in order, and fetches what is under way.
    fn queues(&mut self) -> Result<(), LogError> {
        let Self { state, sessions, .. } = self;
        let ordered = |number: u64, queue: &mut Vec<Stub>| {
            queue.retain(|stub| state.index.waits(stub.record, number));
            queue.sort_by_key(|stub| stub.record);
            queue.dedup_by_key(|stub| stub.record);
            queue.shrink_to_fit();
        };
        for (&number, session) in &mut *sessions {
            ordered(number, &mut session.recovered.queue);
        }
        let mut lookup = match self.transaction.open_table(CHUNKS) {
            Err(TableError::TableDoesNotExist(_)) => None,
            chunks => Some(Lookup::new(chunks?)),
        };
        let mut find = |owner: u64, record: u64| {
            let place = state.index.place(record).filter(|_| state.index.waits(record, owner));
            match (&mut lookup, place) {
                (Some(lookup), Some(place)) => {
                    lookup.message(place, record, owner, state.timeline, &mut MessagePool::default())
                }
                _ => Ok(None),
            }
        };
        let mut expired = Vec::new();
        let is_expired = |message: &Message| {
            self.before == Before::AnotherProcess && message.is_expired(self.clock.mono_ms)
        };
        self.outbound.sort_by_key(|exchange| (exchange.session, exchange.sequence, exchange.packet_id));
        for exchange in &self.outbound {
            let Outbound { session, packet_id, sent, .. } = *exchange;
            let found = match sent {
                Some((owner, record)) => find(owner, record)?.map(|found| (owner, found)),
                None => None,
            };
            let Some(known) = sessions.get_mut(&session) else { continue };
            let exchange = match found {
                Some((owner, found)) if is_expired(&found.loaded.message) => {
                    expired.push((owner, found.loaded.message.record()));
                    if found.qos < Qos::ExactlyOnce {
                        let key = (session, Direction::Outbound, packet_id.get());
                        self.deferred.exchanges.push(key);
                        continue;
                    }
                    Exchange::Received
                }
                Some((owner, Looked { loaded, qos, retain })) => {
                    Exchange::Sent { loaded, owner: SessionNumber(owner), qos, retain }
                }
                // Without its message it ends with PUBREL: the client may hold the packet id.
                None => Exchange::Received,
            };
            known.recovered.outbound.push((packet_id, exchange));
        }
        for (owner, record) in expired {
            self.state.settle(record, owner);
        }
        Ok(())
    }

    fn wills(&mut self) -> Result<(), LogError> {
        self.rows(Table::Wills, |this, key, value| {
            let will: KeptWill = Table::Wills.parse(key, value, parse_will)?;
            let (number, _) = split_key(key)?;
            this.seen.session = this.seen.session.max(number);
            match this.sessions.get_mut(&number) {
                Some(session) => {
                    let due_at = session.left_at.saturating_add(u64::from(will.delay_s) * 1_000);
                    let due_ms = this.state.timeline.mono_ms(due_at.min(session.expires_at));
                    session.recovered.will = Some((will, due_ms));
                }
                None => this.recovered.wills.push(RecoveredWill { number: SessionNumber(number), will }),
            }
            Some(())
        })
    }

    fn retained(&mut self) -> Result<(), LogError> {
        self.rows(Table::Retained, |this, key, value| {
            let row = Table::Retained.parse(key, value, RetainedRow::parse)?;
            this.seen.version = this.seen.version.max(row.version);
            let message = row.restore(key, this.state.timeline.mono_ms(row.expires_at))?;
            if this.is_over(row.expires_at) {
                this.deferred.retained.push((message.topic().as_str().into(), row.version));
            } else {
                this.recovered.retained.push((row.version, message));
            }
            Some(())
        })
    }

    fn finish(self) -> Outcome {
        let Self { mut state, deferred, lost, sessions, groups, seen, mut recovered, before, .. } = self;
        recovered.sessions = sessions.into_values().map(|session| session.recovered).collect();
        recovered.groups = groups.into_values().collect();
        // Without its row a mark may have been anywhere in the step above what was seen.
        let last = |mark: u64, seen: u64| if seen > mark { seen.saturating_add(Marks::STEP) } else { mark };
        recovered.last_session = last(state.marks.session, seen.session);
        if before == Before::AnotherProcess {
            state.last_before = recovered.last_session;
        }
        recovered.last_record = last(state.marks.record, seen.record);
        recovered.last_version = last(state.marks.version, seen.version);
        Outcome { state, deferred, recovered, lost }
    }
}
