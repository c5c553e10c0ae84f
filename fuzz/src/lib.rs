//! What the fuzz targets share.

use std::sync::OnceLock;

/// Calls the parser of this name.
pub fn call(name: &str, bytes: &[u8]) {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let mut targets = netatop::fuzzing::targets().into_iter();
        targets
            .find(|(known, _)| *known == name)
            .expect("a parser of this name")
            .1
    });
    target(bytes);
}
