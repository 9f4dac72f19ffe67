//! Rules that a token or a callback brings for one user. They are only read here; the policy gives them force.

use std::fmt;

use noctule_core::id::Qos;
use noctule_core::topic::{TopicFilter, TopicLimits};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// Most rules that one user may bring.
pub const MAX_RULES: usize = 128;

/// Most patterns in one rule.
pub const MAX_TOPICS: usize = 64;

/// What a rule says of what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
}

/// What somebody may want to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Doing {
    /// To publish.
    Publish,
    /// To subscribe and be delivered.
    Subscribe,
    /// To publish with RETAIN.
    Retain,
}

/// One rule, as the configuration's `[[acl]]` without its conditions: whom it is for is known already.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it says.
    pub verdict: Permission,
    /// Of what; none named: of everything.
    #[serde(default)]
    pub actions: Vec<Doing>,
    /// Of which topics: filters of MQTT (section 4.7), with `%u`, `%c` and `%i` to be put in by the policy.
    #[serde(deserialize_with = "topics")]
    pub topics: Vec<String>,
    /// The highest QoS; `None`: any.
    #[serde(default, deserialize_with = "qos")]
    pub max_qos: Option<Qos>,
}

/// A list that says too much, rather than nothing, is an error: a rule that vanishes may be the one that denies.
#[derive(Debug, Default)]
pub(crate) struct Rules(pub(crate) Vec<Rule>);

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Rules;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_RULES} rules")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Rules, A::Error> {
                let mut rules = Vec::new();
                while let Some(rule) = items.next_element()? {
                    if rules.len() == MAX_RULES {
                        return Err(A::Error::custom(format_args!("more than {MAX_RULES} rules")));
                    }
                    rules.push(rule);
                }
                Ok(Rules(rules))
            }
        }
        deserializer.deserialize_seq(Each)
    }
}

fn topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let topics = Vec::<String>::deserialize(deserializer)?;
    if topics.is_empty() {
        return Err(D::Error::custom("a rule without topics; [\"#\"] stands for all"));
    }
    if topics.len() > MAX_TOPICS {
        return Err(D::Error::custom(format_args!("a rule with more than {MAX_TOPICS} topics")));
    }
    for topic in &topics {
        TopicFilter::parse(topic, &TopicLimits::WIDEST).map_err(D::Error::custom)?;
    }
    Ok(topics)
}

fn qos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Qos>, D::Error> {
    let Some(level) = Option::<u8>::deserialize(deserializer)? else { return Ok(None) };
    let wrong = || D::Error::custom(format_args!("max_qos {level}; it is 0, 1 or 2"));
    Qos::from_level(level).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Rule>, String> {
        serde_json::from_str::<Rules>(text).map(|rules| rules.0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_says_what_it_says() {
        let text = r##"[{"verdict":"deny","topics":["a/#"]},
            {"verdict":"allow","actions":["publish","retain"],"topics":["s/%u/+"],"max_qos":1}]"##;
        let deny = Rule {
            verdict: Permission::Deny,
            actions: vec![],
            topics: vec!["a/#".to_owned()],
            max_qos: None,
        };
        let allow = Rule {
            verdict: Permission::Allow,
            actions: vec![Doing::Publish, Doing::Retain],
            topics: vec!["s/%u/+".to_owned()],
            max_qos: Some(Qos::AtLeastOnce),
        };
        assert_eq!(read(text).unwrap(), [deny, allow]);
    }

    #[test]
    fn one_that_is_not_understood_voids_all() {
        let many = format!("[{}]", [r#"{"verdict":"allow","topics":["a"]}"#; 129].join(","));
        for (text, part) in [
            (r#"{}"#, "a list of at most 128 rules"),
            (r#"[{"topics":["a"]}]"#, "verdict"),
            (r#"[{"verdict":"permit","topics":["a"]}]"#, "permit"),
            (r#"[{"verdict":"allow"}]"#, "topics"),
            (r#"[{"verdict":"allow","topics":[]}]"#, "[\"#\"] stands for all"),
            (r##"[{"verdict":"allow","topics":["a/#/b"]}]"##, "#"),
            (r#"[{"verdict":"allow","topics":["a"],"max_qos":3}]"#, "max_qos 3"),
            (r#"[{"verdict":"allow","topics":["a"],"clients":["x"]}]"#, "clients"),
            (r#"[{"verdict":"allow","topics":["a"],"actions":["fly"]}]"#, "fly"),
            (&many, "more than 128"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
