//! The threads that hash, verify and ask, and the queues before them.
//!
//! Two kinds of threads, so that a callback that hangs holds up no password: `threads` of them hash passwords and verify
//! tokens, tokens first since they take a hundredth of the time; `http_threads` ask the callback. As much memory is in use
//! for hashing as there are threads of the first kind, 19 MiB each. Each queue is bounded; what does not fit, or has waited
//! for longer than its client will, is told that the server is busy before any work is done for it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use noctule_core::refusal::Kind;
use noctule_mqtt::server::AuthMethod;

use super::backoff::{Backoff, BackoffSettings};
use super::chain::{Methods, Next, is_tried_again, is_wrong_guess};
use super::decoy::DecoyKey;
use super::error::LoadError;
use super::http::{Callback, HttpSettings};
use super::jwt::{Jwt, JwtSettings};
use super::password::{Users, Work};
use super::question::{Accepted, Answers, Denial, Grant, Question, Verdict};
use super::scram::{Accounts, Decided, Scram, Verifier};

/// Everything about authentication that is configured.
#[derive(Debug)]
pub struct Settings {
    /// The password file, for [`Method::Password`](super::Method::Password), for SCRAM and for everybody's groups.
    pub password_file: Option<std::path::PathBuf>,
    /// Tokens.
    pub jwt: Option<JwtSettings>,
    /// The callback.
    pub http: Option<HttpSettings>,
    /// Who has to wait after wrong guesses.
    pub backoff: BackoffSettings,
    /// Makes strangers look like users; kept over restarts, and drawn anew nowhere else.
    pub decoy: DecoyKey,
    /// Threads that hash and verify; holds until the end of the process.
    pub threads: usize,
    /// Threads that ask the callback, and so the most questions that it is asked at once; likewise.
    pub http_threads: usize,
    /// Most questions that wait for each kind of work; likewise.
    pub queue: usize,
    /// How long a question is worth answering, ms: after that its client has given up. Likewise.
    pub patience_ms: u64,
}

impl Settings {
    /// No methods, and the defaults for the rest.
    #[must_use]
    pub fn new(decoy: DecoyKey) -> Self {
        Self {
            password_file: None,
            jwt: None,
            http: None,
            backoff: BackoffSettings::default(),
            decoy,
            threads: 1,
            http_threads: 4,
            queue: 1_024,
            patience_ms: 10_000,
        }
    }
}

/// Files and settings that were found right, to be put into force by [`Authenticator::reload`].
#[derive(Debug)]
pub struct Loaded {
    methods: Methods,
    decoy: DecoyKey,
    backoff: BackoffSettings,
    /// What should be mended all the same.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Reads everything that `settings` name.
    ///
    /// # Errors
    /// When a file or setting is wrong.
    pub fn read(settings: &Settings) -> Result<Self, LoadError> {
        let users =
            settings.password_file.as_deref().map(|path| Users::load(path, &settings.decoy)).transpose()?;
        let jwt = settings.jwt.clone().map(Jwt::load).transpose()?;
        let http = settings.http.as_ref().map(Callback::load).transpose()?;
        let mut warnings = Vec::new();
        warnings.extend(users.iter().flat_map(Users::warnings).cloned());
        warnings.extend(jwt.iter().flat_map(Jwt::warnings).cloned());
        warnings.extend(http.iter().flat_map(Callback::warnings).cloned());
        let (decoy, backoff) = (settings.decoy.clone(), settings.backoff);
        Ok(Self { methods: Methods { users, jwt, http }, decoy, backoff, warnings })
    }
}

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was decided on the spot, since that took no work (or there is no room for it: [`Kind::ServerBusy`]).
    Decided(Verdict),
    /// The verdict goes to [`Answers`], once and for certain.
    Pending,
}

/// Decides who somebody is. Dropping it answers what still waits and joins the threads, which takes as long as a callback
/// may take to answer.
#[derive(Debug)]
pub struct Authenticator {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    methods: RwLock<Arc<Methods>>,
    decoy: RwLock<DecoyKey>,
    backoff: Mutex<Backoff>,
    answers: Arc<dyn Answers>,
    hashing: Pool,
    asking: Pool,
    patience: Duration,
    work: Mutex<Work>,
}

#[derive(Debug)]
struct Pool {
    lanes: Mutex<Lanes>,
    wake: Condvar,
    /// Most in each lane.
    room: usize,
}

#[derive(Debug, Default)]
struct Lanes {
    /// What takes little, and is taken first.
    quick: VecDeque<Job>,
    slow: VecDeque<Job>,
    stopping: bool,
}

#[derive(Debug)]
struct Job {
    question: Question,
    asked: Instant,
}

impl Authenticator {
    /// Loads everything and starts the threads.
    ///
    /// # Errors
    /// When a file or setting is wrong, or there are no threads to be had.
    pub fn start(settings: &Settings, answers: Arc<dyn Answers>) -> Result<(Self, Vec<String>), LoadError> {
        for (name, number) in [
            ("auth.hash_threads", settings.threads),
            ("auth_http.max_requests", settings.http_threads),
            ("auth.queue", settings.queue),
        ] {
            if number == 0 {
                return Err(LoadError::Setting { name, problem: "0; at least 1".to_owned() });
            }
        }
        let Loaded { methods, decoy, backoff, warnings } = Loaded::read(settings)?;
        let inner = Arc::new(Inner {
            methods: RwLock::new(Arc::new(methods)),
            decoy: RwLock::new(decoy),
            backoff: Mutex::new(Backoff::new(backoff)),
            answers,
            hashing: Pool::new(settings.queue),
            asking: Pool::new(settings.queue),
            patience: Duration::from_millis(settings.patience_ms),
            work: Mutex::default(),
        });
        let mut authenticator = Self { inner, threads: Vec::new() };
        for (duty, number) in [(Duty::Hash, settings.threads), (Duty::Ask, settings.http_threads)] {
            for place in 0..number {
                let inner = Arc::clone(&authenticator.inner);
                let thread = std::thread::Builder::new()
                    .name(format!("auth-{}-{place}", duty.name()))
                    .spawn(move || inner.serve(duty))
                    .map_err(|source| LoadError::System { what: "no thread for authentication", source })?;
                authenticator.threads.push(thread);
            }
        }
        Ok((authenticator, warnings))
    }

    /// Decides at once what needs no work, and hands on what does. Costs a digest and a look at two tables, so a worker
    /// can ask while it serves others.
    pub fn ask(&self, question: Question) -> Asked {
        if let Some(denial) = self.inner.must_wait(&question) {
            return Asked::Decided(Verdict::Denied(denial));
        }
        let next = self.inner.methods().next(&question);
        let (pool, quick) = match next {
            Next::Decided(verdict) => return Asked::Decided(verdict),
            Next::Token => (&self.inner.hashing, true),
            Next::Hash => (&self.inner.hashing, false),
            Next::Ask => (&self.inner.asking, false),
        };
        if pool.put(Job { question, asked: Instant::now() }, quick) {
            return Asked::Pending;
        }
        Asked::Decided(Verdict::Denied(Denial::busy("too many clients wait to be let in")))
    }

    /// Puts into force what was read anew. What was remembered of right passwords and answers is forgotten; who waits
    /// after wrong guesses goes on waiting.
    pub fn reload(&self, loaded: Loaded) {
        *self.inner.methods.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded.methods);
        *self.inner.decoy.write().unwrap_or_else(PoisonError::into_inner) = loaded.decoy;
        self.inner.backoff.lock().unwrap_or_else(PoisonError::into_inner).set(loaded.backoff);
    }

    /// SCRAM-SHA-256 with the users of the password file, whichever is in force; without one nobody has a verifier.
    #[must_use]
    pub fn scram(&self) -> Box<dyn AuthMethod> {
        let accounts: Arc<dyn Accounts> = Arc::<Inner>::clone(&self.inner);
        Box::new(Scram::new(accounts))
    }

    /// What is granted to a user whom SCRAM has proved; `None` if the password file has lost him meanwhile.
    #[must_use]
    pub fn grant(&self, user: &str) -> Option<Grant> {
        self.inner.methods().grant(user)
    }

    /// What is to be thought of a user now who was let in before by that proof: the groups that he is in by the password
    /// file, or `None` where it does not say (they are those of his token, or of the service). Tokens and the service's
    /// words are not asked about again; tokens end by themselves.
    ///
    /// # Errors
    /// When the password file does not know him any more, or has another password for him.
    pub fn review(&self, user: &str, proof: Accepted) -> Result<Option<Vec<Arc<str>>>, Denial> {
        self.inner.methods().review(user, proof)
    }

    /// Whether somebody has to wait, for proofs that are not questions (SCRAM): the text is for the log.
    ///
    /// # Errors
    /// When he has to.
    pub fn admits(&self, address: Option<IpAddr>, user: Option<&str>, mono_ms: u64) -> Result<(), Denial> {
        self.inner.admits(address, user.unwrap_or_default(), mono_ms)
    }

    /// How such a proof ended.
    pub fn settled(&self, address: Option<IpAddr>, user: Option<&str>, right: bool, mono_ms: u64) {
        self.inner.settled(address, user.unwrap_or_default(), right, mono_ms);
    }

    /// What hashing has taken since the start.
    #[must_use]
    pub fn work(&self) -> Work {
        *self.inner.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        for pool in [&self.inner.hashing, &self.inner.asking] {
            for job in pool.stop() {
                let why = "the broker stops".into();
                let denial = Denial { kind: Kind::ServerShuttingDown, why };
                self.inner.answers.answer(job.question.ticket, Verdict::Denied(denial));
            }
        }
        for thread in self.threads.drain(..) {
            // It has ended by a panic outside of every question; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// What a thread is for.
#[derive(Clone, Copy, Debug)]
enum Duty {
    Hash,
    Ask,
}

impl Duty {
    fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Ask => "ask",
        }
    }
}

impl Inner {
    fn methods(&self) -> Arc<Methods> {
        Arc::clone(&self.methods.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn must_wait(&self, question: &Question) -> Option<Denial> {
        self.admits(question.address, question.counts_for(), question.now.mono_ms).err()
    }

    fn admits(&self, address: Option<IpAddr>, user: &str, mono_ms: u64) -> Result<(), Denial> {
        let backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        match backoff.wait_ms(address, user, mono_ms) {
            0 => Ok(()),
            ms => Err(Denial::busy(format!("too many wrong guesses; the next in {} s", ms.div_ceil(1_000)))),
        }
    }

    fn settled(&self, address: Option<IpAddr>, user: &str, right: bool, mono_ms: u64) {
        let mut backoff = self.backoff.lock().unwrap_or_else(PoisonError::into_inner);
        if right {
            backoff.succeeded(address, user);
        } else {
            backoff.failed(address, user, mono_ms);
        }
    }

    /// What a thread does all its life.
    fn serve(&self, duty: Duty) {
        let pool = match duty {
            Duty::Hash => &self.hashing,
            Duty::Ask => &self.asking,
        };
        while let Some(job) = pool.take() {
            let ticket = job.question.ticket;
            // A question that breaks its thread would be the last for everybody.
            let verdict = catch_unwind(AssertUnwindSafe(|| self.decide(&job)));
            self.answers.answer(
                ticket,
                verdict.unwrap_or_else(|_| {
                    let why = "the authenticator panicked; please report what it said".into();
                    Verdict::Denied(Denial { kind: Kind::Internal, why })
                }),
            );
        }
    }

    fn decide(&self, job: &Job) -> Verdict {
        let question = &job.question;
        if job.asked.elapsed() > self.patience {
            return Verdict::Denied(Denial::busy("it waited for longer than its client will"));
        }
        // Others may have guessed wrong at the same place since it was asked.
        if let Some(denial) = self.must_wait(question) {
            return Verdict::Denied(denial);
        }
        let methods = self.methods();
        let mut work = Work::default();
        // Asked again: a reload may have come between, or the same password been found right.
        let verdict = methods.work(&methods.next(question), question, &mut work);
        {
            let mut total = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            total.argon2 = total.argon2.saturating_add(work.argon2);
            total.pbkdf2 = total.pbkdf2.saturating_add(work.pbkdf2);
            total.digests = total.digests.saturating_add(work.digests);
        }
        let right = matches!(verdict, Verdict::Accepted(_));
        if right || is_wrong_guess(&verdict) && !is_tried_again(question, &verdict) {
            self.settled(question.address, question.counts_for(), right, question.now.mono_ms);
        }
        verdict
    }
}

impl Accounts for Inner {
    fn verifier(&self, user: &str) -> (Verifier, Decided) {
        let methods = self.methods();
        match methods.users.as_ref().map(|users| (users, users.verifier(user))) {
            Some((_, Some(verifier))) => (verifier.clone(), Decided::Open),
            Some((users, None)) => (users.decoy_verifier(user), Decided::Against),
            None => {
                let decoy = self.decoy.read().unwrap_or_else(PoisonError::into_inner);
                (Verifier::decoy(&decoy, super::scram::DEFAULT_ITERATIONS, user), Decided::Against)
            }
        }
    }
}

impl Pool {
    fn new(room: usize) -> Self {
        Self { lanes: Mutex::default(), wake: Condvar::new(), room }
    }

    /// Puts a job into a lane; false if it is full.
    fn put(&self, job: Job, quick: bool) -> bool {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = if quick { &mut lanes.quick } else { &mut lanes.slow };
        if lane.len() >= self.room {
            return false;
        }
        lane.push_back(job);
        drop(lanes);
        self.wake.notify_one();
        true
    }

    /// The next job; waits for one. `None`: the end.
    fn take(&self) -> Option<Job> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if lanes.stopping {
                return None;
            }
            if let Some(job) = lanes.quick.pop_front() {
                return Some(job);
            }
            if let Some(job) = lanes.slow.pop_front() {
                return Some(job);
            }
            lanes = self.wake.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the threads end, and returns what they leave.
    fn stop(&self) -> Vec<Job> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.stopping = true;
        let mut left: Vec<Job> = lanes.quick.drain(..).collect();
        left.extend(lanes.slow.drain(..));
        drop(lanes);
        self.wake.notify_all();
        left
    }
}

#[cfg(test)]
mod tests;
