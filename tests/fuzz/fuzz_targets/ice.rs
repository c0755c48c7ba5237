#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::ice::fuzz_ice(data));
