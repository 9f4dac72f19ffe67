//! Listeners, TLS, authentication and rules: what is said about those that could not work.

use super::bad::says;
use super::*;

fn right(text: &str) {
    assert_eq!(complaints(text), [""; 0], "about {text:?}");
}

const TLS: &str = "[[tls]]\nname = \"a\"\ncertificates = [{ chain = \"c\", key = \"k\" }]\n";

#[test]
fn a_listener_that_asks_who_one_is_may_be_reached_by_all() {
    let users = "[auth]\nchain = [\"password\"]\npassword_file = \"users\"\n";
    right(&format!("{users}[[listener]]\naddress = \"0.0.0.0:1883\"\n"));
    right(&format!("{users}[[listener]]\nanonymous = false\n"));
    right("[auth]\npassword_file = \"u\"\n[[listener]]\naddress = \"0.0.0.0:1\"\nauth = [\"password\"]\n");
    let text = format!("{users}[[listener]]\naddress = \"0.0.0.0:1883\"\nauth = []\n");
    assert!(complaints(&text)[0].contains("can be reached from other machines"), "{:?}", complaints(&text));
    let text = "[[listener]]\naddress = \"systemd:mqtt\"\n";
    assert!(complaints(text)[0].contains("can be reached from other machines"), "{:?}", complaints(text));
    right("[[listener]]\naddress = \"unix:/run/a\"\n");
}

#[test]
fn a_listener_names_what_there_is() {
    right(&format!("{TLS}[[listener]]\ntls = \"a\"\n"));
    says(
        "[[listener]]\ntls = \"a\"\n",
        "2:7: listener.tls: no [[tls]] has name = \"a\" (there is none); add one, or leave it out for no encryption",
    );
    says(
        &format!("{TLS}[[listener]]\ntls = \"b\"\n"),
        "5:7: listener.tls: no [[tls]] has name = \"b\" (\"a\"); add one, or leave it out for no encryption",
    );
}

#[test]
fn websockets_have_a_path_and_origins_a_scheme() {
    right(
        "[[listener]]\nwebsocket = \"/mqtt\"\norigins = [\"https://a.example:80\", \"*\", \"http://[::1]:9001\"]\n",
    );
    for path in ["mqtt", "", "/a?b", "/a b"] {
        says(
            &format!("[[listener]]\nwebsocket = \"{path}\"\n"),
            &format!(
                "2:13: listener.websocket: \"{path}\" is not a path; write \"/\", \"/mqtt\" or the like, without ? and #"
            ),
        );
    }
    says(
        "[[listener]]\norigins = [\"*\"]\n",
        "2:11: listener.origins: only WebSocket has origins; add websocket = \"/mqtt\" or another path",
    );
    for origin in ["hmi.example", "https://", "https://a/", "https://A", "https://a b", "://a"] {
        says(
            &format!("[[listener]]\nwebsocket = \"/\"\norigins = [\"{origin}\"]\n"),
            &format!(
                "3:11: listener.origins: \"{origin}\" is not an origin; write scheme and host, and the port where it is \
                 not the usual one, as in \"https://hmi.plant.example\" or \"http://127.0.0.1:8080\", in small letters and \
                 with nothing behind"
            ),
        );
    }
}

#[test]
fn proxies_come_from_a_network() {
    right("[[listener]]\nproxy_from = [\"10.0.0.0/8\", \"fd00::1\"]\n");
    says(
        "[[listener]]\naddress = \"unix:/a\"\nproxy_from = [\"10.0.0.0/8\"]\n",
        "3:14: listener.proxy_from: who connects to a Unix socket has no address to be known by; listen on TCP for \
         proxies",
    );
    let complaint = &complaints("[[listener]]\nproxy_from = [\"10.0.0.1/8\"]\n")[0];
    assert!(complaint.contains("with no bits set behind the prefix"), "{complaint}");
    let networks = |text: &str| text.parse::<Network>().is_ok();
    assert!(networks("10.0.0.0/8") && networks("fd00::1") && !networks("10.0.0.0/33") && !networks("a"));
}

#[test]
fn tls_has_a_name_of_its_own_and_something_to_show() {
    right(TLS);
    says(
        "[[tls]]\ncertificates = [{ chain = \"c\", key = \"k\" }]\n",
        "1:1: tls.name: it is missing; listeners say by it which [[tls]] they use",
    );
    says(&format!("{TLS}{TLS}"), "5:8: tls.name: \"a\" is the name of another [[tls]] above");
    let complaint = &complaints("[[tls]]\nname = \"a\"\n")[0];
    assert!(complaint.contains("a server has to show one"), "{complaint}");
    for asked in ["optional", "required"] {
        let text = format!("{TLS}client_certificates = \"{asked}\"\n");
        assert!(complaints(&text)[0].contains("wants client_ca beside it"), "{:?}", complaints(&text));
        right(&format!("{text}client_ca = \"ca.pem\"\ncrl = \"crl.pem\"\n"));
    }
    for key in ["client_ca", "crl"] {
        says(
            &format!("{TLS}{key} = \"f\"\n"),
            &format!(
                "4:{}: tls.{key}: clients are not asked for certificates; add client_certificates = \"required\" (or \
                 \"optional\")",
                key.len() + 4
            ),
        );
    }
}

#[test]
fn a_way_to_prove_who_one_is_has_what_it_needs() {
    for (method, what) in [
        ("password", "auth.password_file, which `noctule passwd` writes"),
        ("jwt", "auth_jwt.keys, what tokens are signed with"),
        ("http", "auth_http.url, who is to be asked"),
    ] {
        says(
            &format!("[auth]\nchain = [\"{method}\"]\n"),
            &format!("2:9: auth.chain: \"{method}\" wants {what}"),
        );
        says(
            &format!("[[listener]]\nauth = [\"peer\", \"{method}\"]\n"),
            &format!("2:8: listener.auth: \"{method}\" wants {what}"),
        );
    }
    says(
        "[auth]\nchain = [\"peer\", \"peer\"]\n",
        "2:9: auth.chain: \"peer\" is asked twice; once is enough",
    );
    right(
        "[auth]\nchain = [\"http\", \"jwt\"]\n[auth_jwt]\nkeys = \"k\"\n[auth_http]\nurl = \"https://a/b\"\n",
    );
    for url in ["a", "http://", "ftp://a", "http:///a", "http://a b"] {
        says(
            &format!("[auth_http]\nurl = \"{url}\"\n"),
            &format!(
                "2:7: auth_http.url: \"{url}\" is not an address of a service; write http://host:port/path, or https://"
            ),
        );
    }
    says(
        "[auth]\nbackoff = \"10s\"\nmax_backoff = \"9s\"\n",
        "3:15: auth.max_backoff: \"9s\" is less than backoff = \"10s\", with which it begins",
    );
}

#[test]
fn a_rule_says_what_and_where() {
    right("[[acl]]\nallow = [\"publish\"]\ntopics = [\"a/%u/#\"]\nmax_qos = 0\n");
    says(
        "[[acl]]\ntopics = [\"#\"]\n",
        "1:1: acl.allow: neither allow nor deny is given; write for instance allow = [\"publish\", \"subscribe\"]",
    );
    says(
        "[[acl]]\nallow = [\"retain\"]\ndeny = [\"publish\"]\ntopics = [\"#\"]\n",
        "3:8: acl.deny: a rule allows or denies; write two [[acl]], the one that is to be asked first above the other",
    );
    says(
        "[[acl]]\nallow = [\"publish\"]\n",
        "1:1: acl.topics: it is missing; write which topics are meant, such as [\"sensors/%u/#\"], or [\"#\"] for all",
    );
    says(
        "[[acl]]\nallow = [\"publish\"]\nusers = [\"\"]\ntopics = [\"#\"]\n",
        "3:9: acl.users: an empty name is nobody's; leave the key out where everybody is meant",
    );
    let complaint = &complaints("[[acl]]\nallow = [\"publish\"]\ntopics = [\"#\"]\nmax_qos = 3\n")[0];
    assert!(complaint.contains("3 is not a whole number from 0 to 2"), "{complaint}");
    says(
        "[[acl]]\nallow = [\"publish\"]\ntopics = [\"a/%x\"]\n",
        "3:10: acl.topics: topic \"a/%x\" has \"%x\"; write %u for the user, %c for the client id, %i for the address, \
         %% for a '%'",
    );
    let complaint = &complaints("[[acl]]\nallow = [\"publish\"]\nclients = [\"a*b\"]\ntopics = [\"#\"]\n")[0];
    assert!(complaint.starts_with("3:11: acl.clients: "), "{complaint}");
    let many = "[[acl]]\nallow = [\"publish\"]\ntopics = [\"#\"]\n".repeat(1_002);
    assert_eq!(complaints(&many).len(), 1, "said once");
}

#[test]
fn rules_are_found_in_the_file() {
    let text = "# a\n[[acl]]\nallow = []\n\n[log]\n[[acl]]\n";
    assert_eq!(Config::acl_lines(text), [2, 6]);
}

#[test]
fn operators_from_elsewhere_want_tls_authentication_and_names() {
    let words = |text: &str| complaints(text).join("\n");
    let open = "[admin]\nlisten = [\"0.0.0.0:9883\"]\n";
    for missing in ["wants tls", "wants [auth]", "wants users"] {
        assert!(words(open).contains(missing), "{missing}: {}", words(open));
    }
    assert_eq!(words("[admin]\nlisten = [\"127.0.0.1:9000\", \"unix:/run/noctule/ops.sock\"]\n"), "");
    assert_eq!(words("[admin]\nlisten = []\nsocket = false\n"), "");
    assert!(words("[admin]\ntls = \"plant\"\n").contains("no [[tls]] has name = \"plant\""));
    assert!(words("[admin]\nlisten = [\"127.0.0.1:1883\"]\n").contains("is taken by the listener"));
    assert!(words("[admin]\nlisten = [\"systemd:ops\"]\n").contains("not to a socket of systemd"));
}
