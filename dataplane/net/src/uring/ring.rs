//! The ring itself: set up with what the kernel has, entered once per turn.

use core::mem::ManuallyDrop;
use core::time::Duration;
use std::io;
use std::os::fd::RawFd;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{
    CompletionQueue, EnterFlags, IoUring, Probe, SubmissionQueue, Submitter, cqueue, opcode, squeue,
};

/// A ring, split once and for all: the registered descriptor is remembered by the submitter, which therefore has to stay.
pub(super) struct Ring {
    submitter: Submitter<'static>,
    queue: ManuallyDrop<SubmissionQueue<'static>>,
    completions: ManuallyDrop<CompletionQueue<'static>>,
    /// What the three above borrow from. Made by `Box::into_raw`, freed by `drop`, after which they are not touched.
    whole: *mut IoUring,
    /// Whether it belongs to a thread yet.
    enabled: bool,
    no_array: bool,
    /// How many more requests the kernel takes before it says EAGAIN; tests run it out of memory so.
    #[cfg(test)]
    pub(super) taken_at_most: Option<u32>,
}

// SAFETY: the ring and its queues are mappings of the process. It is built disabled, and the kernel lets only the thread that
// enabled it submit to it.
unsafe impl Send for Ring {}

impl Ring {
    /// Sets up a ring, disabled, for a thread to be named later.
    pub(super) fn build(entries: u32, completions: u32) -> io::Result<Self> {
        let (ring, no_array) = match builder(completions).setup_no_sqarray().build(entries) {
            Ok(ring) => (ring, true),
            // Before Linux 6.6.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                (builder(completions).build(entries)?, false)
            }
            Err(error) => return Err(error),
        };
        check(&ring)?;
        let whole = Box::into_raw(Box::new(ring));
        // SAFETY: the pointer is fresh from a box and nobody else has it. The borrow is called static, which is true until
        // `drop`; there the queues are not dropped (they would write to their mapping), and the submitter has no destructor.
        let (submitter, queue, completions) = unsafe { &mut *whole }.split();
        Ok(Self {
            submitter,
            queue: ManuallyDrop::new(queue),
            completions: ManuallyDrop::new(completions),
            whole,
            enabled: false,
            no_array,
            #[cfg(test)]
            taken_at_most: None,
        })
    }

    /// Makes the calling thread the only one that may use the ring. Does nothing the second time.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.submitter.register_enable_rings()?;
            self.enabled = true;
            // Saves a look-up per call; a process may have sixteen of these, so not having one is no error.
            let _ = self.submitter.register_ring_fd();
        }
        Ok(())
    }

    pub(super) fn register_files(&self, files: &[RawFd]) -> io::Result<()> {
        self.submitter.register_files(files)
    }

    /// Puts another descriptor, or none (-1), into a place of the table of files.
    pub(super) fn replace_file(&self, place: u32, file: RawFd) -> io::Result<()> {
        self.submitter
            .register_files_update(place, &[file])
            .map(|_| ())
    }

    /// Registers a ring of provided buffers.
    ///
    /// # Safety
    /// `address` must begin a page-aligned, zeroed array of so many entries that outlives the ring.
    pub(super) unsafe fn register_buffers(
        &self,
        address: u64,
        entries: u16,
        group: u16,
    ) -> io::Result<()> {
        // SAFETY: handed on to the caller.
        unsafe {
            self.submitter
                .register_buf_ring_with_flags(address, entries, group, 0)
        }
    }

    /// Queues a request; `false` if the queue is full.
    ///
    /// # Safety
    /// Everything the request points at must stay as it is until its last completion.
    pub(super) unsafe fn push(&mut self, request: &squeue::Entry) -> bool {
        // SAFETY: handed on to the caller.
        unsafe { self.queue.push(request) }.is_ok()
    }

    /// Requests that the kernel has not taken yet.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many more requests can be queued.
    pub(super) fn room(&self) -> usize {
        self.queue.capacity() - self.queue.len()
    }

    /// Submits what is queued and runs what the kernel has deferred; waits for `completions` of them, at most for `limit`.
    pub(super) fn enter(&mut self, completions: usize, limit: Option<Duration>) -> io::Result<()> {
        self.queue.sync();
        #[cfg(test)]
        if let Some(left) = self.taken_at_most {
            return self.enter_partly(left);
        }
        let entered = if completions == 0 {
            // SAFETY: no argument is passed. Without GETEVENTS deferred work would not run.
            unsafe {
                self.submitter.enter::<libc::sigset_t>(
                    self.queue.len() as u32,
                    0,
                    EnterFlags::GETEVENTS.bits(),
                    None,
                )
            }
        } else {
            let limit = limit.map(|limit| {
                Timespec::new()
                    .sec(limit.as_secs())
                    .nsec(limit.subsec_nanos())
            });
            let arguments = match &limit {
                Some(limit) => SubmitArgs::new().timespec(limit),
                None => SubmitArgs::new(),
            };
            self.submitter.submit_with_args(completions, &arguments)
        };
        self.queue.sync();
        self.completions.sync();
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Over time, interrupted, or something must be drained first: the caller drains and comes again.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    #[cfg(test)]
    fn enter_partly(&mut self, left: u32) -> io::Result<()> {
        let most = left.min(self.queue.len() as u32);
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: no argument is passed.
        let taken = unsafe { self.submitter.enter::<libc::sigset_t>(most, 0, flags, None) }?;
        self.taken_at_most = Some(left - taken as u32);
        self.queue.sync();
        self.completions.sync();
        Ok(())
    }

    /// The next completion, if there is one.
    pub(super) fn next(&mut self) -> Option<cqueue::Entry> {
        self.completions.next()
    }

    /// Tells the kernel that the completions taken so far make room for others.
    pub(super) fn taken(&mut self) {
        self.completions.sync();
    }

    /// Whether completions wait in the kernel because the queue was full.
    pub(super) fn overflowed(&self) -> bool {
        self.queue.cq_overflow()
    }

    /// Ends every request. Afterwards the kernel writes nowhere any more; `false` if that could not be had.
    pub(super) fn cancel_all(&mut self) -> bool {
        if !self.enabled {
            // Nothing was ever submitted.
            return true;
        }
        // What the kernel had no memory for must not begin after all the rest has ended.
        let submitted = self.enter(0, None).is_ok() && self.queued() == 0;
        let limit = Timespec::new().sec(1);
        let cancelled = self
            .submitter
            .register_sync_cancel(Some(limit), CancelBuilder::any());
        let nothing_to_cancel = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
        let done = match cancelled {
            Ok(()) => true,
            Err(error) => nothing_to_cancel(&error),
        };
        submitted && done && self.enter(0, None).is_ok()
    }

    /// What of the kernel is used, in words.
    pub(super) fn features(&self) -> String {
        let mut features = "single_issuer defer_taskrun multishot provided_buffers".to_owned();
        if self.no_array {
            features.push_str(" no_sqarray");
        }
        features
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = self.submitter.unregister_ring_fd();
        // SAFETY: the pointer came from `Box::into_raw` and is freed once; what borrows from it is not used or dropped later.
        drop(unsafe { Box::from_raw(self.whole) });
    }
}

impl core::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Ring({})", self.features())
    }
}

fn builder(completions: u32) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .setup_r_disabled()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(completions)
        .dontfork();
    builder
}

/// Whether the kernel has everything that comes without a flag.
fn check(ring: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let codes = [
        opcode::RecvMsgMulti::CODE,
        opcode::SendMsg::CODE,
        opcode::Send::CODE,
        opcode::Read::CODE,
    ];
    let complete = codes.into_iter().all(|code| probe.is_supported(code));
    let parameters = ring.params();
    let silent = parameters.is_feature_skip_cqe_on_success();
    if complete && silent && parameters.is_feature_ext_arg() && parameters.is_feature_nodrop() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}
