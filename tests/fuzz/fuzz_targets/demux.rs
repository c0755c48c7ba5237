#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proto::demux::fuzz_demux(data));
