//! Which of our certificates a client gets: by the name it asks for (SNI), and by what it can verify.

use std::cell::Cell;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// One of our certificates.
#[derive(Debug)]
pub(super) struct Named {
    /// The DNS names among its alternative names, in lower case; may begin with `*.`.
    pub(super) names: Vec<String>,
    pub(super) key: Arc<CertifiedKey>,
}

impl Named {
    fn bears(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// Whether a name with a wildcard covers `name`: it stands for the first label and for no more (RFC 6125 section 6.4.3).
    fn covers(&self, name: &str) -> bool {
        let Some((first, rest)) = name.split_once('.') else { return false };
        !first.is_empty() && self.names.iter().any(|own| own.strip_prefix("*.") == Some(rest))
    }
}

/// All of our certificates, the default first.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Vec<Named>);

impl ByName {
    /// The certificate for `name`: one that bears it, then one whose wildcard covers it, then the first; each time one
    /// that the client can verify, if there is one.
    fn choose(
        &self,
        name: Option<&str>,
        verifiable: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let find =
            |fits: &dyn Fn(&Named) -> bool| self.0.iter().find(|named| fits(named) && verifiable(&named.key));
        name.and_then(|name| find(&|named| named.bears(name)).or_else(|| find(&|named| named.covers(name))))
            .or_else(|| find(&|_| true))
            .or(self.0.first())
            .map(|named| Arc::clone(&named.key))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let chosen =
            self.choose(name.as_deref(), |key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        ASKED.set(name.map(String::into_boxed_str));
        chosen
    }
}

thread_local! {
    /// The name asked for in the ClientHello that this thread is working on. rustls's unbuffered server does not tell
    /// it; it is said only here, in the middle of a call that the session makes.
    static ASKED: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// The name asked for since the last call; to be called once before rustls works on a session and once after.
pub(super) fn asked() -> Option<Box<str>> {
    ASKED.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Named {
        let key = rcgen::KeyPair::generate().unwrap().serialize_der();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.into());
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        Named {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            key: Arc::new(CertifiedKey::new(Vec::new(), key)),
        }
    }

    #[test]
    fn a_name_is_found_before_a_wildcard_and_a_wildcard_before_the_first() {
        let all = ByName(vec![
            named(&["default.example"]),
            named(&["*.plant.example"]),
            named(&["a.plant.example"]),
        ]);
        let chosen = |name: Option<&str>| {
            let chosen = all.choose(name, |_| true).unwrap();
            all.0.iter().position(|named| Arc::ptr_eq(&named.key, &chosen)).unwrap()
        };
        for (name, place) in [
            ("default.example", 0),
            ("a.plant.example", 2),
            ("b.plant.example", 1),
            ("plant.example", 0),
            ("x.b.plant.example", 0),
            (".plant.example", 0),
            ("*.plant.example", 1),
            ("else.where", 0),
            ("localhost", 0),
        ] {
            assert_eq!(chosen(Some(name)), place, "{name}");
        }
        assert_eq!(chosen(None), 0);
    }

    #[test]
    fn what_the_client_cannot_verify_is_passed_over() {
        let all = ByName(vec![named(&["a"]), named(&["a"]), named(&["b"])]);
        let first = Arc::clone(&all.0[0].key);
        let able = |key: &CertifiedKey| !std::ptr::eq(key, &*first);
        assert!(Arc::ptr_eq(&all.choose(Some("a"), able).unwrap(), &all.0[1].key));
        assert!(Arc::ptr_eq(&all.choose(None, able).unwrap(), &all.0[1].key));
        // None can: the handshake will say so.
        assert!(Arc::ptr_eq(&all.choose(Some("a"), |_| false).unwrap(), &first));
    }
}
