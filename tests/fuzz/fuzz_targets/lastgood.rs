//! A log of the last-good store of any content.

#![no_main]

use std::{fs, io::Write, path::PathBuf, sync::LazyLock};

use hawser_lastgood::look;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let book = SHELF.join("0123456789abcdef");
    fs::create_dir_all(&book).expect("a directory of our own");
    let mut file = fs::File::create(book.join("cluster.log")).expect("a file of our own");
    file.write_all(bytes).expect("room for it");
    drop(file);

    for node in look::nodes(&SHELF).expect("the shelf is there") {
        for kept in &node.types {
            for version in &kept.versions {
                let Ok(resources) = kept.resources(version.number) else { continue };
                for resource in resources {
                    if let Ok(value) = resource.value(1 << 20) {
                        assert_eq!(resource.digest, hawser_lastgood::digest(&value));
                    }
                }
            }
        }
    }
});

static SHELF: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("hawser-fuzz-lastgood-{}", std::process::id()))
});
