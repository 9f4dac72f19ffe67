//! Writes the rows of a batch. A table is opened only if something in it changes: every table that changes costs pages.

use redb::{ReadableTable, WriteTransaction};

use super::batch::{Batch, ExchangeChange, SessionChange};
use super::error::LogError;
use super::rows::{
    ExchangeRow, RetainedRow, SessionRow, Table, exchange_key, meta, number_key, put_stamp, put_will,
    subscription_key,
};
use super::state::State;
use super::timeline::Stamp;

/// A table of rows, open for writing.
struct Open<'t> {
    kind: Table,
    table: redb::Table<'t, &'static [u8], &'static [u8]>,
}

impl<'t> Open<'t> {
    fn new(transaction: &'t WriteTransaction, kind: Table) -> Result<Self, LogError> {
        Ok(Self { kind, table: transaction.open_table(kind.rows())? })
    }

    fn put(&mut self, key: &[u8], body: impl FnOnce(&mut Vec<u8>)) -> Result<(), LogError> {
        self.table.insert(key, self.kind.value(key, body).as_slice())?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), LogError> {
        self.table.remove(key)?;
        Ok(())
    }

    /// Removes all that belongs to a session.
    fn remove_all(&mut self, session: u64) -> Result<(), LogError> {
        let (from, to) = (session.to_be_bytes(), session.checked_add(1).map(u64::to_be_bytes));
        match &to {
            Some(to) => self.table.retain_in(&from[..]..&to[..], |_, _| false)?,
            None => self.table.retain_in(&from[..].., |_, _| false)?,
        }
        Ok(())
    }
}

/// Writes every row of the batch.
pub(super) fn write(
    batch: &Batch<'_>,
    state: &mut State,
    transaction: &WriteTransaction,
) -> Result<(), LogError> {
    sessions(batch, transaction)?;
    subscriptions(batch, transaction)?;
    exchanges(batch, transaction)?;
    wills(batch, transaction)?;
    groups(batch, transaction)?;
    retained(batch, state, transaction)
}

/// Removes rows that recovery could not read.
pub(super) fn remove_damaged(
    damaged: &[(Table, Box<[u8]>)],
    transaction: &WriteTransaction,
) -> Result<(), LogError> {
    for (table, key) in damaged {
        Open::new(transaction, *table)?.remove(key)?;
    }
    Ok(())
}

/// Writes the row that says when this commit was made, for one that writes no chunk to say it.
pub(super) fn write_clock(stamp: Stamp, transaction: &WriteTransaction) -> Result<(), LogError> {
    Open::new(transaction, Table::Meta)?.put(meta::CLOCK, |out| put_stamp(out, stamp))
}

/// Writes the marks.
pub(super) fn write_marks(state: &State, transaction: &WriteTransaction) -> Result<(), LogError> {
    Open::new(transaction, Table::Meta)?.put(meta::MARKS, |out| state.marks.put(out))
}

/// Writes the format's version.
pub(super) fn write_format(version: u32, transaction: &WriteTransaction) -> Result<(), LogError> {
    Open::new(transaction, Table::Meta)?
        .put(meta::FORMAT, |out| out.extend_from_slice(&version.to_le_bytes()))
}

fn sessions(batch: &Batch<'_>, transaction: &WriteTransaction) -> Result<(), LogError> {
    if batch.ended_sessions.is_empty() && batch.sessions.is_empty() {
        return Ok(());
    }
    let mut open = Open::new(transaction, Table::Sessions)?;
    for &number in &batch.ended_sessions {
        open.remove(&number_key(number))?;
    }
    for (&number, change) in &batch.sessions {
        let key = number_key(number);
        match *change {
            SessionChange::Kept { client_id, user, expiry_s, left_at, born } => {
                open.put(&key, |out| SessionRow { client_id, user, expiry_s, left_at, born }.put(out))?;
            }
            SessionChange::Presence { left_at } => {
                let Some(value) = open.table.get(&key[..])?.map(|row| row.value().to_vec()) else { continue };
                // A damaged row stays damaged; the client's next CONNECT writes a new one.
                let Some(row) = Table::Sessions.parse(&key, &value, SessionRow::parse) else { continue };
                if row.left_at != left_at {
                    open.put(&key, |out| SessionRow { left_at, ..row }.put(out))?;
                }
            }
        }
    }
    Ok(())
}

fn subscriptions(batch: &Batch<'_>, transaction: &WriteTransaction) -> Result<(), LogError> {
    if batch.ended_sessions.is_empty() && batch.subscriptions.is_empty() {
        return Ok(());
    }
    let mut open = Open::new(transaction, Table::Subscriptions)?;
    for &session in &batch.ended_sessions {
        open.remove_all(session)?;
    }
    for (&(session, filter), row) in &batch.subscriptions {
        let key = subscription_key(session, filter);
        match row {
            Some(row) => open.put(&key, |out| row.put(out))?,
            None => open.remove(&key)?,
        }
    }
    Ok(())
}

fn exchanges(batch: &Batch<'_>, transaction: &WriteTransaction) -> Result<(), LogError> {
    if batch.ended_sessions.is_empty() && batch.exchanges.is_empty() {
        return Ok(());
    }
    let mut open = Open::new(transaction, Table::Exchanges)?;
    for &session in &batch.ended_sessions {
        open.remove_all(session)?;
    }
    for (&(session, direction, packet_id), change) in &batch.exchanges {
        let key = exchange_key(session, direction, packet_id);
        let row = match *change {
            ExchangeChange::Gone => {
                open.remove(&key)?;
                continue;
            }
            ExchangeChange::Inbound => ExchangeRow::Inbound,
            ExchangeChange::Sent { sequence, owner, record } => ExchangeRow::Sent { sequence, owner, record },
            ExchangeChange::Received { sequence, begun: true } => ExchangeRow::Received { sequence },
            ExchangeChange::Received { sequence, begun: false } => {
                let row = open.table.get(&key[..])?;
                let begun = row.and_then(|row| Table::Exchanges.parse(&key, row.value(), ExchangeRow::parse));
                match begun {
                    Some(ExchangeRow::Sent { sequence, .. } | ExchangeRow::Received { sequence }) => {
                        ExchangeRow::Received { sequence }
                    }
                    Some(ExchangeRow::Inbound) | None => ExchangeRow::Received { sequence },
                }
            }
        };
        open.put(&key, |out| row.put(out))?;
    }
    Ok(())
}

fn wills(batch: &Batch<'_>, transaction: &WriteTransaction) -> Result<(), LogError> {
    if batch.wills.is_empty() {
        return Ok(());
    }
    let mut open = Open::new(transaction, Table::Wills)?;
    for (&session, will) in &batch.wills {
        let key = number_key(session);
        match will {
            Some(will) => open.put(&key, |out| put_will(out, will))?,
            None => open.remove(&key)?,
        }
    }
    Ok(())
}

fn groups(batch: &Batch<'_>, transaction: &WriteTransaction) -> Result<(), LogError> {
    if batch.ended_groups.is_empty() && batch.groups.is_empty() {
        return Ok(());
    }
    let mut open = Open::new(transaction, Table::Groups)?;
    for &number in &batch.ended_groups {
        open.remove(&number_key(number))?;
    }
    for (&number, row) in &batch.groups {
        open.put(&number_key(number), |out| row.put(out))?;
    }
    Ok(())
}

fn retained(batch: &Batch<'_>, state: &mut State, transaction: &WriteTransaction) -> Result<(), LogError> {
    if batch.retained.is_empty() {
        return Ok(());
    }
    let mut open = Open::new(transaction, Table::Retained)?;
    for (&topic, change) in &batch.retained {
        let key = topic.as_bytes();
        let row = open.table.get(key)?;
        let known = row.and_then(|row| {
            Table::Retained.parse(key, row.value(), |row| RetainedRow::parse(row).map(|row| row.version))
        });
        // A damaged row gives way to anything.
        let newest = known.unwrap_or(0);
        match change.message {
            _ if newest > change.version => {}
            None => {
                open.remove(key)?;
                state.cleared.insert(topic.into(), change.version);
            }
            Some(_) if state.cleared.get(topic).is_some_and(|&cleared| cleared >= change.version) => {}
            Some(message) => {
                let expires_at = state.timeline.at(message.expires_ms());
                open.put(key, |out| RetainedRow::of(message, change.version, expires_at).put(out))?;
            }
        }
    }
    Ok(())
}
