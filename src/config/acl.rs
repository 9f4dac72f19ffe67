//! `[[acl]]`: who may do what. The rules are compiled and asked in the core.

use noctule_core::acl;
use noctule_core::id::Qos;

use super::address::Network;
use super::section::{section, text, words};
use super::store::Filter;

section! {
    /// One rule. Rules are asked in the order of the file, and the first that is about the client, what it does and the
    /// topic decides. What no rule decides is allowed only while no authentication is configured.
    pub struct Acl {
        /// What is allowed. Either this or `deny` has to be given.
        allow: Vec<Right> = Vec::new(), Now;

        /// What is denied.
        deny: Vec<Right> = Vec::new(), Now;

        /// Users who are meant; `"*"` is everybody who has a name. Where several of `users`, `groups`, `clients`,
        /// `addresses` and `anonymous` are given, all of them must hold; without any, everybody is meant.
        users: Vec<UserName> = Vec::new(), Now;

        /// Groups whose members are meant.
        groups: Vec<GroupName> = Vec::new(), Now;

        /// Client identifiers that are meant; a `*` at the end stands for whatever follows.
        clients: Vec<ClientPattern> = Vec::new(), Now;

        /// Addresses from where it is meant.
        addresses: Vec<Network> = Vec::new(), Now;

        /// Whether clients without a name are meant (`true`), or those with one (`false`): both.
        anonymous: Option<bool> = None, Now;

        /// Topics, as in a subscription, with `%u` for the user, `%c` for the client identifier, `%i` for the address and
        /// `%%` for a percent sign. Queues are `$queue/NAME`. It has to be given.
        topics: Vec<Filter> = Vec::new(), Now;

        /// Highest quality of service that is allowed: any.
        max_qos: Option<u16> [0..=2] = None, Now;
    }
}

words! {
    /// What a client does.
    pub enum Right {
        /// To publish, live or as a will, and to send to a queue.
        Publish = "publish",
        /// To subscribe, to be delivered what is published, and to consume from a queue.
        Subscribe = "subscribe",
        /// To publish a retained message; `publish` is needed beside it.
        Retain = "retain",
        /// To say what is to hold for a queue, and to end one.
        Manage = "manage",
    }
}

text! {
    /// A user's name.
    pub struct UserName = "a user such as \"alice\", or \"*\" for everybody with a name";
}

text! {
    /// A group's name.
    pub struct GroupName = "a group such as \"operators\"";
}

text! {
    /// The identifiers of some clients.
    pub struct ClientPattern = "a client identifier such as \"press-7\" or \"press-*\"";
}

/// The rules as the core asks them; what none decides is denied if `default` says so. None if nothing is to be asked.
///
/// # Errors
/// The first rule that can't be used; its origin is its place among `[[acl]]`.
pub(crate) fn compile(rules: &[Acl], default: acl::Verdict) -> Result<Option<acl::Rules>, acl::RuleError> {
    if rules.is_empty() && default == acl::Verdict::Allow {
        return Ok(None);
    }
    let rules = rules.iter().zip(0..).map(|(rule, origin)| rule.compiled(origin)).collect();
    acl::Rules::compile(rules).map(|rules| Some(rules.with_default(default)))
}

impl Acl {
    fn compiled(&self, origin: u32) -> acl::Rule {
        fn texts<T>(values: &[T], text: impl Fn(&T) -> &str) -> Option<Vec<Box<str>>> {
            (!values.is_empty()).then(|| values.iter().map(|value| text(value).into()).collect())
        }
        let (verdict, rights) = if self.deny.is_empty() {
            (acl::Verdict::Allow, &self.allow)
        } else {
            (acl::Verdict::Deny, &self.deny)
        };
        let names_all = self.users.iter().any(|user| user.as_str() == "*");
        acl::Rule {
            users: if names_all { None } else { texts(&self.users, UserName::as_str) },
            groups: texts(&self.groups, GroupName::as_str),
            clients: texts(&self.clients, ClientPattern::as_str),
            addresses: (!self.addresses.is_empty())
                .then(|| self.addresses.iter().map(|network| network.get()).collect()),
            anonymous: if names_all { Some(false) } else { self.anonymous },
            actions: rights.iter().fold(acl::Actions::NONE, |all, right| all | right.action()),
            topics: texts(&self.topics, Filter::as_str),
            max_qos: self.max_qos.map(|qos| match qos {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            }),
            origin,
            ..acl::Rule::new(verdict)
        }
    }
}

impl Right {
    const fn action(self) -> acl::Actions {
        match self {
            Self::Publish => acl::Actions::PUBLISH,
            Self::Subscribe => acl::Actions::SUBSCRIBE,
            Self::Retain => acl::Actions::RETAIN,
            Self::Manage => acl::Actions::MANAGE,
        }
    }
}
