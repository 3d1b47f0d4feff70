//! Bearer tokens of 256 random bits. A server knows only their SHA-256.
//!
//! A file of tokens has one token on each line: `NAME ROLE SHA256`, and optionally `rate_per_s=N`
//! and `burst=N`. Empty lines and text after `#` are skipped. Messages quote nothing of such
//! a file except names, because it may hold a token by mistake.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::files::Watched;
use super::rate::{Limiter, Rate};
use crate::role;

/// The role of a token. The greater role includes the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Allows everything that reads.
    Search,
    /// Also allows changes of what is served.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Search => "search",
            Role::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "search" => Ok(Role::Search),
            "admin" => Ok(Role::Admin),
            _ => Err("expected search or admin".to_owned()),
        }
    }
}

/// Flags of a role's subcommand `token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The name of the token in the servers' logs.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The role of the token: search or admin.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Requests per second that the token may send on average; a stream or a batch is one. Default:
    /// no limit.
    #[arg(long, value_name = "N")]
    rate_per_s: Option<f64>,
    /// Requests that the token may send at once. Default: those of one second.
    #[arg(long, value_name = "N", requires = "rate_per_s")]
    burst: Option<u32>,
    /// The file that the token is written to; only its owner can read it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl TokenArgs {
    /// Makes the token and prints its line for a server's file of tokens.
    ///
    /// # Errors
    /// An invalid name, a rate out of range, a file that exists or cannot be written, a system
    /// without random numbers; standard output cannot be written to.
    pub fn run(&self) -> Result<()> {
        let rate = self.rate_per_s.map(|per_s| Rate::new(per_s, self.burst)).transpose()?;
        let line = draw(&self.name, self.role, &self.out)?;
        role::print(&match rate {
            Some(rate) => format!("{} {}\n", line.trim_end(), rate.words()),
            None => line,
        })
    }
}

/// Makes a token of 256 random bits, writes it to the new file `out`, which only its owner can
/// read, and returns the line for a server's file of tokens.
///
/// # Errors
/// An invalid name, a file that exists or cannot be written, a system without random numbers.
pub(super) fn draw(name: &str, role: Role, out: &Path) -> Result<String> {
    ensure!(
        is_name(name),
        "token name {name:?}: expected at most 64 letters, digits, '-', '_', '.' and '@'"
    );
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("cannot draw random numbers")?;
    let token = format!("ocelli_{}", hex::encode(bytes));
    let place = || format!("cannot write {}", out.display());
    // An existing file is not replaced: a token in use would be lost.
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .with_context(place)?;
    file.write_all(format!("{token}\n").as_bytes()).with_context(place)?;
    file.sync_all().with_context(place)?;
    Ok(format!("{name} {role} {}\n", hex::encode(Sha256::digest(token.as_bytes()))))
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// The tokens that a server knows.
pub(super) struct Tokens(Vec<Known>);

/// A token that a server knows.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) role: Role,
    sha256: [u8; 32],
    rate: Option<Rate>,
    /// The limiter of a token with a rate.
    pub(super) limiter: Option<Arc<Limiter>>,
}

impl Known {
    fn parse(words: &[&str]) -> Result<Known> {
        let [name, role, sha256, rate @ ..] = words else {
            bail!("expected NAME ROLE SHA256, then rate_per_s=N and burst=N if there is a limit");
        };
        Ok(Known {
            name: is_name(name).then(|| (*name).to_owned()).context("expected a name first")?,
            role: role.parse().ok().context("expected search or admin after the name")?,
            sha256: digest_of(sha256)
                .context("expected SHA-256 in 64 hexadecimal digits after the role")?,
            rate: Rate::parse(rate)?,
            limiter: None,
        })
    }
}

/// The limiters of tokens, by hash. They outlive a new reading of the file, which must not give
/// every token a new burst.
type Limiters = HashMap<[u8; 32], (Rate, Arc<Limiter>)>;

impl Tokens {
    /// Reads a file of tokens.
    ///
    /// # Errors
    /// A file that cannot be read, and those of [`Tokens::parse`].
    pub(super) fn open(path: &Path) -> Result<Watched<Tokens>> {
        let place = path.display().to_string();
        let limiters = Mutex::new(Limiters::new());
        Watched::open("tokens", vec![PathBuf::from(path)], move |contents| {
            let bytes = contents.first().context("no file")?;
            let mut tokens = Tokens::parse(bytes).with_context(|| place.clone())?;
            tokens.limit(&mut limiters.lock());
            Ok(tokens)
        })
    }

    /// Gives each token with a rate its limiter: the earlier one, if the rate is the same.
    fn limit(&mut self, limiters: &mut Limiters) {
        let before = std::mem::take(limiters);
        for token in &mut self.0 {
            let Some(rate) = token.rate else { continue };
            let kept = before.get(&token.sha256).filter(|(then, _)| *then == rate);
            token.limiter = match kept {
                Some((_, limiter)) => Some(Arc::clone(limiter)),
                None => Limiter::new(rate).map(Arc::new),
            };
            if let Some(limiter) = &token.limiter {
                limiters.insert(token.sha256, (rate, Arc::clone(limiter)));
            }
        }
    }

    /// Parses a file of tokens.
    ///
    /// # Errors
    /// A line that is not a token, a name or token that occurs twice, a file without tokens.
    pub(super) fn parse(bytes: &[u8]) -> Result<Tokens> {
        let text = std::str::from_utf8(bytes).ok().context("expected text, one token a line")?;
        // The tokens, each with its line.
        let mut tokens: Vec<(usize, Known)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = || format!("line {}", number + 1);
            if words.is_empty() {
                continue;
            }
            let known = Known::parse(&words).with_context(place)?;
            for (first, other) in &tokens {
                let name = &known.name;
                ensure!(
                    other.name != *name,
                    "{}: the name {name} is already used in line {first}",
                    place()
                );
                ensure!(
                    other.sha256 != known.sha256,
                    "{}: the token of {name} is already used in line {first}",
                    place()
                );
            }
            tokens.push((number + 1, known));
        }
        ensure!(!tokens.is_empty(), "expected at least one token, found none");
        Ok(Tokens(tokens.into_iter().map(|(_, known)| known).collect()))
    }

    /// The token of this text; `None` if it is unknown. All hashes are compared, each in constant
    /// time.
    pub(super) fn find(&self, token: &str) -> Option<&Known> {
        let presented: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.sha256.ct_eq(&presented)) {
                found = Some(known);
            }
        }
        found
    }
}

/// The SHA-256 that 64 hexadecimal digits stand for.
fn digest_of(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}
