//! Hashes of passwords: argon2id, which we make, and the two kinds of `mosquitto_passwd`, which we take as they are.
//!
//! Ours have the least parameters that OWASP's Password Storage Cheat Sheet recommends for argon2id: 19 MiB, 2 passes,
//! 1 lane. More memory is what makes guessing costly, but on a gateway it is the broker's too: as much is in use as there
//! are threads that hash, one unless configured, so 19 MiB for the time of a login and nothing afterwards. A Raspberry Pi
//! computes one in about a tenth of a second; a stranger's guess costs that as well.

use std::fmt;
use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::{digest, pbkdf2};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Memory of a new hash, KiB.
pub const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
pub const PASSES: u32 = 2;
/// Lanes; more than one pays only with threads of their own.
pub const LANES: u32 = 1;

/// Most memory of a hash in a file, KiB: a line is not to fill the gateway's memory.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// Most passes.
const MAX_PASSES: u32 = 64;
/// Most lanes.
const MAX_LANES: u32 = 16;
/// Most rounds of PBKDF2: seconds on a small board.
const MAX_ROUNDS: u32 = 10_000_000;
/// Rounds of PBKDF2 that OWASP recommends for SHA-512.
const GOOD_ROUNDS: u32 = 210_000;
/// Bytes of a new salt.
const SALT: usize = 16;
/// Bytes of a new hash.
const OUTPUT: usize = 32;

/// What hashing took, so that tests can compare work without a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// KiB of memory times passes, of argon2.
    pub argon2: u64,
    /// Rounds of PBKDF2.
    pub pbkdf2: u64,
    /// Single digests.
    pub digests: u64,
}

/// What a password is compared with.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, RFC 9106.
    Argon2id {
        /// KiB.
        memory: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
        /// 8 to 64 bytes.
        salt: Box<[u8]>,
        /// 16 to 64 bytes.
        output: Box<[u8]>,
    },
    /// `$7$rounds$salt$hash` of mosquitto: PBKDF2 with HMAC-SHA-512, 64 bytes.
    Pbkdf2 {
        /// At least 1.
        rounds: NonZeroU32,
        /// At least 8 bytes.
        salt: Box<[u8]>,
        /// 64 bytes.
        output: Box<[u8]>,
    },
    /// `$6$salt$hash` of old mosquitto: SHA-512 over password and salt, once.
    Sha512 {
        /// At least 8 bytes.
        salt: Box<[u8]>,
        /// 64 bytes.
        output: Box<[u8]>,
    },
    /// `!`: no password is right; for users who prove themselves otherwise and have groups.
    Nothing,
}

/// How well a hash keeps its password if the file is stolen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// As good as what we make, or there is nothing to guess.
    Good,
    /// Memory or rounds below what is recommended.
    Weak,
}

impl Hash {
    /// A new argon2id hash, with a salt from the system.
    ///
    /// # Errors
    /// When the system gives no random bytes, or the password is longer than argon2 takes (4 GiB).
    pub fn of(password: &[u8]) -> std::io::Result<Self> {
        Self::with(password, MEMORY_KIB, PASSES)
    }

    /// The same with other parameters, because tests hash a great deal.
    pub(crate) fn with(password: &[u8], memory: u32, passes: u32) -> std::io::Result<Self> {
        let mut salt = vec![0; SALT].into_boxed_slice();
        getrandom::fill(&mut salt)?;
        let mut output = vec![0; OUTPUT].into_boxed_slice();
        let computed = argon2id(password, &salt, memory, passes, LANES, &mut output);
        if !computed {
            return Err(std::io::Error::other("argon2 refused the password"));
        }
        Ok(Self::Argon2id { memory, passes, lanes: LANES, salt, output })
    }

    /// Reads one as it stands in a file.
    ///
    /// # Errors
    /// What is wrong and how to mend it, without the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "!" {
            return Ok(Self::Nothing);
        }
        if text.is_empty() {
            return Err("the hash is empty; noctule passwd sets a password, ! stands for none".to_owned());
        }
        let mut fields = text.split('$');
        let (before, kind) = (fields.next(), fields.next());
        let (Some(""), Some(kind)) = (before, kind) else {
            return Err(
                "a hash begins with $; is this a plain password? set it with noctule passwd".to_owned()
            );
        };
        let fields: Vec<&str> = fields.collect();
        match (kind, &fields[..]) {
            ("argon2id", [version, costs, salt, output]) => argon2id_fields(version, costs, salt, output),
            ("7", [rounds, salt, output]) => {
                let most = format!("the rounds are a number from 1 to {MAX_ROUNDS}");
                let rounds = number(rounds).filter(|rounds| *rounds <= MAX_ROUNDS).ok_or(most)?;
                let rounds = NonZeroU32::new(rounds).ok_or("a hash of 0 rounds")?;
                let (salt, output) = mosquitto(salt, output)?;
                Ok(Self::Pbkdf2 { rounds, salt, output })
            }
            ("6", [salt, output]) => {
                let (salt, output) = mosquitto(salt, output)?;
                Ok(Self::Sha512 { salt, output })
            }
            ("argon2id" | "7" | "6", _) => Err(format!(
                "a ${kind}$ hash has other fields; was the line cut off? set the password with noctule passwd"
            )),
            _ => {
                let kind: String = kind.chars().take(16).collect();
                Err(format!(
                    "a hash of kind {kind:?}; $argon2id$, $7$ and $6$ are known, noctule passwd sets a new one"
                ))
            }
        }
    }

    /// Whether `password` is right, by as much work whether it is or not. `work` is told what it took.
    #[must_use]
    pub fn verify(&self, password: &[u8], work: &mut Work) -> bool {
        match self {
            Self::Argon2id { memory, passes, lanes, salt, output } => {
                work.argon2 = work.argon2.saturating_add(u64::from(*memory).saturating_mul((*passes).into()));
                let mut computed = Zeroizing::new(vec![0; output.len()]);
                let done = argon2id(password, salt, *memory, *passes, *lanes, &mut computed);
                done & bool::from(computed.ct_eq(output))
            }
            Self::Pbkdf2 { rounds, salt, output } => {
                work.pbkdf2 = work.pbkdf2.saturating_add(rounds.get().into());
                // It compares in constant time.
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, *rounds, salt, password, output).is_ok()
            }
            Self::Sha512 { salt, output } => {
                work.digests = work.digests.saturating_add(1);
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                context.finish().as_ref().ct_eq(output).into()
            }
            Self::Nothing => false,
        }
    }

    /// How well it keeps its password.
    #[must_use]
    pub fn strength(&self) -> Strength {
        match self {
            Self::Nothing => Strength::Good,
            Self::Argon2id { memory, passes, .. } => {
                // OWASP's other settings trade memory for passes: 12 MiB with 3, 9 MiB with 4, 7 MiB with 5.
                let worth = u64::from(*memory).saturating_mul((*passes).into());
                if *memory >= 7_168 && worth >= 35_840 { Strength::Good } else { Strength::Weak }
            }
            Self::Pbkdf2 { rounds, .. } if rounds.get() >= GOOD_ROUNDS => Strength::Good,
            Self::Pbkdf2 { .. } | Self::Sha512 { .. } => Strength::Weak,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2id { memory, passes, lanes, salt, output } => write!(
                f,
                "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
                STANDARD_NO_PAD.encode(salt),
                STANDARD_NO_PAD.encode(output)
            ),
            Self::Pbkdf2 { rounds, salt, output } => {
                write!(f, "$7${rounds}${}${}", STANDARD.encode(salt), STANDARD.encode(output))
            }
            Self::Sha512 { salt, output } => {
                write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(output))
            }
            Self::Nothing => f.write_str("!"),
        }
    }
}

/// The kind alone: a hash in a log is a hash to be guessed at.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id { .. } => "Argon2id(…)",
            Self::Pbkdf2 { .. } => "Pbkdf2(…)",
            Self::Sha512 { .. } => "Sha512(…)",
            Self::Nothing => "Nothing",
        })
    }
}

fn argon2id(password: &[u8], salt: &[u8], memory: u32, passes: u32, lanes: u32, output: &mut [u8]) -> bool {
    let Ok(params) = Params::new(memory, passes, lanes, Some(output.len())) else { return false };
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    // The memory is fetched anew each time and given back: page faults are a few hundredths of the whole, and 19 MiB
    // that are kept for the next login would be half of the broker.
    argon2.hash_password_into(password, salt, output).is_ok()
}

fn argon2id_fields(version: &str, costs: &str, salt: &str, output: &str) -> Result<Hash, String> {
    if version != "v=19" {
        return Err(format!("argon2id of version {version:?}; only v=19 is known, set the password anew"));
    }
    let wrong = || {
        format!(
            "argon2id with {costs:?}; write m=KIB,t=PASSES,p=LANES with m from 8 times p to {MAX_MEMORY_KIB}, t to \
             {MAX_PASSES} and p to {MAX_LANES}"
        )
    };
    let mut costs_left = costs.split(',');
    let mut cost = |name: &str| costs_left.next().and_then(|cost| cost.strip_prefix(name)).and_then(number);
    let (memory, passes, lanes) = (cost("m="), cost("t="), cost("p="));
    let (Some(memory), Some(passes), Some(lanes), None) = (memory, passes, lanes, costs_left.next()) else {
        return Err(wrong());
    };
    let sound = memory <= MAX_MEMORY_KIB
        && (1..=MAX_PASSES).contains(&passes)
        && (1..=MAX_LANES).contains(&lanes)
        && memory >= lanes.saturating_mul(8);
    if !sound {
        return Err(wrong());
    }
    let salt = decoded(&STANDARD_NO_PAD, salt, "salt", 8..=64)?;
    let output = decoded(&STANDARD_NO_PAD, output, "hash", 16..=64)?;
    Ok(Hash::Argon2id { memory, passes, lanes, salt, output })
}

/// Salt and hash of a line of mosquitto's.
type SaltAndOutput = (Box<[u8]>, Box<[u8]>);

fn mosquitto(salt: &str, output: &str) -> Result<SaltAndOutput, String> {
    Ok((decoded(&STANDARD, salt, "salt", 8..=64)?, decoded(&STANDARD, output, "hash", 64..=64)?))
}

fn decoded(
    engine: &impl base64::Engine,
    text: &str,
    what: &str,
    bytes: std::ops::RangeInclusive<usize>,
) -> Result<Box<[u8]>, String> {
    let (least, most) = (bytes.start(), bytes.end());
    match engine.decode(text) {
        Ok(decoded) if bytes.contains(&decoded.len()) => Ok(decoded.into_boxed_slice()),
        Ok(decoded) => {
            let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let number = decoded.len();
            Err(format!("the {what} has {number} bytes, it should have {wanted}; was it cut off?"))
        }
        Err(_) => Err(format!("the {what} is not base64; was the line cut off or edited?")),
    }
}

/// Digits and nothing else; `+7` is no number here.
fn number(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}
