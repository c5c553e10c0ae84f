#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netatop_fuzz::call("container_files", bytes));
