#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    proto::dtls::fuzz_dtls(std::time::Instant::now(), data);
});
