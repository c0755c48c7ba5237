//! What an error of the socket layer means to a driver.

/// Why the kernel did not take a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The peer, or the way there, does not answer: soft, and possibly about an earlier packet.
    Unreachable,
    /// The path or the device does not segment.
    Segmentation,
    /// The socket's send queue has no room left.
    QueueFull,
    /// Policy, bad address: the packet is lost.
    Other,
}

impl Refusal {
    /// Sorts an error number.
    pub(crate) fn of(errno: i32, segmented: bool) -> Self {
        if is_unreachable(errno) {
            Self::Unreachable
        } else if segmented && matches!(errno, libc::EMSGSIZE | libc::EINVAL | libc::EIO) {
            Self::Segmentation
        } else if errno == libc::EAGAIN {
            Self::QueueFull
        } else {
            Self::Other
        }
    }
}

/// Whether ICMP says so, or the routing table: never a reason to stop.
pub(crate) fn is_unreachable(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH
    )
}

/// Whether receiving again can only fail again, because the request itself is wrong.
pub(crate) fn ends_receiving(errno: i32) -> bool {
    matches!(
        errno,
        libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK
    )
}
