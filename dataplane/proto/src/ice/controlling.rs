//! A minimal controlling agent (RFC 8445 §8.1) for load generators and simulated browsers: one remote candidate, which
//! it nominates with every check.

use std::collections::VecDeque;
use std::net::SocketAddr;

use clock::{Duration, Instant, Rng};

use super::{
    BadCredentials, Credentials, Datagram, Event, Ignored, MAX_OWN_UFRAG, Output,
    PEER_REFLEXIVE_PRIORITY, Pending, authenticate_request, authenticate_response, later,
    randomized, smooth,
};
use crate::stun::{self, BindingRequest, Class, IntegrityKey, Message, Role};

/// The pause between checks doubles up to this until the first answer.
const LONGEST_PAUSE: Duration = Duration::from_millis(1_600);
/// Outputs that wait to be polled; one input makes at most two.
const MAX_QUEUED: usize = 16;

/// Times of a controlling agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Without an answer for this long from the start, the agent gives up.
    pub connect_timeout: Duration,
    /// Pause after the first check; it doubles.
    pub check_pause: Duration,
    /// Once answered, checks are repeated this often, ± 20 %.
    pub consent_interval: Duration,
    /// And again after this long, as long as no answer has come.
    pub consent_retry: Duration,
    /// Consent ends this long after the last answer (RFC 7675 §5.1).
    pub consent_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            check_pause: Duration::from_millis(100),
            consent_interval: Duration::from_millis(2_500),
            consent_retry: Duration::from_secs(1),
            consent_timeout: Duration::from_secs(30),
        }
    }
}

/// The checking and nominating side of one transport.
#[derive(Debug)]
pub struct Controlling {
    config: Config,
    rng: Rng,
    local: Credentials,
    local_key: IntegrityKey,
    remote: Credentials,
    remote_key: IntegrityKey,
    remote_address: SocketAddr,
    tie_breaker: u64,
    pending: Pending,
    tries: u32,
    next_at: Instant,
    /// When to give up.
    until: Instant,
    connected: bool,
    rtt: Option<Duration>,
    queue: VecDeque<Output>,
    ended: bool,
}

impl Controlling {
    /// An agent whose first check is due at once.
    ///
    /// # Errors
    /// [`BadCredentials::Ufrag`] if our own ufrag has more than 32 characters.
    pub fn new(
        now: Instant,
        local: Credentials,
        remote: Credentials,
        remote_address: SocketAddr,
        config: Config,
        mut rng: Rng,
    ) -> Result<Self, BadCredentials> {
        if local.ufrag().len() > MAX_OWN_UFRAG {
            return Err(BadCredentials::Ufrag);
        }
        Ok(Self {
            config,
            local_key: IntegrityKey::new(local.password().as_bytes()),
            local,
            remote_key: IntegrityKey::new(remote.password().as_bytes()),
            remote,
            remote_address,
            tie_breaker: rng.next_u64(),
            rng,
            pending: Pending::default(),
            tries: 0,
            next_at: now,
            until: later(now, config.connect_timeout),
            connected: false,
            rtt: None,
            queue: VecDeque::new(),
            ended: false,
        })
    }

    /// Takes any STUN message. `Ok(length)`: the first `length` bytes of `response` are to be sent back to `from`, if
    /// any.
    ///
    /// # Errors
    /// [`Ignored`] says why the message did nothing.
    pub fn on_message(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        from: SocketAddr,
        response: &mut [u8],
    ) -> Result<usize, Ignored> {
        if self.ended {
            return Err(Ignored::Ended);
        }
        match message.class() {
            Class::Request => self.answer(message, from, response),
            Class::Indication => Err(Ignored::NotBinding),
            Class::SuccessResponse | Class::ErrorResponse => {
                self.on_response(now, message, from).map(|()| 0)
            }
        }
    }

    /// The next thing to do; to be drained after every input.
    pub fn poll(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    /// When [`on_timeout`](Self::on_timeout) is due; `None` once ended.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.ended).then(|| self.next_at.min(self.until))
    }

    /// Sends the check that is due, or gives up.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if now >= self.until {
            self.ended = true;
            let event = if self.connected {
                Event::ConsentLost
            } else {
                Event::Timeout
            };
            self.push(Output::Event(event));
        } else if now >= self.next_at {
            self.send_check(now);
        }
    }

    /// Whether a check was answered.
    pub fn is_connected(&self) -> bool {
        self.connected && !self.ended
    }

    /// Smoothed round trip of our checks.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn answer(
        &self,
        message: &Message<'_>,
        from: SocketAddr,
        response: &mut [u8],
    ) -> Result<usize, Ignored> {
        authenticate_request(message, self.local.ufrag(), &self.local_key)?;
        let (id, key) = (message.transaction_id(), &self.local_key);
        let written = if message.ice_controlling().is_some() {
            stun::write_binding_error(response, id, 487, &[], key)
        } else {
            stun::write_binding_success(response, id, from, key)
        };
        written.map_err(|_| Ignored::AnswerTooLong)
    }

    fn on_response(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        from: SocketAddr,
    ) -> Result<(), Ignored> {
        if from != self.remote_address {
            return Err(Ignored::UnknownTransaction);
        }
        let sent_at = authenticate_response(message, &self.pending, &self.remote_key)?;
        self.pending.clear();
        self.rtt = Some(smooth(self.rtt, now.saturating_since(sent_at)));
        let interval = randomized(self.config.consent_interval, &mut self.rng);
        self.next_at = later(sent_at, interval);
        self.until = later(now, self.config.consent_timeout);
        if !self.connected {
            self.connected = true;
            self.push(Output::Event(Event::Selected {
                address: from,
                proven: true,
            }));
        }
        Ok(())
    }

    fn send_check(&mut self, now: Instant) {
        let pause = if self.connected {
            self.config.consent_retry
        } else {
            let factor = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
            self.tries = self.tries.saturating_add(1);
            let pause = self.config.check_pause.saturating_mul(factor);
            pause.min(LONGEST_PAUSE)
        };
        self.next_at = later(now, pause);
        let request = BindingRequest {
            transaction: self.pending.begin(now, &mut self.rng),
            receiver_ufrag: self.remote.ufrag().as_bytes(),
            sender_ufrag: self.local.ufrag().as_bytes(),
            priority: PEER_REFLEXIVE_PRIORITY,
            role: Role::Controlling(self.tie_breaker),
            use_candidate: true,
        };
        let to = self.remote_address;
        if let Some(datagram) = Datagram::check(&request, &self.remote_key) {
            self.push(Output::Send { to, datagram });
        }
    }

    fn push(&mut self, output: Output) {
        if self.queue.len() >= MAX_QUEUED {
            self.queue.pop_front();
        }
        self.queue.push_back(output);
    }
}
