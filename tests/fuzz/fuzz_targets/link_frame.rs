#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| link::frame::fuzz(data));
