//! Why io_uring is refused, in words an operator can act on.

use std::fs;
use std::io;

const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// The likely cause of a failed set-up.
pub(crate) fn explain(error: &io::Error) -> String {
    let switch = fs::read_to_string(SWITCH).unwrap_or_default();
    let cause = match error.raw_os_error() {
        Some(libc::EPERM) => match switch.trim() {
            "1" | "2" => format!(
                "the sysctl kernel.io_uring_disabled is {}, which switches it off for this process",
                switch.trim()
            ),
            _ => "a seccomp filter denies it, as the default policy of containers does".to_owned(),
        },
        Some(libc::EACCES) => "a security module of the kernel denies it".to_owned(),
        Some(libc::ENOSYS) => {
            "the kernel is built without it, or a seccomp filter pretends so".to_owned()
        }
        Some(libc::EINVAL) => "the kernel is older than Linux 6.1".to_owned(),
        Some(libc::ENOMEM) => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
            match limit {
                Some(bytes) => {
                    format!("RLIMIT_MEMLOCK of {bytes} bytes is too small for its rings")
                }
                None => "there is no memory for its rings".to_owned(),
            }
        }
        Some(libc::EMFILE | libc::ENFILE) => "there is no file descriptor left".to_owned(),
        _ => "for an unknown cause".to_owned(),
    };
    format!("{cause} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_its_cause() {
        let explain = |errno| explain(&io::Error::from_raw_os_error(errno));
        assert!(explain(libc::ENOSYS).contains("built without"));
        assert!(explain(libc::EINVAL).contains("6.1"));
        assert!(explain(libc::EPERM).contains("denies") || explain(libc::EPERM).contains("sysctl"));
        assert!(
            explain(libc::ENOMEM).contains("memory") || explain(libc::ENOMEM).contains("MEMLOCK")
        );
    }
}
