//! A resource name of any content: it is one of ours in its whole length, or it yields nothing.

#![no_main]

use hawser_sds::{File, Name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(name) = Name::parse(text) else { return };
    assert_eq!(name.to_string(), text, "written as it was read");
    match &name {
        Name::Default => assert_eq!(text, "default"),
        Name::Rootca => assert_eq!(text, "ROOTCA"),
        Name::File(File::System) => assert_eq!(text, "file-root:system"),
        Name::File(File::Roots(path)) => {
            assert!(path.is_absolute());
            assert!(!text.contains('~'));
        }
        Name::File(File::Pair { chain, key }) => {
            assert!(chain.is_absolute() && key.is_absolute());
            assert_eq!(text.matches('~').count(), 1);
        }
    }
    assert!(!text.contains('\0'));
});
