//! TLS, authentication and rights: what each needs to be more than a word.

use noctule_core::acl::RuleFault;

use super::Fault;
use crate::config::place::Path;
use crate::config::{Auth, AuthMethod, ClientCertificates, Config, Tls, Url};

/// Most `[[acl]]`: each may be asked for each message.
const MAX_ACL_RULES: usize = 1_000;

/// Most `[[tls]]`; each is read and watched.
const MAX_TLS: usize = 16;

pub(super) fn faults(config: &Config, faults: &mut Vec<Fault>) {
    for (at, tls) in config.tls.iter().enumerate() {
        let mut fault = |key: &str, message: String| {
            faults.push(Fault { keys: vec![Path::item("tls", at, key)], message });
        };
        tls_is_whole(config, at, tls, &mut fault);
    }
    methods_have_what_they_need(config, faults);
    waits_grow(&config.auth, faults);
    service_is_reachable(config, faults);
    let before = faults.len();
    for at in 0..config.acl.len() {
        rule_says_something(config, at, faults);
        if at == MAX_ACL_RULES {
            return;
        }
    }
    if faults.len() == before {
        rules_can_be_asked(config, faults);
    }
}

/// The core knows what a pattern may be.
fn rules_can_be_asked(config: &Config, faults: &mut Vec<Fault>) {
    for (at, rule) in config.acl.iter().enumerate() {
        let alone = Config { acl: vec![rule.clone()], ..Config::default() };
        if let Err(error) = alone.rules() {
            let key = match &error.fault {
                RuleFault::Star { .. } => "clients",
                RuleFault::Nobody { key } | RuleFault::Empty { key } | RuleFault::EmptyValue { key } => *key,
                RuleFault::MaxQos => "max_qos",
                _ => "topics",
            };
            faults.push(Fault { keys: vec![Path::item("acl", at, key)], message: error.to_string() });
        }
    }
}

fn tls_is_whole(config: &Config, at: usize, tls: &Tls, fault: &mut impl FnMut(&str, String)) {
    if at == MAX_TLS {
        fault("name", format!("one [[tls]] too many, at most {MAX_TLS}"));
    }
    if tls.name.as_str().is_empty() {
        fault("name", "it is missing; listeners say by it which [[tls]] they use".to_owned());
    } else if config.tls.iter().take(at).any(|earlier| earlier.name == tls.name) {
        fault("name", format!("\"{}\" is the name of another [[tls]] above", tls.name.as_str()));
    }
    if tls.certificates.is_empty() {
        let message = "a server has to show one; write certificates = [{ chain = \"certs/server.pem\", key = \
                       \"certs/server.key\" }], which `noctule certs` makes for development";
        fault("certificates", message.to_owned());
    }
    let asks = tls.client_certificates != ClientCertificates::None;
    if asks && tls.client_ca.is_none() {
        let asked = tls.client_certificates.as_str();
        let message = format!(
            "\"{asked}\" wants client_ca beside it, the certificates of those who may sign clients' certificates: \
             without it none would be believed"
        );
        fault("client_certificates", message);
    }
    for (key, is_given) in [("client_ca", tls.client_ca.is_some()), ("crl", tls.crl.is_some())] {
        if is_given && !asks {
            let message = "clients are not asked for certificates; add client_certificates = \"required\" (or \"optional\")";
            fault(key, message.to_owned());
        }
    }
}

/// A method without its file or address would let nobody in, or everybody.
fn methods_have_what_they_need(config: &Config, faults: &mut Vec<Fault>) {
    let wants = [
        (
            AuthMethod::Password,
            config.auth.password_file.is_none(),
            "auth.password_file, which `noctule passwd` writes",
        ),
        (AuthMethod::Jwt, config.auth_jwt.keys.is_none(), "auth_jwt.keys, what tokens are signed with"),
        (AuthMethod::Http, config.auth_http.url.is_none(), "auth_http.url, who is to be asked"),
    ];
    let listeners =
        config.listener.iter().enumerate().filter_map(|(at, listener)| {
            Some((Path::item("listener", at, "auth"), listener.auth.as_deref()?))
        });
    let chains = std::iter::once((Path::key("auth", "chain"), &*config.auth.chain)).chain(listeners);
    for (path, chain) in chains {
        for (at, method) in chain.iter().enumerate() {
            if chain.iter().take(at).any(|earlier| earlier == method) {
                let message = format!("\"{}\" is asked twice; once is enough", method.as_str());
                faults.push(Fault { keys: vec![path.clone()], message });
            }
        }
        for (method, is_missing, what) in wants {
            if is_missing && chain.contains(&method) {
                let message = format!("\"{}\" wants {what}", method.as_str());
                faults.push(Fault { keys: vec![path.clone()], message });
            }
        }
    }
}

fn waits_grow(auth: &Auth, faults: &mut Vec<Fault>) {
    if auth.max_backoff < auth.backoff {
        let message = format!(
            "\"{}\" is less than backoff = \"{}\", with which it begins",
            auth.max_backoff, auth.backoff
        );
        faults.push(Fault {
            keys: vec![Path::key("auth", "max_backoff"), Path::key("auth", "backoff")],
            message,
        });
    }
}

fn service_is_reachable(config: &Config, faults: &mut Vec<Fault>) {
    let Some(url) = config.auth_http.url.as_ref().map(Url::as_str) else { return };
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']));
    if !has_host || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            format!("{url:?} is not an address of a service; write http://host:port/path, or https://");
        faults.push(Fault { keys: vec![Path::key("auth_http", "url")], message });
    }
}

fn rule_says_something(config: &Config, at: usize, faults: &mut Vec<Fault>) {
    let Some(rule) = config.acl.get(at) else { return };
    let mut fault = |key: &str, message: &str| {
        faults.push(Fault { keys: vec![Path::item("acl", at, key)], message: message.to_owned() });
    };
    if at == MAX_ACL_RULES {
        let message = format!("one [[acl]] too many, at most {MAX_ACL_RULES}; put topics and users together");
        return fault("allow", &message);
    }
    match (rule.allow.is_empty(), rule.deny.is_empty()) {
        (true, true) => fault(
            "allow",
            "neither allow nor deny is given; write for instance allow = [\"publish\", \"subscribe\"]",
        ),
        (false, false) => {
            fault(
                "deny",
                "a rule allows or denies; write two [[acl]], the one that is to be asked first above the other",
            );
        }
        (true, false) | (false, true) => {}
    }
    if rule.topics.is_empty() {
        fault(
            "topics",
            "it is missing; write which topics are meant, such as [\"sensors/%u/#\"], or [\"#\"] for all",
        );
    }
    let has_empty = rule.users.iter().any(|user| user.as_str().is_empty())
        || rule.groups.iter().any(|group| group.as_str().is_empty())
        || rule.clients.iter().any(|client| client.as_str().is_empty());
    if has_empty {
        fault("users", "an empty name is nobody's; leave the key out where everybody is meant");
    }
}
