//! `[[acl]]`: who may do what. The rules are compiled and asked in the core.

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
