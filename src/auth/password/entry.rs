//! One line of a password file: `user:hash[:group,group[:scram]]`.

use std::fmt;

use super::hash::Hash;
use crate::auth::name;
use crate::auth::scram::Verifier;

/// Most groups of one user.
pub const MAX_GROUPS: usize = 64;

/// One user as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub user: String,
    /// What the password is compared with.
    pub hash: Hash,
    /// The groups, in the file's order.
    pub groups: Vec<String>,
    /// What SCRAM-SHA-256 needs, if the user may use it.
    pub scram: Option<Verifier>,
}

impl Entry {
    /// Reads a line without its line break; `None` for an empty one or a comment.
    ///
    /// # Errors
    /// What is wrong and how to mend it, without the hash.
    pub fn parse(line: &str) -> Result<Option<Self>, String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        // Only the last field has a colon of its own.
        let mut fields = line.splitn(4, ':');
        let user = fields.next().unwrap_or_default();
        name::check(user).map_err(|error| format!("user {user:?}: {error}"))?;
        let Some(hash) = fields.next() else {
            return Err(format!("user {user:?} has no hash; write {user}:HASH, as noctule passwd does"));
        };
        let about = |problem: String| format!("user {user:?}: {problem}");
        let hash = Hash::parse(hash).map_err(about)?;
        let groups = match fields.next() {
            None | Some("") => Vec::new(),
            Some(text) if text.starts_with("SCRAM-") => {
                return Err(about(
                    "groups come before SCRAM; write USER:HASH::SCRAM-SHA-256$… for none".to_owned(),
                ));
            }
            Some(text) => groups(text).map_err(about)?,
        };
        let scram = match fields.next() {
            None | Some("") => None,
            Some(text) => Some(Verifier::parse(text).map_err(about)?),
        };
        Ok(Some(Self { user: user.to_owned(), hash, groups, scram }))
    }
}

/// Reads `ops,night-shift`.
///
/// # Errors
/// What is wrong and how to mend it.
pub fn groups(text: &str) -> Result<Vec<String>, String> {
    let mut groups: Vec<String> = Vec::new();
    for group in text.split(',') {
        name::check(group).map_err(|error| format!("group {group:?}: {error}"))?;
        if group.contains(':') {
            return Err(format!("group {group:?}: the name holds ':', which ends a field"));
        }
        if groups.iter().any(|known| known == group) {
            return Err(format!("group {group:?} is named twice"));
        }
        groups.push(group.to_owned());
    }
    if groups.len() > MAX_GROUPS {
        return Err(format!("{} groups, {MAX_GROUPS} at most", groups.len()));
    }
    Ok(groups)
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.user, self.hash)?;
        if !self.groups.is_empty() || self.scram.is_some() {
            write!(f, ":{}", self.groups.join(","))?;
        }
        if let Some(scram) = &self.scram {
            write!(f, ":{scram}")?;
        }
        Ok(())
    }
}
