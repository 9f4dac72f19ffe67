//! Where something stands in the file: from byte spans to key paths and back, and to line and column.
//!
//! What the file says is not judged here.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

/// The way from the root of the file to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// `section.name`.
    pub(super) fn key(section: &str, name: &str) -> Self {
        Self(vec![Step::Key(section.to_owned()), Step::Key(name.to_owned())])
    }

    /// A whole section.
    pub(super) fn section(name: &str) -> Self {
        Self(vec![Step::Key(name.to_owned())])
    }

    /// `name` in the `index`th `[[section]]`, counted from 0.
    pub(super) fn item(section: &str, index: usize, name: &str) -> Self {
        Self(vec![Step::Key(section.to_owned()), Step::Item(index), Step::Key(name.to_owned())])
    }

    /// What the value is in.
    pub(super) fn parent(&self) -> Self {
        let way = self.0.split_last().map_or(&[][..], |(_, way)| way);
        Self(way.to_vec())
    }

    /// The keys alone; which item of a list is said by the line.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(name) => Some(name.as_str()),
            Step::Item(_) => None,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.names().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{name}")?;
        }
        Ok(())
    }
}

/// What stands at a span.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Key(Path),
    Value(Path),
}

impl Found {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Key(path) | Self::Value(path) => path,
        }
    }
}

/// Looks up whose span `span` is.
pub(super) fn find(table: &DeTable<'_>, span: &Range<usize>) -> Option<Found> {
    fn in_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut Path) -> Option<Found> {
        for (key, value) in table {
            path.0.push(Step::Key(key.get_ref().to_string()));
            if key.span() == *span {
                return Some(Found::Key(path.clone()));
            }
            let found = in_value(value, span, path);
            if found.is_some() {
                return found;
            }
            path.0.pop();
        }
        None
    }

    fn in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut Path) -> Option<Found> {
        // Children first: the first pair of a table may begin where the table begins.
        match value.get_ref() {
            DeValue::Table(table) => {
                let found = in_table(table, span, path);
                if found.is_some() {
                    return found;
                }
            }
            DeValue::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.0.push(Step::Item(at));
                    let found = in_value(item, span, path);
                    if found.is_some() {
                        return found;
                    }
                    path.0.pop();
                }
            }
            _ => {}
        }
        (value.span() == *span).then(|| Found::Value(path.clone()))
    }

    in_table(table, span, &mut Path::default())
}

/// The span of the value at `path`, if the file has one.
pub(super) fn span_of(table: &DeTable<'_>, path: &Path) -> Option<Range<usize>> {
    let (first, rest) = path.0.split_first()?;
    let Step::Key(first) = first else { return None };
    let mut value = table.get(first.as_str())?;
    for step in rest {
        value = match (value.get_ref(), step) {
            (DeValue::Table(table), Step::Key(name)) => table.get(name.as_str())?,
            (DeValue::Array(items), Step::Item(at)) => items.get(*at)?,
            _ => return None,
        };
    }
    Some(value.span())
}

/// Takes the value at `path` out, so that what is left can be judged without it.
pub(super) fn remove(table: &mut DeTable<'_>, path: &Path) -> bool {
    let Some((Step::Key(last), way)) = path.0.split_last() else { return false };
    let Some((first, rest)) = way.split_first() else { return table.remove(last.as_str()).is_some() };
    let Step::Key(first) = first else { return false };
    let Some(mut value) = table.get_mut(first.as_str()) else { return false };
    for step in rest {
        let next = match (value.get_mut(), step) {
            (DeValue::Table(table), Step::Key(name)) => table.get_mut(name.as_str()),
            (DeValue::Array(items), Step::Item(at)) => items.get_mut(*at),
            _ => None,
        };
        let Some(next) = next else { return false };
        value = next;
    }
    match value.get_mut() {
        DeValue::Table(table) => table.remove(last.as_str()).is_some(),
        _ => false,
    }
}

/// Line and column (in characters) of a byte offset, both counted from 1.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("a\nb", 2), (2, 1));
        assert_eq!(line_and_column("é = 1", 5), (1, 5));
        assert_eq!(line_and_column("ab", 99), (1, 3));
    }

    #[test]
    fn spans_and_paths_lead_to_each_other() {
        let text = "[server]\nworkers = 2\n[[listener]]\naddress = \"a\"\n[[listener]]\naddress = \"b\"\n";
        let mut table = DeTable::parse(text).unwrap().into_inner();
        let workers = Path::key("server", "workers");
        let second = Path::item("listener", 1, "address");
        for path in [workers, second.clone()] {
            let span = span_of(&table, &path).unwrap();
            assert_eq!(find(&table, &span), Some(Found::Value(path)));
        }
        assert!(remove(&mut table, &second));
        assert!(!remove(&mut table, &second));
        assert_eq!(span_of(&table, &second), None);
        assert!(span_of(&table, &Path::item("listener", 0, "address")).is_some());
    }
}
