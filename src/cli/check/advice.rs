//! What a configuration says that is right and probably not meant: passwords in the clear, rules that never decide,
//! certificates that name nobody. Only the configuration is looked at.

use super::Findings;
use crate::config::{Anonymous, AuthMethod, ClientCertificates, Config, Listener, Protocol, Tls};

pub(super) fn look(config: &Config, file: &str, text: &str, findings: &mut Findings) {
    for listener in &config.listener {
        listener_is_meant(config, listener, findings);
    }
    methods_are_used(config, findings);
    for tls in &config.tls {
        if !config.listener.iter().any(|listener| listener.tls.as_ref() == Some(&tls.name)) {
            let name = tls.name.as_str();
            findings.warn(format!("tls: no listener has tls = \"{name}\", so this [[tls]] is not used"));
        }
    }
    rules_are_asked(config, findings);
    rules_decide(config, file, text, findings);
}

fn tls_of<'c>(config: &'c Config, listener: &Listener) -> Option<&'c Tls> {
    config.tls.iter().find(|tls| listener.tls.as_ref() == Some(&tls.name))
}

fn asks_for_certificates(tls: &Tls) -> bool {
    tls.client_certificates != ClientCertificates::None
}

fn listener_is_meant(config: &Config, listener: &Listener, findings: &mut Findings) {
    let (address, chain) = (&listener.address, listener.chain(&config.auth));
    let mut warn = |key: &str, words: &str| findings.warn(format!("listener on {address}: {key}: {words}"));
    let takes_secrets = chain
        .iter()
        .any(|method| matches!(method, AuthMethod::Password | AuthMethod::Jwt | AuthMethod::Http));
    let is_plain = listener.tls.is_none();
    // With a proxy, TLS may end there.
    if is_plain && takes_secrets && !address.is_local() && listener.proxy_from.is_empty() {
        warn(
            "tls",
            "passwords can be read on the way, because it is missing; name a [[tls]], or listen on 127.0.0.1",
        );
    }
    let requires = |tls: &Tls| tls.client_certificates == ClientCertificates::Required;
    // Who begins without TLS has no certificate to show then, and is refused.
    let takes_plain = listener.protocol == Protocol::Auto && !tls_of(config, listener).is_some_and(requires);
    if !is_plain && takes_plain && !address.is_local() {
        warn(
            "protocol",
            "\"auto\" speaks without TLS too, with whoever begins so; write \"mqtt\" or \"stomp\" for TLS only",
        );
    }
    let names_by_certificate = chain.contains(&AuthMethod::Certificate);
    let tls = tls_of(config, listener);
    match tls.filter(|tls| asks_for_certificates(tls)) {
        Some(_) if !names_by_certificate => warn(
            "auth",
            "clients' certificates are verified and name nobody; add \"certificate\" to it (or to auth.chain) to take the \
             user's name from them",
        ),
        None if names_by_certificate && listener.auth.is_some() => warn(
            "auth",
            "\"certificate\" knows nobody here, because no certificate is asked for; name a [[tls]] with \
             client_certificates = \"required\" (or \"optional\")",
        ),
        Some(_) | None => {}
    }
    let is_open = listener.anonymous != Anonymous::Nobody;
    if is_open && listener.origins.iter().any(|origin| origin.as_str() == "*") {
        warn(
            "origins",
            "\"*\" lets every web page that somebody opens here connect without credentials; name the pages, or write \
             anonymous = false",
        );
    }
}

/// A method that nobody can use is a mistake in the chain, or in the listeners.
fn methods_are_used(config: &Config, findings: &mut Findings) {
    let chains = || config.listener.iter().map(|listener| listener.chain(&config.auth));
    if config.auth.password_file.is_some() && !chains().any(|chain| chain.contains(&AuthMethod::Password)) {
        findings.warn("auth.password_file: nobody is asked for a password; add \"password\" to auth.chain");
    }
    let by_certificate = |listener: &Listener| {
        listener.chain(&config.auth).contains(&AuthMethod::Certificate)
            && tls_of(config, listener).is_some_and(asks_for_certificates)
    };
    if config.auth.chain.contains(&AuthMethod::Certificate) && !config.listener.iter().any(by_certificate) {
        findings.warn(
            "auth.chain: \"certificate\" knows nobody, because no listener asks for one; add client_certificates = \
             \"optional\" (or \"required\") and client_ca to its [[tls]]",
        );
    }
}

fn rules_are_asked(config: &Config, findings: &mut Findings) {
    match (config.is_authenticated(), config.acl.is_empty()) {
        (false, false) => findings.warn(
            "acl: nobody is asked who he is, so no rule about users or groups ever holds, and what no rule denies is allowed \
             to everybody who can connect; name the ways to prove it in auth.chain",
        ),
        (true, true) => findings.warn(
            "acl: nobody may do anything, because what no rule allows is denied and there is no [[acl]]; add one",
        ),
        (true, false) | (false, true) => {}
    }
}

fn rules_decide(config: &Config, file: &str, text: &str, findings: &mut Findings) {
    let Ok(Some(rules)) = config.rules() else { return };
    let lines = Config::acl_lines(text);
    let place = |rule: usize| match lines.get(rule) {
        Some(line) => format!("{file}:{line}"),
        None => format!("rule {}", rule + 1),
    };
    for never in rules.never_match() {
        let by: Vec<String> = never.by.iter().map(|rule| place(*rule)).collect();
        let words = if by.is_empty() {
            "acl: this rule never decides: it is about nothing".to_owned()
        } else {
            format!(
                "acl: this rule never decides, because {} has decided before; put it above, or take it away",
                by.join(" or ")
            )
        };
        findings.warn(format!("{}: {words}", place(never.rule)));
    }
}
