//! The noctule.toml that is being written: tables in the order of a person's file, each key below what it comes from.

/// One table of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// `[limits]`, `[[acl]]`.
    heading: &'static str,
    /// Lines above the heading, without their `#`.
    about: Vec<String>,
    /// Comments above a key, the key, and its value as TOML.
    keys: Vec<(Vec<String>, &'static str, String)>,
    /// Whether it is written as a comment, for somebody to look at before it holds.
    is_off: bool,
}

impl Table {
    pub(super) fn new(heading: &'static str) -> Self {
        Self { heading, ..Self::default() }
    }

    /// One more line above the heading.
    pub(super) fn about(&mut self, text: impl Into<String>) -> &mut Self {
        self.about.push(text.into());
        self
    }

    /// A line above all others.
    pub(super) fn about_first(&mut self, text: impl Into<String>) {
        self.about.insert(0, text.into());
    }

    /// A key, whose value is TOML already, below a line that says where it comes from. Put once more it stays where it is.
    pub(super) fn put(
        &mut self,
        from: impl Into<String>,
        key: &'static str,
        value: impl Into<String>,
    ) -> &mut Self {
        let from = from.into();
        let comments = if from.is_empty() { Vec::new() } else { vec![from] };
        let new = (comments, key, value.into());
        match self.keys.iter_mut().find(|(_, known, _)| *known == key) {
            Some(known) => *known = new,
            None => self.keys.push(new),
        }
        self
    }

    /// Has it written as a comment.
    pub(super) fn switch_off(&mut self) {
        self.is_off = true;
    }

    pub(super) fn is_off(&self) -> bool {
        self.is_off
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.about.is_empty()
    }

    fn write(&self, out: &mut String) {
        let mut line = |text: &str, is_comment: bool| {
            let mark = match (is_comment, self.is_off) {
                (true, _) => "# ",
                (false, true) => "#",
                (false, false) => "",
            };
            // What stands in a comment comes from a file: it must not end it.
            let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            out.push_str(mark);
            out.push_str(&text);
            out.push('\n');
        };
        for about in &self.about {
            line(about, true);
        }
        line(self.heading, false);
        for (comments, key, value) in &self.keys {
            for comment in comments {
                line(comment, true);
            }
            line(&format!("{key} = {value}"), false);
        }
    }
}

/// The whole file.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) about: Vec<String>,
    pub(super) server: Table,
    pub(super) store: Table,
    pub(super) limits: Table,
    pub(super) delivery: Table,
    pub(super) queues: Table,
    pub(super) auth: Table,
    pub(super) acl: Vec<Table>,
    pub(super) tls: Vec<Table>,
    pub(super) log: Table,
    pub(super) listeners: Vec<Table>,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            about: Vec::new(),
            server: Table::new("[server]"),
            store: Table::new("[store]"),
            limits: Table::new("[limits]"),
            delivery: Table::new("[delivery]"),
            queues: Table::new("[queues]"),
            auth: Table::new("[auth]"),
            acl: Vec::new(),
            tls: Vec::new(),
            log: Table::new("[log]"),
            listeners: Vec::new(),
        }
    }

    /// The file's text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.about {
            out.push_str("# ");
            out.push_str(line);
            out.push('\n');
        }
        let single = [&self.server, &self.store, &self.limits, &self.delivery, &self.queues, &self.auth];
        let tables =
            single.into_iter().chain(&self.acl).chain(&self.tls).chain([&self.log]).chain(&self.listeners);
        for table in tables.filter(|table| !table.is_empty()) {
            out.push('\n');
            table.write(&mut out);
        }
        out
    }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts as TOML writes it.
pub(super) fn list<T: AsRef<str>>(texts: &[T]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}
