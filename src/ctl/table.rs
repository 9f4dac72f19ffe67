//! JSON for people: tables, and lists of facts.

use std::io::{self, Write};

use serde_json::Value;

/// Rows under a head, each column as wide as what it holds.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    /// Whether a column holds numbers only, which end at its right.
    numbers: Vec<bool>,
}

impl Table {
    /// A row for each of `items`, a column for each (head, key).
    pub(super) fn of(items: &[Value], columns: &[(&str, &str)]) -> Self {
        let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let cells = items.iter().map(|item| columns.iter().map(|(_, key)| text(item.get(key))).collect());
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let is_number = |key: &str| {
            let mut known = items.iter().filter_map(|item| item.get(key)).peekable();
            known.peek().is_some() && known.all(Value::is_number)
        };
        Self {
            widths: (0..columns.len()).map(width).collect(),
            numbers: columns.iter().map(|(_, key)| is_number(key)).collect(),
            rows,
        }
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), is_number) in row.iter().zip(&self.widths).zip(&self.numbers) {
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, behind) = if *is_number { (gap.as_str(), "") } else { ("", gap.as_str()) };
                line.push_str(before);
                line.push_str(cell);
                line.push_str(behind);
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// These fields on a line.
pub(super) fn line(object: &Value, keys: &[&str], out: &mut impl Write) -> io::Result<()> {
    let told: Vec<_> = keys.iter().map(|key| text(object.get(key))).collect();
    writeln!(out, "{}", told.join("  "))
}

/// A line for each field that says something; what is a list is left out.
pub(super) fn facts(object: &Value, out: &mut impl Write) -> io::Result<()> {
    let Value::Object(fields) = object else { return Ok(()) };
    let told: Vec<_> = fields.iter().filter(|(_, value)| !value.is_array() && !value.is_object()).collect();
    let width = told.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    for (key, value) in told {
        writeln!(out, "{:width$}  {}", key.replace('_', " "), text(Some(value)))?;
    }
    Ok(())
}

/// On one line, without what would move a terminal's cursor: names are chosen by clients.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => {
            let plain = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
            text.chars().map(plain).collect()
        }
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(items: &[Value], columns: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        Table::of(items, columns).write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_what_they_hold_and_numbers_end_at_the_right() {
        let items = [json!({ "name": "a", "count": 1_000 }), json!({ "name": "longer", "count": 2 })];
        let table = written(&items, &[("NAME", "name"), ("N", "count"), ("OTHER", "other")]);
        assert_eq!(table, "NAME       N  OTHER\na       1000  -\nlonger     2  -\n");
    }

    #[test]
    fn a_client_identifier_moves_no_cursor() {
        let table = written(&[json!({ "name": "a\u{1b}[2J\nb\u{9b}" })], &[("NAME", "name")]);
        assert_eq!(table, "NAME\na\u{fffd}[2J\u{fffd}b\u{fffd}\n");
    }
}
