//! The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), written by the RFC and not by the broker's code.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

pub(crate) const METHOD: &str = "SCRAM-SHA-256";

/// One exchange of a client.
pub(crate) struct Scram {
    first_bare: String,
    nonce: String,
    password: String,
    /// What the server has to prove that it knows.
    expected: String,
}

impl Scram {
    /// With a nonce of the test's choice.
    pub(crate) fn new(user: &str, password: &str, nonce: &str) -> Self {
        let name = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            first_bare: format!("n={name},r={nonce}"),
            nonce: nonce.to_owned(),
            password: password.to_owned(),
            expected: String::new(),
        }
    }

    /// client-first-message.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// client-final-message.
    pub(crate) fn last(&mut self, challenge: &[u8]) -> String {
        let challenge = std::str::from_utf8(challenge).unwrap();
        let field = |name: &str| {
            let field = challenge.split(',').find_map(|field| field.strip_prefix(name));
            field.unwrap_or_else(|| panic!("no {name} in {challenge:?}"))
        };
        let (nonce, salt) = (field("r="), STANDARD.decode(field("s=")).unwrap());
        assert!(nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(), "{nonce}");
        let rounds: NonZeroU32 = field("i=").parse().unwrap();
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, self.password.as_bytes(), &mut salted);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode("n,,"));
        let said = format!("{},{challenge},{without_proof}", self.first_bare);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let signature = mac(stored_key.as_ref(), said.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, mask)| key ^ mask).collect();
        let server_key = mac(&salted, b"Server Key");
        self.expected = format!("v={}", STANDARD.encode(mac(&server_key, said.as_bytes())));
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    /// Whether the server has proved that it knows the user too.
    #[track_caller]
    pub(crate) fn is_proved_by(&self, data: &[u8]) {
        assert_eq!(String::from_utf8_lossy(data), self.expected);
    }
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}
