#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::srtp::fuzz::fuzz_unprotect(data));
