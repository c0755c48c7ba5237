//! Bounded queues between two threads: one writes, the other reads, nobody locks and nobody waits.
//!
//! A full queue gives the message back. What is an order is kept and tried again ([`Outbox`]); what is news stays where it
//! came from until there is room. Both are counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

/// Makes a queue of at most `capacity` messages.
pub fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let overflows = Arc::new(AtomicU64::new(0));
    let sender = Sender {
        ring: producer,
        overflows,
    };
    (sender, Receiver { ring: consumer })
}

/// The writing end.
pub struct Sender<T> {
    ring: Producer<T>,
    overflows: Arc<AtomicU64>,
}

/// The reading end.
pub struct Receiver<T> {
    ring: Consumer<T>,
}

impl<T> Sender<T> {
    /// Writes a message, or gives it back if the queue is full.
    ///
    /// # Errors
    ///
    /// The message.
    pub fn push(&mut self, message: T) -> Result<(), T> {
        self.ring.push(message).map_err(|PushError::Full(message)| {
            // One writer, so that a plain addition would do; others only read.
            self.overflows.fetch_add(1, Ordering::Relaxed);
            message
        })
    }

    /// How many messages fit.
    pub fn capacity(&self) -> usize {
        self.ring.buffer().capacity()
    }

    /// Whether a message would be given back.
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// Counts a message that waits elsewhere because the queue is full.
    pub fn count_overflow(&self) {
        self.overflows.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the queue was full, for another thread to read.
    pub fn overflows(&self) -> Arc<AtomicU64> {
        self.overflows.clone()
    }
}

impl<T> Receiver<T> {
    /// The oldest message.
    pub fn pop(&mut self) -> Option<T> {
        self.ring.pop().ok()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// A sender that loses nothing: what does not fit waits here, in order.
pub struct Outbox<T> {
    sender: Sender<T>,
    waiting: VecDeque<T>,
}

impl<T> Outbox<T> {
    /// Nothing waits.
    pub fn new(sender: Sender<T>) -> Self {
        Self {
            sender,
            waiting: VecDeque::new(),
        }
    }

    /// Takes a message on its way.
    pub fn post(&mut self, message: T) {
        self.waiting.push_back(message);
    }

    /// Sends what fits. Answers whether anything was sent.
    pub fn flush(&mut self) -> bool {
        let mut sent = false;
        while let Some(message) = self.waiting.pop_front() {
            if let Err(message) = self.sender.push(message) {
                self.waiting.push_front(message);
                break;
            }
            sent = true;
        }
        sent
    }

    /// How many messages wait for room.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_back_and_counts() {
        let (mut sender, mut receiver) = mailbox(2);
        let overflows = sender.overflows();
        assert_eq!(
            (sender.push(1), sender.push(2), sender.push(3)),
            (Ok(()), Ok(()), Err(3))
        );
        assert!(sender.is_full());
        assert_eq!(overflows.load(Ordering::Relaxed), 1);
        assert_eq!(
            (receiver.pop(), receiver.pop(), receiver.pop()),
            (Some(1), Some(2), None)
        );
        assert!(receiver.is_empty());
    }

    #[test]
    fn an_outbox_loses_nothing_and_keeps_the_order() {
        let (sender, mut receiver) = mailbox(4);
        let mut outbox = Outbox::new(sender);
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            while read.len() < 1000 {
                match receiver.pop() {
                    Some(number) => read.push(number),
                    None => std::thread::yield_now(),
                }
            }
            read
        });
        (0..1000).for_each(|number| outbox.post(number));
        while outbox.waiting() > 0 {
            outbox.flush();
            std::thread::yield_now();
        }
        assert_eq!(reader.join().expect("read"), (0..1000).collect::<Vec<_>>());
    }
}
