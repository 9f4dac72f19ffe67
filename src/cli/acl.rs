//! `noctule acl explain`: may this client do that, and which line of the file says so.
//!
//! The core decides and gives its reasons; here they are put beside the file.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use noctule_core::acl::{Actions, Answer, Explanation, Identity, Rule, Rules, Shapes, Verdict};
use noctule_core::hash::Seed;
use noctule_core::id::Qos;
use noctule_core::policy::{Action, Policy};
use noctule_core::topic::{Subscribed, TopicFilter, TopicLimits, TopicName};
use noctule_stomp::{Dialect, Grammar, Purpose, Token};

use super::{Exit, client};
use crate::config::{Config, ConfigError};

/// Most rules shown of those that nearly decided; the first are the likeliest slips.
const MAX_NEAR: usize = 5;

/// Most rules shown of those that share a filter out.
const MAX_SHARES: usize = 20;

/// Longest rule shown, characters.
const MAX_RULE: usize = 160;

const AFTER_HELP: &str = "\
Examples:
  noctule acl explain -c noctule.toml --user alice publish sensors/alice/temperature
  noctule acl explain -c noctule.toml --client press-7 --address 10.0.0.7 subscribe 'plant/#'
  noctule acl explain -c noctule.toml --group operators manage /queue/jobs

The file is read, nothing else: whether there is such a user, and in which groups, is not looked up. What a token brings
with it is not known here. A destination of STOMP (/topic/a, /queue/q) is taken as the native dialect takes it; the MQTT
topic /topic/a is the destination /topic//topic/a.

Exit codes: 0 allowed, 1 denied, 2 wrong command line, or a file that is wrong or cannot be read.";

/// Arguments of `noctule acl`.
#[derive(Clone, Debug, Args)]
pub struct AclArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AclCommand,
}

/// The commands of `noctule acl`.
#[derive(Clone, Debug, Subcommand)]
pub enum AclCommand {
    /// Say whether a client may do something, and which rule decides
    Explain(ExplainArgs),
}

/// Arguments of `noctule acl explain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ExplainArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// The client's user name [default: it is anonymous]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,

    /// A group that the user is in; may be repeated
    #[arg(short, long = "group", value_name = "GROUP", requires = "user")]
    groups: Vec<String>,

    /// Its client identifier [default: nothing, which no rule with clients or %c is about]
    #[arg(short = 'i', long = "client", value_name = "ID", default_value = "", hide_default_value = true)]
    client_id: String,

    /// Where it comes from [default: a Unix socket, which has no address]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,

    /// Quality of service: of the message, or the one it asks for
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = client::qos)]
    qos: Qos,

    /// The message is to be retained, which takes a right of its own
    #[arg(short, long)]
    retain: bool,

    /// What it does
    #[arg(value_name = "ACTION")]
    deed: Deed,

    /// Topic, for `subscribe` and `manage` a filter, or a destination of STOMP
    #[arg(value_name = "TOPIC")]
    topic: String,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Deed {
    /// Publish a message, live or as a will, or send to a queue
    Publish,
    /// Subscribe to a filter, or consume from a queue
    Subscribe,
    /// Be delivered a message of a topic that it has subscribed to
    Receive,
    /// Say what is to hold for a queue, or end one
    Manage,
}

/// What is asked about.
enum Wanted {
    Name(String),
    Filter(TopicFilter),
}

impl AclArgs {
    /// Says whether, and why: the answer goes to `out`, mistakes to `err`.
    ///
    /// # Errors
    /// Only if writing fails.
    pub fn run(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<Exit> {
        let AclCommand::Explain(explain) = &self.command;
        explain.run(out, err)
    }
}

impl ExplainArgs {
    fn run(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<Exit> {
        let (config, text) = match read(&self.config) {
            Ok(read) => read,
            Err(error) => {
                writeln!(err, "{error}")?;
                return Ok(Exit::Usage);
            }
        };
        let limits = TopicLimits {
            max_bytes: config.limits.max_topic_bytes,
            max_levels: config.limits.max_topic_levels,
        };
        let (wanted, read_as) = match self.wanted(&limits) {
            Ok(wanted) => wanted,
            Err(message) => {
                writeln!(err, "noctule: {message}")?;
                return Ok(Exit::Usage);
            }
        };
        let rules = match config.rules() {
            Ok(rules) => rules.map(Arc::new),
            Err(error) => {
                // Reading has found it before.
                writeln!(err, "{}: {error}", self.config.display())?;
                return Ok(Exit::Usage);
            }
        };
        let policy = Policy { rules, ..Policy::default() };
        let groups: Vec<Arc<str>> = self.groups.iter().map(|group| group.as_str().into()).collect();
        let who = Identity {
            user: self.user.as_deref(),
            groups: &groups,
            client_id: &self.client_id,
            address: self.address,
            is_partial: false,
        };
        let action = self.action(&wanted);
        let explanation = policy.explain(who, action);
        let told = File { path: &self.config, text: &text, lines: Config::acl_lines(&text) };
        self.verdict(&explanation, most(&policy, who, action), read_as.as_deref(), out)?;
        reason(&explanation, &told, out)?;
        if let (Wanted::Filter(filter), Some(rules)) = (&wanted, policy.rules.as_deref()) {
            self.shares(filter, who, action, rules, &told, out)?;
        }
        near(&explanation, &told, out)?;
        Ok(match explanation.verdict {
            Verdict::Allow => Exit::Done,
            Verdict::Deny => Exit::Failed,
        })
    }

    fn action<'a>(&self, wanted: &'a Wanted) -> Action<'a> {
        match (self.deed, wanted) {
            (Deed::Publish, Wanted::Name(topic)) => {
                Action::Publish { topic, qos: self.qos, retain: self.retain }
            }
            (Deed::Manage, Wanted::Filter(filter)) => Action::Manage(filter),
            (_, Wanted::Filter(filter)) => Action::Subscribe(filter),
            (_, Wanted::Name(topic)) => Action::Receive(topic),
        }
    }

    /// What the topic means, and how it was read if not as it stands.
    fn wanted(&self, limits: &TopicLimits) -> Result<(Wanted, Option<String>), String> {
        if self.retain && self.deed != Deed::Publish {
            return Err("--retain goes with publish; leave it out, delivering a retained message takes no other right".to_owned());
        }
        let is_filter = matches!(self.deed, Deed::Subscribe | Deed::Manage);
        let (topic, mut read_as) = match as_destination(&self.topic, is_filter, limits)? {
            Some(topic) => (topic.clone(), Some(topic)),
            None => (self.topic.clone(), None),
        };
        if !is_filter {
            TopicName::parse(&topic, limits).map_err(|error| error.to_string())?;
            return Ok((Wanted::Name(topic), read_as));
        }
        let subscribed = Subscribed::parse(&topic, limits).map_err(|error| error.to_string())?;
        let filter = subscribed.filter().clone();
        if filter.as_str() != topic {
            // A share is judged by its filter.
            read_as = Some(filter.as_str().to_owned());
        }
        Ok((Wanted::Filter(filter), read_as))
    }

    /// The first line: who, what, and whether.
    fn verdict(
        &self,
        explanation: &Explanation,
        most: Answer,
        read_as: Option<&str>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let (word, may) = match explanation.verdict {
            Verdict::Allow => ("allowed", "may"),
            Verdict::Deny => ("denied", "may not"),
        };
        let mut who =
            self.user.as_ref().map_or_else(|| "an anonymous client".to_owned(), |user| format!("{user:?}"));
        if !self.groups.is_empty() {
            let _ = write!(who, " of {}", self.groups.join(", "));
        }
        if !self.client_id.is_empty() {
            let _ = write!(who, ", client {:?},", self.client_id);
        }
        if let Some(address) = self.address {
            let _ = write!(who, " from {address}");
        }
        let who = who.trim_end_matches(',');
        let deed = match (self.deed, self.retain) {
            (Deed::Publish, false) => format!("publish at QoS {} to", self.qos.level()),
            (Deed::Publish, true) => format!("publish at QoS {}, retained, to", self.qos.level()),
            (Deed::Subscribe, _) => "subscribe to".to_owned(),
            (Deed::Receive, _) => "be delivered messages of".to_owned(),
            (Deed::Manage, _) => "manage".to_owned(),
        };
        write!(out, "{word}: {who} {may} {deed} {}", self.topic)?;
        if let Some(topic) = read_as {
            write!(out, ", that is {topic}")?;
        }
        let is_reader = matches!(self.deed, Deed::Subscribe | Deed::Receive);
        match most {
            Answer::UpTo(most) if is_reader && most < Qos::ExactlyOnce => {
                writeln!(out, ", at most at QoS {}", most.level())
            }
            _ => writeln!(out),
        }
    }

    /// How the rules share out what a filter matches: the first about a topic decides.
    fn shares(
        &self,
        filter: &TopicFilter,
        who: Identity<'_>,
        action: Action<'_>,
        rules: &Rules,
        file: &File<'_>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        if !filter.as_str().contains(['+', '#']) {
            return Ok(());
        }
        let asked = if self.deed == Deed::Manage { Actions::MANAGE } else { Actions::SUBSCRIBE };
        let (mut shares, mut is_whole) = (Vec::new(), false);
        for (place, rule) in rules.rules().iter().enumerate() {
            if !rule.actions.contains(asked) || !is_about(rule, who) {
                continue;
            }
            for topic in rule.topics.iter().flatten().filter(|topic| meets(rule, topic, who, action)) {
                shares.push((place, rule, topic));
                is_whole |= takes_all(rule, topic, who, action);
            }
            // Nothing is left for those that follow.
            if is_whole {
                break;
            }
        }
        if shares.is_empty() || is_whole && shares.len() == 1 {
            return Ok(());
        }
        writeln!(out, "of {}, in this order:", filter.as_str())?;
        for (place, rule, topic) in shares.iter().take(MAX_SHARES) {
            let ceiling =
                rule.max_qos.map_or_else(String::new, |qos| format!(", at most at QoS {}", qos.level()));
            writeln!(out, "  {:5}  {topic}{ceiling}  ({})", rule.verdict.to_string(), file.place(*place))?;
        }
        if let Some(more) = shares.len().checked_sub(MAX_SHARES).filter(|more| *more > 0) {
            writeln!(out, "  … and {more} more")?;
        }
        if is_whole {
            return Ok(());
        }
        writeln!(out, "  {:5}  the rest  (no rule: the default)", rules.default_verdict().to_string())
    }
}

/// The most that the rules grant.
fn most(policy: &Policy, who: Identity<'_>, action: Action<'_>) -> Answer {
    let rights = Shapes::new(&Seed::new(0)).rights_of(policy.rules.as_ref(), None, who);
    policy.allows(rights.as_deref(), who, action)
}

/// Whether a rule is about a client, whatever it does.
fn is_about(rule: &Rule, who: Identity<'_>) -> bool {
    let anything =
        Rule { verdict: Verdict::Allow, actions: Actions::ALL, topics: None, max_qos: None, ..rule.clone() };
    Rules::compile(vec![anything]).is_ok_and(|rules| rules.explain(who, Action::Receive("a")).rule.is_some())
}

/// Whether one topic of a rule, which is about the client and the action, is about some of what a filter matches.
fn meets(rule: &Rule, topic: &str, who: Identity<'_>, action: Action<'_>) -> bool {
    let alone = Rule { topics: Some(vec![topic.into()]), ..rule.clone() };
    // Nothing but the topic can be what it misses.
    Rules::compile(vec![alone]).is_ok_and(|rules| rules.explain(who, action).passed.is_empty())
}

/// Whether one topic of a rule, which is about some of what a filter matches, is about all of it.
fn takes_all(rule: &Rule, topic: &str, who: Identity<'_>, action: Action<'_>) -> bool {
    // Only a denial has to be about all of it to decide.
    let denial =
        Rule { verdict: Verdict::Deny, max_qos: None, topics: Some(vec![topic.into()]), ..rule.clone() };
    Rules::compile(vec![denial]).is_ok_and(|rules| rules.explain(who, action).rule.is_some())
}

/// The topic behind a destination of STOMP; `None` if it is none.
fn as_destination(text: &str, is_filter: bool, limits: &TopicLimits) -> Result<Option<String>, String> {
    let kind = text.strip_prefix('/').and_then(|rest| rest.split_once('/')).map(|(kind, _)| kind);
    match kind {
        Some("topic" | "queue" | "exchange" | "amq" | "reply-queue" | "remote-temp-queue") => {}
        Some("temp-queue" | "temp-topic") => {
            return Err(format!("{text} is the connection's own; no rule is asked about it"));
        }
        _ => return Ok(None),
    }
    let token = Token::new([0; 16]);
    let grammar = Grammar { dialect: Dialect::Native, token: &token, limits };
    let purpose = if is_filter { Purpose::Subscribe } else { Purpose::Send };
    match grammar.to_core(text, purpose) {
        Ok(topic) => Ok(Some(topic.into_owned())),
        Err(error) => Err(error.to_string()),
    }
}

fn read(path: &Path) -> Result<(Config, String), ConfigError> {
    let config = Config::load(path)?;
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { file: path.to_owned(), source })?;
    Ok((config, text))
}

/// The rule that decides, and why.
fn reason(explanation: &Explanation, file: &File<'_>, out: &mut impl Write) -> io::Result<()> {
    if let Some(rule) = explanation.rule {
        writeln!(out, "{}: {}", file.place(rule), file.rule(rule))?;
    }
    writeln!(out, "  {}", explanation.why)
}

/// The rules that nearly decided.
fn near(explanation: &Explanation, file: &File<'_>, out: &mut impl Write) -> io::Result<()> {
    if explanation.passed.is_empty() {
        return Ok(());
    }
    writeln!(out, "passed over, for one reason each:")?;
    for passed in explanation.passed.iter().take(MAX_NEAR) {
        writeln!(out, "  {}: {}", file.place(passed.rule), passed.miss)?;
        writeln!(out, "    {}", file.rule(passed.rule))?;
    }
    match explanation.passed.len().checked_sub(MAX_NEAR) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "  … and {more} more"),
    }
}

/// The configuration as it was written.
struct File<'t> {
    path: &'t Path,
    text: &'t str,
    lines: Vec<usize>,
}

impl File<'_> {
    /// `FILE:line` of a rule.
    fn place(&self, rule: usize) -> String {
        let line = self.lines.get(rule).copied().unwrap_or_default();
        format!("{}:{line}", self.path.display())
    }

    /// A rule as it stands in the file, in one line.
    fn rule(&self, rule: usize) -> String {
        let first = self.lines.get(rule).copied().unwrap_or_default();
        let mut lines = self.text.lines().skip(first.saturating_sub(1)).map(str::trim);
        let mut shown = String::new();
        // A rule of a list in brackets stands in its own line.
        let heading = lines.next().unwrap_or_default();
        if !heading.starts_with("[[") {
            shown.push_str(heading);
        } else {
            for line in lines.take_while(|line| !line.starts_with("[[") && !is_heading(line)) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                if !shown.is_empty() {
                    shown.push_str(if is_key(line) { "; " } else { " " });
                }
                shown.push_str(line);
            }
        }
        if shown.chars().count() > MAX_RULE {
            shown = shown.chars().take(MAX_RULE).chain(['…']).collect();
        }
        shown
    }
}

/// Whether a line begins the next table. A value that goes on may begin with a bracket, but not end like this.
fn is_heading(line: &str) -> bool {
    let name = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name);
    name.is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    })
}

/// Whether a line begins with a key.
fn is_key(line: &str) -> bool {
    let name = line.split_once('=').map(|(name, _)| name.trim_end());
    name.is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    })
}
