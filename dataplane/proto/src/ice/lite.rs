//! The agent of the node, one per transport: lite in SDP (RFC 8445 §2.5), yet it checks the peer's addresses itself.
//!
//! A valid check proves that its sender knows our password, not that it sits at its source address: it could point our
//! media at a victim. So every new address is asked in turn with an authenticated Binding request (ICE-CONTROLLED), and
//! media goes only where the answer came from. The same request, repeated, is consent (RFC 7675).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use clock::{Duration, Instant, Rng, SeldomRng};

use super::{
    BadCredentials, Credentials, Datagram, Event, Ignored, MAX_OWN_UFRAG, Output,
    PEER_REFLEXIVE_PRIORITY, Pending, authenticate_request, authenticate_response, later,
    randomized, smooth,
};
use crate::stun::{self, BindingRequest, IntegrityKey, Message, Role, TransactionId};

/// Addresses of the peer that are remembered.
pub const MAX_CANDIDATES: usize = 8;
/// For so many of them there is memory from the beginning; further ones cost an allocation.
pub const USUAL_CANDIDATES: usize = 2;
/// Questions to one address in a row.
const MAX_TRIES: u32 = 6;
/// The pause between questions to one address doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// What a restart left behind is taken for so long after the new addresses work: datagrams of before are still on their way.
const FAREWELL: Duration = Duration::from_secs(5);
/// Outputs that wait to be polled; one input makes at most `MAX_CANDIDATES` + 3.
const MAX_QUEUED: usize = 64;
/// For so many there is memory from the beginning: a new address, its selection, and a question to it.
const USUAL_QUEUED: usize = 3;

/// Times of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Without a selected address, this long after the last valid check (at first: after creation) the agent gives up.
    pub selection_timeout: Duration,
    /// Pause after the first question to a new address; it doubles.
    pub check_pause: Duration,
    /// An address that has not answered for this long is silent.
    pub check_patience: Duration,
    /// Consent is asked for this often, ± 20 %.
    pub consent_interval: Duration,
    /// And again after this long, as long as no answer has come.
    ///
    /// RFC 7675 §5.1 leaves the interval alone when requests are lost, and lets consent live for 30 s. We let it live
    /// for half of that, so we ask again sooner; else three lost packets would end a call.
    pub consent_retry: Duration,
    /// Consent ends this long after the last answer.
    pub consent_timeout: Duration,
    /// For a peer that never answers: consent ends this long after its last valid check.
    pub unproven_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            selection_timeout: Duration::from_secs(30),
            check_pause: Duration::from_millis(200),
            check_patience: Duration::from_secs(4),
            consent_interval: Duration::from_secs(5),
            consent_retry: Duration::from_secs(1),
            consent_timeout: Duration::from_secs(15),
            unproven_timeout: Duration::from_secs(30),
        }
    }
}

/// ICE-lite for one transport.
#[derive(Debug)]
pub struct Lite {
    config: Arc<Config>,
    rng: SeldomRng,
    local: Credentials,
    local_key: IntegrityKey,
    remote: Option<Remote>,
    /// What was in force before the last restart, until what is now has worked for a while.
    former: Option<Box<Former>>,
    tie_breaker: u64,
    candidates: Vec<Candidate>,
    selected: Option<Selected>,
    /// Counts USE-CANDIDATE, so that the latest can be told.
    nominations: u64,
    dtls_address: Option<SocketAddr>,
    /// Creation, then the last valid check from anywhere.
    last_check: Instant,
    consent_until: Instant,
    rtt: Option<Duration>,
    queue: VecDeque<Queued>,
    ended: bool,
}

#[derive(Debug)]
struct Remote {
    credentials: Credentials,
    key: IntegrityKey,
}

/// Credentials of before a restart (RFC 8445 §9): media goes on with them until the new ones work.
#[derive(Debug)]
struct Former {
    local: Credentials,
    local_key: IntegrityKey,
    remote: Option<Remote>,
    /// Set once they are not needed any more.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Selected {
    address: SocketAddr,
    proven: bool,
}

/// An address from which a valid check came.
#[derive(Debug)]
struct Candidate {
    address: SocketAddr,
    /// It is of before the last restart.
    is_former: bool,
    last_check: Instant,
    /// Valid checks since we last began to ask.
    checks: u32,
    /// Which USE-CANDIDATE was its latest; 0 if none.
    nominated: u64,
    proof: Proof,
    pending: Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// The peer's password is not known yet.
    Unasked,
    Asking {
        since: Instant,
        tries: u32,
        next_at: Instant,
    },
    /// `next_at` counts only while selected.
    Proven {
        at: Instant,
        next_at: Instant,
    },
    Silent {
        since: Instant,
    },
}

#[derive(Debug)]
enum Queued {
    Check {
        to: SocketAddr,
        transaction: TransactionId,
    },
    Event(Event),
}

impl Lite {
    /// An agent that waits for the first check. Agents can share `config`.
    ///
    /// # Errors
    /// [`BadCredentials::Ufrag`] if our own ufrag has more than 32 characters.
    pub fn new(
        now: Instant,
        local: Credentials,
        config: impl Into<Arc<Config>>,
        mut rng: Rng,
    ) -> Result<Self, BadCredentials> {
        if local.ufrag().len() > MAX_OWN_UFRAG {
            return Err(BadCredentials::Ufrag);
        }
        Ok(Self {
            config: config.into(),
            local_key: IntegrityKey::new(local.password().as_bytes()),
            local,
            remote: None,
            former: None,
            tie_breaker: rng.next_u64(),
            rng: SeldomRng::new(&mut rng),
            candidates: Vec::with_capacity(USUAL_CANDIDATES),
            selected: None,
            nominations: 0,
            dtls_address: None,
            last_check: now,
            consent_until: now,
            rtt: None,
            queue: VecDeque::with_capacity(USUAL_QUEUED),
            ended: false,
        })
    }

    /// Takes the peer's credentials: later than its first checks, or again after its ICE restart (RFC 8445 §9).
    ///
    /// The same again changes nothing. Others are used for every question from now on; what was asked with the old ones
    /// is void, and addresses that are still being asked are asked anew.
    pub fn set_remote(&mut self, now: Instant, credentials: Credentials) {
        if self.ended || self.remote.as_ref().map(|r| &r.credentials) == Some(&credentials) {
            return;
        }
        let key = IntegrityKey::new(credentials.password().as_bytes());
        self.remote = Some(Remote { credentials, key });
        for index in 0..self.candidates.len() {
            let Some(candidate) = self.candidates.get_mut(index).filter(|c| !c.is_former) else {
                continue;
            };
            candidate.pending.clear();
            match &mut candidate.proof {
                Proof::Proven { next_at, .. } => *next_at = now,
                Proof::Unasked | Proof::Asking { .. } | Proof::Silent { .. } => {
                    candidate.begin_asking(now);
                    self.ask(now, index);
                }
            }
        }
    }

    /// Both sides begin anew with other credentials (RFC 8445 §9). What worked so far goes on with those that it began with, and is
    /// left for what works with the new ones; a little later the old ones are forgotten.
    ///
    /// The same of ours again is the same restart: only `remote` is taken.
    ///
    /// # Errors
    /// [`BadCredentials::Ufrag`] if our own new ufrag has more than 32 characters; nothing has changed then.
    pub fn restart(
        &mut self,
        now: Instant,
        local: Credentials,
        remote: Credentials,
    ) -> Result<(), BadCredentials> {
        if local.ufrag().len() > MAX_OWN_UFRAG {
            return Err(BadCredentials::Ufrag);
        }
        if self.ended {
            return Ok(());
        }
        if local != self.local {
            self.leave_behind();
            self.local_key = IntegrityKey::new(local.password().as_bytes());
            self.local = local;
        }
        self.set_remote(now, remote);
        Ok(())
    }

    /// What is in force becomes what was, unless it never worked: then what was before it remains.
    fn leave_behind(&mut self) {
        let selected = self.selected();
        let has_worked = self.former.is_none()
            || self
                .find_selected()
                .is_some_and(|selected| !selected.is_former);
        let goes = |candidate: &Candidate| candidate.is_former == has_worked;
        let mut kept = Vec::with_capacity(self.candidates.len());
        for mut candidate in core::mem::take(&mut self.candidates) {
            if goes(&candidate) && selected != Some(candidate.address) {
                self.push(Queued::Event(Event::Forgotten(candidate.address)));
            } else {
                candidate.is_former = true;
                kept.push(candidate);
            }
        }
        self.candidates = kept;
        let remote = self.remote.take();
        if has_worked {
            self.former = Some(Box::new(Former {
                local: self.local.clone(),
                local_key: self.local_key.clone(),
                remote,
                until: None,
            }));
        }
    }

    /// Answers a Binding request: `Ok(length)` means that the first `length` bytes of `response` are to be sent back to
    /// `from`. The answer is never longer than the question.
    ///
    /// # Errors
    /// [`Ignored`] says why there is no answer; nothing has changed then. A `response` of fewer than
    /// [`stun::MAX_RESPONSE_LEN`] bytes may be too small, which counts as [`Ignored::AnswerTooLong`].
    pub fn on_request(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        from: SocketAddr,
        response: &mut [u8],
    ) -> Result<usize, Ignored> {
        if self.ended {
            return Err(Ignored::Ended);
        }
        let is_former = self.authenticate(message)?;
        let id = message.transaction_id();
        let key = match &self.former {
            Some(former) if is_former => &former.local_key,
            _ => &self.local_key,
        };
        let unknown = message.unknown_required();
        let (written, accepted) = if !unknown.is_empty() {
            // RFC 8489 §6.3.1.
            let written = stun::write_binding_error(response, id, 420, unknown, key);
            (written, false)
        } else if message.ice_controlled().is_some() {
            // RFC 8445 §7.3.1.1, and a lite agent never takes the controlling role.
            let written = stun::write_binding_error(response, id, 487, &[], key);
            (written, false)
        } else if message.ice_controlling().is_none() || message.priority().is_none() {
            return Err(Ignored::Incomplete);
        } else {
            let written = stun::write_binding_success(response, id, from, key);
            (written, true)
        };
        let length = written.map_err(|_| Ignored::AnswerTooLong)?;
        if length > message.wire_len() {
            return Err(Ignored::AnswerTooLong);
        }
        if accepted {
            self.accept_check(now, from, message.use_candidate(), is_former);
        }
        Ok(length)
    }

    /// Takes the answer to a question of ours.
    ///
    /// # Errors
    /// [`Ignored`] says why it proves nothing.
    pub fn on_response(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        from: SocketAddr,
    ) -> Result<(), Ignored> {
        if self.ended {
            return Err(Ignored::Ended);
        }
        let candidate = self
            .candidates
            .iter_mut()
            .find(|c| c.address == from)
            .ok_or(Ignored::UnknownTransaction)?;
        let remote = match &self.former {
            Some(former) if candidate.is_former => former.remote.as_ref(),
            _ => self.remote.as_ref(),
        };
        let remote = remote.ok_or(Ignored::UnknownTransaction)?;
        let sent_at = authenticate_response(message, &candidate.pending, &remote.key)?;
        candidate.pending.clear();
        let interval = randomized(self.config.consent_interval, &mut self.rng.draw());
        candidate.proof = Proof::Proven {
            at: now,
            next_at: later(sent_at, interval),
        };
        self.rtt = Some(smooth(self.rtt, now.saturating_since(sent_at)));
        if self.selected() == Some(from) {
            self.consent_until = later(now, self.config.consent_timeout);
        }
        self.reconsider();
        self.settle(now);
        Ok(())
    }

    /// Says that the DTLS handshake completed with `address`, fingerprint included.
    ///
    /// A peer that sends checks from there but never answers ours is then believed for that address alone.
    pub fn on_dtls_completed(&mut self, address: SocketAddr) {
        if self.ended {
            return;
        }
        self.dtls_address = Some(address);
        self.reconsider();
    }

    /// The next thing to do; to be drained after every input.
    pub fn poll(&mut self) -> Option<Output> {
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::Event(event) => return Some(Output::Event(event)),
                Queued::Check { to, transaction } => {
                    if let Some(datagram) = self.write_check(to, transaction) {
                        return Some(Output::Send { to, datagram });
                    }
                }
            }
        }
        None
    }

    /// When [`on_timeout`](Self::on_timeout) is due; `None` once ended.
    pub fn deadline(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let asking = self.candidates.iter().filter_map(|c| self.next_of(c)).min();
        let farewell = self.former.as_ref().and_then(|former| former.until);
        let first = asking.into_iter().chain(farewell).min();
        let expiry = self.expiry();
        Some(first.map_or(expiry, |at| at.min(expiry)))
    }

    /// Asks again where no answer has come, asks for consent, and ends what has lasted too long.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if now >= self.expiry() {
            let event = match self.selected {
                None => Event::Timeout,
                Some(_) => Event::ConsentLost,
            };
            self.ended = true;
            self.push(Queued::Event(event));
            return;
        }
        if let Some(until) = self.former.as_ref().and_then(|former| former.until)
            && until <= now
        {
            self.forget_former();
        }
        for index in 0..self.candidates.len() {
            self.on_candidate_timeout(now, index);
        }
        self.reconsider();
    }

    /// Whether a valid check came from `address`. DTLS is taken from such addresses only.
    pub fn is_checked(&self, address: SocketAddr) -> bool {
        self.find(address).is_some()
    }

    /// Whether `address` answered our question.
    pub fn is_proven(&self, address: SocketAddr) -> bool {
        self.find(address)
            .is_some_and(|c| matches!(c.proof, Proof::Proven { .. }))
    }

    /// Where media goes.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected.map(|selected| selected.address)
    }

    /// Whether a valid check came from anywhere.
    pub fn has_candidates(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// Whether the peer's credentials are known.
    pub fn has_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Smoothed round trip of our questions.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Our own credentials.
    pub fn local(&self) -> &Credentials {
        &self.local
    }

    /// Our ufrag of before a restart, as long as it is taken.
    pub fn former_ufrag(&self) -> Option<&str> {
        self.former.as_ref().map(|former| former.local.ufrag())
    }

    /// Whether a request is by the credentials of before the restart.
    fn authenticate(&self, message: &Message<'_>) -> Result<bool, Ignored> {
        let current = authenticate_request(message, self.local.ufrag(), &self.local_key);
        match (&self.former, current) {
            (Some(former), Err(Ignored::WrongUsername)) => {
                let ufrag = former.local.ufrag();
                authenticate_request(message, ufrag, &former.local_key).map(|()| true)
            }
            (_, current) => current.map(|()| false),
        }
    }

    /// What works with the new credentials makes the old ones superfluous.
    fn settle(&mut self, now: Instant) {
        let is_new = self.find_selected().is_some_and(|one| !one.is_former);
        if let Some(former) = self.former.as_mut().filter(|_| is_new) {
            former.until.get_or_insert(later(now, FAREWELL));
        }
    }

    fn forget_former(&mut self) {
        self.former = None;
        let all = core::mem::take(&mut self.candidates).into_iter();
        let (gone, kept): (Vec<_>, Vec<_>) = all.partition(|candidate| candidate.is_former);
        self.candidates = kept;
        for candidate in gone {
            self.push(Queued::Event(Event::Forgotten(candidate.address)));
        }
    }

    fn find_selected(&self) -> Option<&Candidate> {
        self.find(self.selected()?)
    }

    fn find(&self, address: SocketAddr) -> Option<&Candidate> {
        self.candidates.iter().find(|c| c.address == address)
    }

    fn accept_check(&mut self, now: Instant, from: SocketAddr, nominates: bool, is_former: bool) {
        self.last_check = now;
        if nominates {
            self.nominations = self.nominations.saturating_add(1);
        }
        let index = self.find_or_insert(now, from, is_former);
        let is_selected = self.selected() == Some(from);
        let (has_remote, config) = (self.remote.is_some(), *self.config);
        let half_life = config.consent_timeout.checked_div(2).unwrap_or_default();
        let Some(candidate) = self.candidates.get_mut(index) else {
            return;
        };
        candidate.last_check = now;
        if candidate.is_former && !is_former {
            // The peer has begun anew at the address that it had: that is proven, and consent is asked for as it now is.
            candidate.is_former = false;
            candidate.pending.clear();
            match &mut candidate.proof {
                Proof::Proven { next_at, .. } => *next_at = now,
                proof => *proof = Proof::Unasked,
            }
        }
        candidate.checks = candidate.checks.saturating_add(1);
        if nominates {
            candidate.nominated = self.nominations;
        }
        let begin = match candidate.proof {
            Proof::Unasked => has_remote,
            Proof::Asking { .. } => false,
            Proof::Silent { since } => now >= later(since, config.consent_interval),
            // A proof ages like consent; before media moves there with little of it left, the address is asked again.
            Proof::Proven { at, .. } => !is_selected && now >= later(at, half_life),
        };
        if begin {
            candidate.begin_asking(now);
        }
        self.ask(now, index);
        self.reconsider();
        self.settle(now);
    }

    /// The place of `address` in the table. If it is new and the table full, the longest unheard one goes, an unproven
    /// one first.
    fn find_or_insert(&mut self, now: Instant, address: SocketAddr, is_former: bool) -> usize {
        if let Some(index) = self.candidates.iter().position(|c| c.address == address) {
            return index;
        }
        if self.candidates.len() >= MAX_CANDIDATES {
            let kept = [self.selected(), self.dtls_address];
            let goes = self
                .candidates
                .iter()
                .enumerate()
                .filter(|(_, c)| !kept.contains(&Some(c.address)))
                .min_by_key(|(_, c)| (matches!(c.proof, Proof::Proven { .. }), c.last_check))
                .map(|(index, _)| index);
            if let Some(index) = goes {
                let gone = self.candidates.remove(index);
                self.push(Queued::Event(Event::Forgotten(gone.address)));
            }
        }
        self.candidates.push(Candidate {
            address,
            is_former,
            last_check: now,
            checks: 0,
            nominated: 0,
            proof: Proof::Unasked,
            pending: Pending::default(),
        });
        self.push(Queued::Event(Event::Checked(address)));
        self.candidates.len().saturating_sub(1)
    }

    fn on_candidate_timeout(&mut self, now: Instant, index: usize) {
        let (selected, config) = (self.selected(), *self.config);
        let Some(candidate) = self.candidates.get_mut(index) else {
            return;
        };
        match &mut candidate.proof {
            Proof::Asking { since, .. } if now >= later(*since, config.check_patience) => {
                candidate.proof = Proof::Silent { since: now };
            }
            Proof::Asking { .. } => self.ask(now, index),
            Proof::Proven { next_at, .. }
                if selected == Some(candidate.address) && now >= *next_at =>
            {
                *next_at = later(now, config.consent_retry);
                self.send_check(now, index);
            }
            Proof::Unasked | Proof::Proven { .. } | Proof::Silent { .. } => {}
        }
    }

    /// Sends the next question to a candidate that is being asked, if it is due and allowed.
    fn ask(&mut self, now: Instant, index: usize) {
        let pause = self.config.check_pause;
        let Some(candidate) = self.candidates.get_mut(index) else {
            return;
        };
        let allowed = candidate.allowed_tries();
        let Proof::Asking { tries, next_at, .. } = &mut candidate.proof else {
            return;
        };
        if *tries >= allowed || now < *next_at {
            return;
        }
        let pause = pause.saturating_mul(1_u32.checked_shl(*tries).unwrap_or(u32::MAX));
        *next_at = later(now, pause.min(LONGEST_PAUSE));
        *tries = tries.saturating_add(1);
        self.send_check(now, index);
    }

    fn send_check(&mut self, now: Instant, index: usize) {
        let Some(candidate) = self.candidates.get_mut(index) else {
            return;
        };
        let transaction = candidate.pending.begin(now, &mut self.rng.draw());
        let to = candidate.address;
        self.push(Queued::Check { to, transaction });
    }

    fn write_check(&self, to: SocketAddr, transaction: TransactionId) -> Option<Datagram> {
        let is_former = self.find(to).is_some_and(|candidate| candidate.is_former);
        let (local, remote) = match &self.former {
            Some(former) if is_former => (&former.local, &former.remote),
            _ => (&self.local, &self.remote),
        };
        let remote = remote.as_ref()?;
        let request = BindingRequest {
            transaction,
            receiver_ufrag: remote.credentials.ufrag().as_bytes(),
            sender_ufrag: local.ufrag().as_bytes(),
            priority: PEER_REFLEXIVE_PRIORITY,
            role: Role::Controlled(self.tie_breaker),
            use_candidate: false,
        };
        Datagram::check(&request, &remote.key)
    }

    /// When the candidate wants attention next.
    fn next_of(&self, candidate: &Candidate) -> Option<Instant> {
        match candidate.proof {
            Proof::Asking {
                since,
                tries,
                next_at,
            } => {
                let silent_at = later(since, self.config.check_patience);
                if tries < candidate.allowed_tries() {
                    Some(next_at.min(silent_at))
                } else {
                    Some(silent_at)
                }
            }
            Proof::Proven { next_at, .. } => {
                (self.selected() == Some(candidate.address)).then_some(next_at)
            }
            Proof::Unasked | Proof::Silent { .. } => None,
        }
    }

    /// When the agent ends unless something happens.
    fn expiry(&self) -> Instant {
        match self.selected {
            None => later(self.last_check, self.config.selection_timeout),
            Some(Selected { proven: true, .. }) => self.consent_until,
            Some(Selected { address, .. }) => {
                let last = self.find(address).map_or(Instant::ZERO, |c| c.last_check);
                later(last, self.config.unproven_timeout)
            }
        }
    }

    /// Selects the proven address that was nominated last, since a restart if that has brought any; before any nomination, the first that was proven; without a
    /// proven one, the silent address on which DTLS completed.
    fn reconsider(&mut self) {
        let current = self.selected;
        let mut best: Option<(&Candidate, Instant)> = None;
        for candidate in &self.candidates {
            let Proof::Proven { at, .. } = candidate.proof else {
                continue;
            };
            let stays = current.is_some_and(|s| s.proven && s.address == candidate.address);
            let wins = best.is_none_or(|(best, _)| {
                let rank = |one: &Candidate| (!one.is_former, one.nominated);
                rank(candidate) > rank(best) || (rank(candidate) == rank(best) && stays)
            });
            if wins {
                best = Some((candidate, at));
            }
        }
        if let Some((candidate, at)) = best {
            let address = candidate.address;
            let until = later(at, self.config.consent_timeout);
            self.select(address, true, until);
        } else if current.is_none()
            && let Some(address) = self.dtls_address
            && let Some(candidate) = self.find(address)
            && matches!(candidate.proof, Proof::Silent { .. })
        {
            self.select(address, false, self.consent_until);
        }
    }

    fn select(&mut self, address: SocketAddr, proven: bool, consent_until: Instant) {
        let selected = Some(Selected { address, proven });
        if self.selected != selected {
            self.selected = selected;
            self.consent_until = consent_until;
            self.push(Queued::Event(Event::Selected { address, proven }));
        }
    }

    fn push(&mut self, queued: Queued) {
        // Never full if the owner drains after each input; the bound is for one that does not.
        if self.queue.len() >= MAX_QUEUED {
            self.queue.pop_front();
        }
        self.queue.push_back(queued);
    }
}

impl Candidate {
    fn begin_asking(&mut self, now: Instant) {
        self.checks = 1;
        self.pending.clear();
        self.proof = Proof::Asking {
            since: now,
            tries: 0,
            next_at: now,
        };
    }

    /// One question, and one more for each check that came: whoever fakes a victim's address must pay for what the
    /// victim gets.
    fn allowed_tries(&self) -> u32 {
        self.checks.saturating_add(1).min(MAX_TRIES)
    }
}

#[cfg(test)]
mod tests {
    use super::super::controlling::{self, Controlling};
    use super::*;
    use proptest::prelude::{any, proptest};

    const DELAY: Duration = Duration::from_millis(10);
    const NODE: &str = "198.51.100.1:4000";
    const HOME: &str = "192.0.2.7:50000";
    const CAFE: &str = "203.0.113.9:60000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A datagram on the wire: when it arrives, from where, to where.
    type Flying = (Instant, SocketAddr, SocketAddr, Vec<u8>);

    /// Node, browser, and a wire of 10 ms between them.
    struct Pair {
        now: Instant,
        node: Lite,
        browser: Controlling,
        /// Where the browser sends from.
        at: SocketAddr,
        wire: Vec<Flying>,
        /// Every datagram of the node, with its destination.
        sent: Vec<(Instant, SocketAddr, usize)>,
        ignored: Vec<Ignored>,
        events: Vec<Event>,
        browser_events: Vec<Event>,
        rng: Rng,
        /// Of a hundred datagrams, this many are lost.
        loss: u64,
        /// Whether the browser answers our checks.
        answers: bool,
    }

    fn credentials() -> (Credentials, Credentials) {
        let mut rng = Rng::from_number(3);
        (
            Credentials::generate(&mut rng),
            Credentials::generate(&mut rng),
        )
    }

    impl Pair {
        fn new() -> Self {
            let mut pair = Self::unintroduced();
            pair.node.set_remote(pair.now, credentials().1);
            pair
        }

        /// The node does not know the browser's password yet.
        fn unintroduced() -> Self {
            let (ours, theirs) = credentials();
            Self::with(ours.clone(), theirs, ours)
        }

        fn with(node: Credentials, browser: Credentials, believed: Credentials) -> Self {
            let now = Instant::from_millis(1_000);
            let mut rng = Rng::from_number(4);
            Self {
                now,
                node: Lite::new(now, node, Config::default(), rng.fork()).unwrap(),
                browser: Controlling::new(
                    now,
                    browser,
                    believed,
                    address(NODE),
                    controlling::Config::default(),
                    rng.fork(),
                )
                .unwrap(),
                at: address(HOME),
                wire: Vec::new(),
                sent: Vec::new(),
                ignored: Vec::new(),
                events: Vec::new(),
                browser_events: Vec::new(),
                rng,
                loss: 0,
                answers: true,
            }
        }

        fn fly(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
            if from == address(NODE) {
                self.sent.push((self.now, to, bytes.len()));
            }
            if self.rng.below(100) >= self.loss {
                self.wire.push((self.now + DELAY, from, to, bytes));
            }
        }

        fn collect(&mut self) {
            while let Some(output) = self.node.poll() {
                match output {
                    Output::Send { to, datagram } => self.fly(address(NODE), to, datagram.to_vec()),
                    Output::Event(event) => self.events.push(event),
                }
            }
            while let Some(output) = self.browser.poll() {
                match output {
                    Output::Send { to, datagram } => self.fly(self.at, to, datagram.to_vec()),
                    Output::Event(event) => self.browser_events.push(event),
                }
            }
        }

        fn deliver(&mut self, (_, from, to, bytes): Flying) {
            let mut buffer = [0; stun::MAX_RESPONSE_LEN];
            let message = Message::parse(&bytes).unwrap();
            let is_request = message.class() == stun::Class::Request;
            let result = if to == address(NODE) && is_request {
                self.node.on_request(self.now, &message, from, &mut buffer)
            } else if to == address(NODE) {
                self.node.on_response(self.now, &message, from).map(|()| 0)
            } else if to == self.at && (self.answers || !is_request) {
                self.browser
                    .on_message(self.now, &message, from, &mut buffer)
            } else {
                Ok(0)
            };
            match result {
                Ok(0) => {}
                Ok(length) => {
                    assert!(length <= bytes.len(), "an answer is no amplifier");
                    self.fly(to, from, buffer[..length].to_vec());
                }
                Err(reason) => self.ignored.push(reason),
            }
        }

        fn run(&mut self, duration: Duration) {
            let end = self.now + duration;
            for _ in 0..100_000 {
                self.collect();
                let timers = [self.node.deadline(), self.browser.deadline()];
                let arrivals = self.wire.iter().map(|(at, ..)| *at);
                let next = arrivals.chain(timers.into_iter().flatten()).min();
                let Some(next) = next.filter(|at| *at <= end) else {
                    self.now = end;
                    return;
                };
                self.now = self.now.max(next);
                if let Some(index) = self.wire.iter().position(|(at, ..)| *at <= self.now) {
                    let flying = self.wire.remove(index);
                    self.deliver(flying);
                } else {
                    self.node.on_timeout(self.now);
                    self.browser.on_timeout(self.now);
                }
            }
            panic!("no end");
        }

        /// A check as the browser would send it, but from wherever we like.
        fn check_from(&mut self, from: &str, use_candidate: bool) -> Result<usize, Ignored> {
            let (ours, theirs) = credentials();
            let mut id = [0; 12];
            self.rng.fill(&mut id);
            let request = BindingRequest {
                transaction: TransactionId(id),
                receiver_ufrag: ours.ufrag().as_bytes(),
                sender_ufrag: theirs.ufrag().as_bytes(),
                priority: 1,
                role: Role::Controlling(1),
                use_candidate,
            };
            let key = IntegrityKey::new(ours.password().as_bytes());
            let mut bytes = [0; 200];
            let length = stun::write_binding_request(&mut bytes, &request, &key).unwrap();
            let message = Message::parse(&bytes[..length]).unwrap();
            let mut response = [0; stun::MAX_RESPONSE_LEN];
            let from = address(from);
            self.node
                .on_request(self.now, &message, from, &mut response)
        }

        fn sent_to(&self, to: &str) -> usize {
            let to = address(to);
            self.sent.iter().filter(|(_, at, _)| *at == to).count()
        }
    }

    fn selected(text: &str, proven: bool) -> Event {
        let address = address(text);
        Event::Selected { address, proven }
    }

    #[test]
    fn connects_proves_the_address_and_keeps_consent() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(120));
        assert_eq!(
            pair.events,
            [Event::Checked(address(HOME)), selected(HOME, true)]
        );
        assert_eq!(pair.browser_events, [selected(NODE, true)]);
        assert_eq!(pair.ignored, []);
        assert!(pair.node.is_checked(address(HOME)) && pair.node.is_proven(address(HOME)));
        assert_eq!(pair.node.rtt(), Some(2 * DELAY));
        assert_eq!(pair.browser.rtt(), Some(2 * DELAY));
        // One question each 5 s ± 20 % (RFC 7675), and answers of 64 bytes.
        let asked: Vec<_> = pair.sent.iter().filter(|(.., len)| *len > 64).collect();
        assert!((20..=31).contains(&asked.len()), "{}", asked.len());
        for pair in asked.windows(2).skip(1) {
            let pause = pair[1].0 - pair[0].0;
            assert!((4_000..=6_000).contains(&pause.as_millis()), "{pause:?}");
        }
    }

    #[test]
    fn survives_a_path_that_loses_every_fifth_datagram() {
        for seed in 0..20 {
            let mut pair = Pair::new();
            pair.rng = Rng::from_number(seed);
            pair.loss = 20;
            pair.run(Duration::from_secs(300));
            assert_eq!(pair.node.selected(), Some(address(HOME)), "seed {seed}");
            assert_eq!(pair.events.last(), Some(&selected(HOME, true)));
        }
    }

    #[test]
    fn consent_ends_fifteen_seconds_after_the_last_answer() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(20));
        let before = pair.now;
        pair.loss = 100;
        pair.run(Duration::from_secs(8));
        assert_ne!(pair.events.last(), Some(&Event::ConsentLost));
        pair.run(Duration::from_secs(32));
        assert_eq!(pair.events.last(), Some(&Event::ConsentLost));
        assert_eq!(pair.node.deadline(), None);
        let last = pair.sent.last().unwrap().0;
        assert!(last - before <= Duration::from_secs(15));
        assert_eq!(pair.check_from(HOME, true), Err(Ignored::Ended));
        assert_eq!(pair.browser_events.last(), Some(&Event::ConsentLost));
    }

    #[test]
    fn a_wrong_password_gets_no_answer_and_leaves_no_trace() {
        let (ours, theirs) = credentials();
        let wrong = Credentials::new(ours.ufrag(), theirs.password()).unwrap();
        let mut pair = Pair::with(ours, theirs.clone(), wrong);
        pair.node.set_remote(pair.now, theirs);
        pair.run(Duration::from_secs(29));
        assert!(pair.sent.is_empty());
        assert!(!pair.ignored.is_empty());
        assert!(pair.ignored.iter().all(|i| *i == Ignored::WrongIntegrity));
        assert!(!pair.node.is_checked(address(HOME)));
        pair.run(Duration::from_secs(2));
        assert_eq!(pair.events, [Event::Timeout]);
        assert_eq!(pair.browser_events, [Event::Timeout]);
    }

    #[test]
    fn another_ufrag_is_not_ours() {
        let (ours, theirs) = credentials();
        let other = Credentials::new("elsewhere", ours.password()).unwrap();
        let mut pair = Pair::with(ours, theirs, other);
        pair.run(Duration::from_secs(1));
        assert!(pair.ignored.iter().all(|i| *i == Ignored::WrongUsername));
        assert!(!pair.ignored.is_empty() && pair.sent.is_empty());
    }

    /// The credentials of a restart: the node's and the browser's.
    fn restarted() -> (Credentials, Credentials) {
        let mut rng = Rng::from_number(33);
        (
            Credentials::generate(&mut rng),
            Credentials::generate(&mut rng),
        )
    }

    impl Pair {
        /// The node begins anew; the browser has not heard of it yet.
        fn restart_node(&mut self) {
            let (ours, theirs) = restarted();
            self.node.restart(self.now, ours, theirs).unwrap();
        }

        /// So does the browser, at this address.
        fn restart_browser(&mut self, at: &str) {
            let (ours, theirs) = restarted();
            let config = controlling::Config::default();
            let rng = self.rng.fork();
            let node = address(NODE);
            self.at = address(at);
            self.browser = Controlling::new(self.now, theirs, ours, node, config, rng).unwrap();
        }
    }

    #[test]
    fn after_a_restart_media_moves_to_what_works_and_the_old_way_goes() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(20));
        pair.restart_node();
        // The answer takes its time: everything goes on as it was.
        pair.run(Duration::from_secs(3));
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        assert!(pair.ignored.is_empty());
        pair.events.clear();
        pair.restart_browser(CAFE);
        pair.run(Duration::from_millis(100));
        assert_eq!(
            pair.events,
            [Event::Checked(address(CAFE)), selected(CAFE, true)]
        );
        // What is on its way from the old address is still of a known peer, for a while.
        assert!(pair.node.is_checked(address(HOME)));
        assert!(pair.check_from(HOME, true).is_ok(), "by the old password");
        assert_eq!(
            pair.node.selected(),
            Some(address(CAFE)),
            "and moves nothing"
        );
        pair.run(Duration::from_secs(6));
        assert_eq!(pair.events.last(), Some(&Event::Forgotten(address(HOME))));
        assert!(!pair.node.is_checked(address(HOME)));
        assert_eq!(pair.check_from(HOME, true), Err(Ignored::WrongUsername));
        assert_eq!(pair.node.former_ufrag(), None);
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.node.selected(), Some(address(CAFE)));
        assert_eq!(pair.browser_events, [selected(NODE, true); 2]);
    }

    #[test]
    fn a_restart_that_the_peer_never_hears_of_changes_nothing() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(20));
        pair.events.clear();
        pair.restart_node();
        pair.run(Duration::from_secs(120));
        assert_eq!(pair.events, []);
        assert_eq!(pair.ignored, []);
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        // The next one, with other credentials, is heard of; what never worked is gone.
        let mut rng = Rng::from_number(44);
        let (ours, theirs) = (
            Credentials::generate(&mut rng),
            Credentials::generate(&mut rng),
        );
        let former = credentials().0;
        pair.node
            .restart(pair.now, ours.clone(), theirs.clone())
            .unwrap();
        assert_eq!(pair.node.former_ufrag(), Some(former.ufrag()));
        assert_eq!(pair.node.local(), &ours);
        let config = controlling::Config::default();
        let rng = pair.rng.fork();
        pair.at = address(CAFE);
        pair.browser =
            Controlling::new(pair.now, theirs, ours, address(NODE), config, rng).unwrap();
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.node.selected(), Some(address(CAFE)));
    }

    #[test]
    fn a_restart_without_a_change_of_address_keeps_it_all_the_time() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(20));
        pair.events.clear();
        pair.restart_node();
        pair.restart_browser(HOME);
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.events, [], "nobody is told, for nothing has moved");
        // A question that was on its way when the browser began anew.
        assert!(pair.ignored.len() <= 1, "{:?}", pair.ignored);
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        assert!(pair.node.is_proven(address(HOME)));
        assert_eq!(pair.node.former_ufrag(), None);
        // Consent is asked for with the new password, or the browser would not answer, and this would be over.
        assert_eq!(pair.browser_events.last(), Some(&selected(NODE, true)));
    }

    #[test]
    fn a_restart_that_fails_on_the_new_address_keeps_the_old_one() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(20));
        pair.events.clear();
        pair.restart_node();
        let (ours, _) = restarted();
        let request = BindingRequest {
            transaction: TransactionId([9; 12]),
            receiver_ufrag: ours.ufrag().as_bytes(),
            sender_ufrag: b"them",
            priority: 1,
            role: Role::Controlling(1),
            use_candidate: true,
        };
        let mut bytes = [0; 200];
        let key = IntegrityKey::new(ours.password().as_bytes());
        let length = stun::write_binding_request(&mut bytes, &request, &key).unwrap();
        let message = Message::parse(&bytes[..length]).unwrap();
        let mut response = [0; stun::MAX_RESPONSE_LEN];
        // From where nobody answers our question, whoever knows the password.
        let now = pair.now;
        let from = address(CAFE);
        assert!(
            pair.node
                .on_request(now, &message, from, &mut response)
                .is_ok()
        );
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.events, [Event::Checked(from)]);
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        assert!(pair.sent_to(CAFE) > 0);
    }

    #[test]
    fn checks_may_come_before_the_remote_password() {
        let mut pair = Pair::unintroduced();
        pair.run(Duration::from_secs(3));
        assert_eq!(pair.events, [Event::Checked(address(HOME))]);
        assert!(!pair.node.is_proven(address(HOME)));
        assert_eq!(pair.node.selected(), None);
        pair.node.set_remote(pair.now, credentials().1);
        pair.run(3 * DELAY);
        assert_eq!(pair.node.selected(), Some(address(HOME)));
    }

    #[test]
    fn a_victim_gets_few_questions_and_never_media() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(2));
        let victim = "203.0.113.66:53";
        for _ in 0..3 {
            pair.check_from(victim, true).unwrap();
            pair.run(Duration::from_secs(1));
        }
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        assert!(!pair.node.is_proven(address(victim)));
        let questions = pair.sent_to(victim);
        assert!((1..=4).contains(&questions), "{questions}");
    }

    #[test]
    fn one_faked_check_costs_the_victim_two_questions() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(2));
        pair.check_from("203.0.113.66:53", false).unwrap();
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.sent_to("203.0.113.66:53"), 2);
    }

    #[test]
    fn an_answer_from_elsewhere_proves_nothing() {
        let (ours, theirs) = credentials();
        let mut pair = Pair::new();
        pair.check_from(HOME, true).unwrap();
        let Some(Output::Send { datagram, .. }) = (0..3).find_map(|_| {
            let output = pair.node.poll();
            output.filter(|o| matches!(o, Output::Send { .. }))
        }) else {
            panic!("no question");
        };
        let id = Message::parse(&datagram).unwrap().transaction_id();
        let mut bytes = [0; stun::MAX_RESPONSE_LEN];
        let mut answer = |from: &str, id, password: &str, pair: &mut Pair| {
            let key = IntegrityKey::new(password.as_bytes());
            let length = stun::write_binding_success(&mut bytes, id, address(NODE), &key).unwrap();
            let message = Message::parse(&bytes[..length]).unwrap();
            pair.node.on_response(pair.now, &message, address(from))
        };
        let good = theirs.password();
        let unknown = Err(Ignored::UnknownTransaction);
        assert_eq!(answer(CAFE, id, good, &mut pair), unknown);
        assert_eq!(
            answer(HOME, TransactionId([7; 12]), good, &mut pair),
            unknown
        );
        assert_eq!(
            answer(HOME, id, ours.password(), &mut pair),
            Err(Ignored::WrongIntegrity)
        );
        assert_eq!(pair.node.selected(), None);
        assert_eq!(answer(HOME, id, good, &mut pair), Ok(()));
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        assert_eq!(answer(HOME, id, good, &mut pair), unknown, "a repetition");
    }

    #[test]
    fn media_follows_the_browser_to_another_address() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(2));
        pair.at = address(CAFE);
        pair.run(Duration::from_secs(10));
        assert_eq!(pair.node.selected(), Some(address(CAFE)));
        assert_eq!(pair.events.last(), Some(&selected(CAFE, true)));
        // Back after the old proof has aged: it is asked again before media returns.
        pair.run(Duration::from_secs(30));
        pair.at = address(HOME);
        pair.run(Duration::from_secs(100));
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        let moves = pair
            .events
            .iter()
            .filter(|e| matches!(e, Event::Selected { .. }));
        assert_eq!(moves.count(), 3);
    }

    #[test]
    fn an_aged_proof_is_asked_for_again() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(2));
        pair.at = address(CAFE);
        pair.run(Duration::from_secs(30));
        assert_eq!(pair.node.selected(), Some(address(CAFE)));
        // Nobody is at the old address any more, yet someone nominates it.
        pair.check_from(HOME, true).unwrap();
        pair.collect();
        assert_eq!(pair.node.selected(), Some(address(CAFE)));
        assert!(!pair.node.is_proven(address(HOME)));
    }

    #[test]
    fn a_restart_of_the_browser_changes_the_password_for_questions() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(2));
        let (ours, theirs) = credentials();
        let fresh = Credentials::generate(&mut pair.rng);
        pair.node.set_remote(pair.now, theirs);
        assert_eq!(pair.node.poll(), None, "the same again is nothing new");
        pair.browser = Controlling::new(
            pair.now,
            fresh.clone(),
            ours,
            address(NODE),
            controlling::Config::default(),
            pair.rng.fork(),
        )
        .unwrap();
        pair.node.set_remote(pair.now, fresh);
        assert_eq!(pair.node.deadline(), Some(pair.now), "asks at once");
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.node.selected(), Some(address(HOME)));
        assert_eq!(pair.ignored, []);
    }

    #[test]
    fn a_peer_that_never_answers_is_believed_where_dtls_completed() {
        let mut pair = Pair::new();
        pair.answers = false;
        pair.run(Duration::from_millis(500));
        pair.check_from(CAFE, true).unwrap();
        pair.node.on_dtls_completed(address(HOME));
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.node.selected(), None, "it may still answer");
        pair.run(Duration::from_secs(20));
        assert_eq!(pair.events.last(), Some(&selected(HOME, false)));
        // Its checks are its consent.
        pair.run(Duration::from_secs(120));
        assert_eq!(pair.events.last(), Some(&selected(HOME, false)));
        pair.loss = 100;
        pair.run(Duration::from_secs(25));
        assert_eq!(pair.events.last(), Some(&selected(HOME, false)));
        pair.run(Duration::from_secs(10));
        assert_eq!(pair.events.last(), Some(&Event::ConsentLost));
    }

    #[test]
    fn a_late_answer_turns_belief_into_proof() {
        let mut pair = Pair::new();
        pair.answers = false;
        pair.node.on_dtls_completed(address(HOME));
        pair.run(Duration::from_secs(20));
        assert_eq!(pair.events.last(), Some(&selected(HOME, false)));
        pair.answers = true;
        pair.run(Duration::from_secs(30));
        assert_eq!(pair.events.last(), Some(&selected(HOME, true)));
    }

    #[test]
    fn dtls_alone_selects_nothing() {
        let mut pair = Pair::new();
        pair.loss = 100;
        pair.node.on_dtls_completed(address(HOME));
        pair.run(Duration::from_secs(29));
        assert_eq!(pair.node.selected(), None);
        pair.run(Duration::from_secs(2));
        assert_eq!(pair.events, [Event::Timeout]);
    }

    /// Valid checks from fifty ports of one host.
    fn flood(pair: &mut Pair) {
        for port in 1..=50 {
            pair.now += Duration::from_millis(5);
            pair.check_from(&format!("192.0.2.200:{port}"), false)
                .unwrap();
            pair.collect();
            assert!(pair.node.candidates.len() <= MAX_CANDIDATES);
        }
        assert!(pair.node.is_checked(address("192.0.2.200:50")));
        assert!(!pair.node.is_checked(address("192.0.2.200:1")));
    }

    #[test]
    fn a_full_table_keeps_proven_addresses() {
        let mut pair = Pair::new();
        pair.run(Duration::from_secs(2));
        pair.at = address(CAFE);
        pair.run(Duration::from_secs(10));
        flood(&mut pair);
        assert_eq!(pair.node.selected(), Some(address(CAFE)));
        assert!(pair.node.is_proven(address(HOME)) && pair.node.is_proven(address(CAFE)));
        let forgotten = pair
            .events
            .iter()
            .filter(|e| matches!(e, Event::Forgotten(_)));
        assert_eq!(forgotten.count(), 52 - MAX_CANDIDATES);
    }

    #[test]
    fn a_full_table_keeps_the_address_of_dtls() {
        let mut pair = Pair::new();
        pair.answers = false;
        pair.node.on_dtls_completed(address(HOME));
        pair.run(Duration::from_secs(20));
        assert_eq!(pair.events.last(), Some(&selected(HOME, false)));
        flood(&mut pair);
        assert!(pair.node.is_checked(address(HOME)));
    }

    /// Sends `bytes` as a request from the browser's address.
    fn raw(pair: &mut Pair, bytes: &[u8]) -> (Result<usize, Ignored>, Vec<u8>) {
        let mut response = [0; stun::MAX_RESPONSE_LEN];
        let message = Message::parse(bytes).unwrap();
        let from = address(HOME);
        let result = pair
            .node
            .on_request(pair.now, &message, from, &mut response);
        let length = *result.as_ref().unwrap_or(&0);
        (result, response[..length].to_vec())
    }

    #[test]
    fn a_controlled_peer_is_told_of_the_conflict() {
        let (ours, theirs) = credentials();
        let mut pair = Pair::new();
        let request = BindingRequest {
            transaction: TransactionId([1; 12]),
            receiver_ufrag: ours.ufrag().as_bytes(),
            sender_ufrag: theirs.ufrag().as_bytes(),
            priority: 1,
            role: Role::Controlled(u64::MAX),
            use_candidate: false,
        };
        let key = IntegrityKey::new(ours.password().as_bytes());
        let mut bytes = [0; 200];
        let length = stun::write_binding_request(&mut bytes, &request, &key).unwrap();
        let (result, response) = raw(&mut pair, &bytes[..length]);
        assert!(result.is_ok());
        let answer = Message::parse(&response).unwrap();
        assert_eq!(answer.error_code(), Some(487));
        assert!(answer.verify(&key));
        assert!(!pair.node.is_checked(address(HOME)));
    }

    #[test]
    fn an_answer_longer_than_its_question_is_not_given() {
        use aws_lc_rs::hmac;
        let (ours, _) = credentials();
        // USERNAME, an unknown attribute that must be understood, MESSAGE-INTEGRITY: 64 bytes. The 420 would have 68.
        let mut bytes = vec![0, 1, 0, 44, 0x21, 0x12, 0xA4, 0x42];
        bytes.extend([1; 12]);
        bytes.extend([0, 6, 0, 9]);
        bytes.extend(format!("{}:...", ours.ufrag()).bytes());
        bytes.extend([0x70, 0, 0, 0]);
        let password = ours.password().as_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
        let tag = hmac::sign(&key, &bytes);
        bytes.extend([0, 8, 0, 20]);
        bytes.extend(tag.as_ref());
        assert_eq!(bytes.len(), 64);
        let mut pair = Pair::new();
        assert_eq!(raw(&mut pair, &bytes).0, Err(Ignored::AnswerTooLong));
        assert!(!pair.node.is_checked(address(HOME)));
    }

    #[test]
    fn no_cut_or_flipped_check_is_believed() {
        let (ours, theirs) = credentials();
        let request = BindingRequest {
            transaction: TransactionId([1; 12]),
            receiver_ufrag: ours.ufrag().as_bytes(),
            sender_ufrag: theirs.ufrag().as_bytes(),
            priority: 1,
            role: Role::Controlling(1),
            use_candidate: true,
        };
        let key = IntegrityKey::new(ours.password().as_bytes());
        let mut bytes = [0; 200];
        let length = stun::write_binding_request(&mut bytes, &request, &key).unwrap();
        for bit in 0..length * 8 {
            let mut damaged = bytes[..length].to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // The type of FINGERPRINT, changed into another optional attribute, leaves an authentic check.
            let in_fingerprint_type = bit / 8 == length - 8 || bit / 8 == length - 7;
            if Message::parse(&damaged).is_ok() && !in_fingerprint_type {
                let mut pair = Pair::new();
                assert!(raw(&mut pair, &damaged).0.is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn our_own_ufrag_must_leave_room() {
        let long = Credentials::new(&"u".repeat(33), &"p".repeat(22)).unwrap();
        let made = Lite::new(Instant::ZERO, long, Config::default(), Rng::from_number(1));
        assert_eq!(made.err(), Some(BadCredentials::Ufrag));
    }

    proptest! {
        #[test]
        fn no_peer_breaks_the_rules(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            super::super::fuzz_ice(&data);
        }
    }
}
