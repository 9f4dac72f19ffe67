//! `NOCTULE__SECTION__KEY=value`: single keys from the environment, above the file and below the command line.
//!
//! Containers and units set them. A value is written as in the file; quotes around a text may be left out. Of sections that
//! there may be several of, the number (from 0) stands between: `NOCTULE__LISTENER__0__ADDRESS`.

use toml::Value;

use super::load::{self, Checks};
use super::{Config, Problem};

/// What the names of our variables begin with.
const PREFIX: &str = "NOCTULE__";

/// Most `[[section]]` that a variable may count up to: one behind what is there.
const FORM: &str = "write NOCTULE__SECTION__KEY, or NOCTULE__SECTION__NUMBER__KEY where there may be several";

/// One variable.
struct Variable {
    name: String,
    section: String,
    item: Option<usize>,
    key: String,
    text: String,
}

/// The configuration with every variable of ours put in.
///
/// # Errors
/// Everything that is wrong, each with the variable's name in the place of the file's.
pub(super) fn apply(
    config: Config,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<Problem>> {
    let mut ours: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    if ours.is_empty() {
        return Ok(config);
    }
    // Numbers of sections go upwards, so that a second one can be added behind a first.
    ours.sort();
    let mut problems = Vec::new();
    let mut whole = match Value::try_from(&config) {
        Ok(whole) => whole,
        Err(error) => return Err(vec![problem("environment", &error.to_string())]),
    };
    let mut read = Vec::new();
    for (name, text) in ours {
        match Variable::parse(name, text).and_then(|variable| {
            whole = variable.chosen(&whole)?;
            Ok(variable)
        }) {
            Ok(variable) => read.push(variable),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let text = toml::to_string(&whole).map_err(|error| vec![problem("environment", &error.to_string())])?;
    load::parse(&text, "environment", Checks::All)
        .map_err(|problems| problems.iter().map(|found| attributed(&read, found)).collect())
}

/// Gives a contradiction the name of the variable that has a part in it.
fn attributed(read: &[Variable], found: &Problem) -> Problem {
    let variable = read.iter().find(|variable| found.message.starts_with(&format!("{}:", variable.path())));
    problem(variable.map_or("environment", |variable| &variable.name), &found.message)
}

fn problem(name: &str, message: &str) -> Problem {
    Problem { file: name.to_owned(), line: 0, column: 0, message: message.to_owned() }
}

impl Variable {
    fn parse(name: String, text: String) -> Result<Self, Problem> {
        let parts: Vec<&str> = name.strip_prefix(PREFIX).unwrap_or_default().split("__").collect();
        let (section, item, key) = match *parts.as_slice() {
            [section, key] => (section, None, key),
            [section, item, key] => match item.parse() {
                Ok(item) => (section, Some(item), key),
                Err(_) => return Err(problem(&name, &format!("{item} is not a number; {FORM}"))),
            },
            _ => return Err(problem(&name, FORM)),
        };
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        if let Some(unknown) = load::unknown(&section, &key) {
            return Err(problem(&name, &unknown));
        }
        if load::is_list(&section) != item.is_some() {
            let said = if item.is_some() { "there is one only" } else { "there may be several" };
            return Err(problem(&name, &format!("of {section} {said}; {FORM}")));
        }
        Ok(Self { name, section, item, key, text })
    }

    fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// `whole` with this variable in it: read as in a file if that is right, else as a text.
    fn chosen(&self, whole: &Value) -> Result<Value, Problem> {
        // More than one key: something hides behind a line's end.
        let table =
            format!("value = {}", self.text).parse::<toml::Table>().ok().filter(|table| table.len() == 1);
        let as_written = table.and_then(|mut table| table.remove("value"));
        let as_text = Value::String(self.text.clone());
        let mut first = None;
        for value in as_written.into_iter().chain([as_text]) {
            let changed = self.put(whole, value)?;
            match toml::to_string(&changed).map(|text| load::parse(&text, &self.name, Checks::Keys)) {
                Ok(Ok(_)) => return Ok(changed),
                Ok(Err(problems)) => {
                    first = first.or_else(|| Some(problem(&self.name, &problems.first()?.message)));
                }
                Err(error) => first = first.or_else(|| Some(problem(&self.name, &error.to_string()))),
            }
        }
        Err(first.unwrap_or_else(|| problem(&self.name, FORM)))
    }

    fn put(&self, whole: &Value, value: Value) -> Result<Value, Problem> {
        let mut changed = whole.clone();
        let section = changed.as_table_mut().map(|root| {
            let empty = || {
                if self.item.is_some() { Value::Array(Vec::new()) } else { Value::Table(toml::Table::new()) }
            };
            root.entry(self.section.clone()).or_insert_with(empty)
        });
        let table = match (section, self.item) {
            (Some(Value::Table(table)), None) => Some(table),
            (Some(Value::Array(items)), Some(item)) => {
                if item == items.len() {
                    items.push(Value::Table(toml::Table::new()));
                }
                let count = items.len();
                let table = items.get_mut(item).and_then(Value::as_table_mut);
                if table.is_none() {
                    let message = format!(
                        "number {item} is behind the end: there are {count} [[{}]], counted from 0",
                        self.section
                    );
                    return Err(problem(&self.name, &message));
                }
                table
            }
            _ => None,
        };
        table.ok_or_else(|| problem(&self.name, FORM))?.insert(self.key.clone(), value);
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Level, Period, Size};

    fn with(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        apply(Config::default(), variables)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn values_are_written_as_in_the_file_or_without_their_quotes() {
        let config = with(&[
            ("NOCTULE__LIMITS__MAX_INFLIGHT", "7"),
            ("NOCTULE__LIMITS__MAX_PACKET_SIZE", "64KiB"),
            ("NOCTULE__LIMITS__CONNECT_TIMEOUT", "\"3s\""),
            ("NOCTULE__LOG__LEVEL", "debug"),
            ("NOCTULE__LISTENER__0__ADDRESS", "0.0.0.0:2883"),
            ("NOCTULE__LISTENER__0__ANONYMOUS", "true"),
            ("NOCTULE__LISTENER__2__ADDRESS", "127.0.0.1:3883"),
            ("NOCTULE__LISTENER__2__ORIGINS", "[\"https://a\"]"),
            ("NOCTULE__LISTENER__2__WEBSOCKET", "/mqtt"),
            ("NOCTULE__AUTH_JWT__ISSUER", "123"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(config.limits.max_inflight, 7);
        assert_eq!(config.limits.max_packet_size, Size::from_kib(64));
        assert_eq!(config.limits.connect_timeout, Period::from_secs(3));
        assert_eq!(config.log.level, Level::Debug);
        assert_eq!(config.listener.len(), 3);
        assert_eq!(config.listener[0].address.to_string(), "0.0.0.0:2883");
        assert_eq!(config.listener[2].origins[0].as_str(), "https://a");
        assert_eq!(config.auth_jwt.issuer.unwrap().as_str(), "123");
    }

    #[test]
    fn mistakes_name_the_variable() {
        let says = |name: &str, text: &str, expected: &str| {
            assert_eq!(with(&[(name, text)]).unwrap_err(), [format!("{name}: {expected}")], "{name}={text}");
        };
        says(
            "NOCTULE__LIMITS__MAX_INFLGHT",
            "7",
            "limits.max_inflght: unknown key; did you mean max_inflight?",
        );
        says(
            "NOCTULE__LIMITS__MAX_INFLIGHT",
            "0",
            "limits.max_inflight: 0 is not a whole number from 1 to 65535 (default 256)",
        );
        says(
            "NOCTULE__LIMITS__MAX_INFLIGHT",
            "7\nmax_sessions = 1",
            "limits.max_inflight: \"\"\"… is not a whole number from 1 to 65535 (default 256)",
        );
        says("NOCTULE__LIMITS", "7", FORM);
        says("NOCTULE__LISTENER__ADDRESS", "a", &format!("of listener there may be several; {FORM}"));
        says("NOCTULE__LOG__0__LEVEL", "a", &format!("of log there is one only; {FORM}"));
        says("NOCTULE__LISTENER__A__ADDRESS", "a", &format!("A is not a number; {FORM}"));
        says(
            "NOCTULE__LISTENER__9__ADDRESS",
            "127.0.0.1:1",
            "number 9 is behind the end: there are 2 [[listener]], counted from 0",
        );
        let errors = with(&[("NOCTULE__LISTENER__0__ADDRESS", "0.0.0.0:1883")]).unwrap_err();
        assert!(
            errors[0].starts_with("NOCTULE__LISTENER__0__ADDRESS: listener.address: 0.0.0.0:1883 can be"),
            "{errors:?}"
        );
    }
}
