//! Which names are ours, by a table.

use super::*;

fn pair(chain: &str, key: &str) -> Name {
    Name::File(File::Pair { chain: chain.into(), key: key.into() })
}

#[test]
fn names_that_are_ours_are_read_and_written_the_same() {
    let cases = [
        ("default", Name::Default),
        ("ROOTCA", Name::Rootca),
        ("file-root:system", Name::File(File::System)),
        ("file-root:/etc/ssl/root.pem", Name::File(File::Roots("/etc/ssl/root.pem".into()))),
        ("file-root:/with space: and\nline", {
            Name::File(File::Roots("/with space: and\nline".into()))
        }),
        ("file-cert:/a/chain.pem~/a/key.pem", pair("/a/chain.pem", "/a/key.pem")),
        ("file-cert:/a~/a", pair("/a", "/a")),
        ("file-root:/../a//b/.", Name::File(File::Roots("/../a//b/.".into()))),
    ];
    for (text, name) in cases {
        assert_eq!(Name::parse(text), Ok(name.clone()), "{text:?}");
        assert_eq!(name.to_string(), text);
    }
}

#[test]
fn names_that_are_not_ours_are_refused_with_the_reason() {
    let long = "x".repeat(LONGEST_PATH);
    let cases = [
        ("", Foreign::Unknown),
        ("Default", Foreign::Unknown),
        ("default ", Foreign::Unknown),
        ("default-cacert", Foreign::Unknown),
        ("rootca", Foreign::Unknown),
        ("kubernetes://web", Foreign::Unknown),
        ("builtin://", Foreign::Unknown),
        ("sds://web", Foreign::Unknown),
        ("file-cert", Foreign::Unknown),
        ("File-Root:/a", Foreign::Unknown),
        ("file-cert:", Foreign::NotTwo),
        ("file-cert:/a", Foreign::NotTwo),
        ("file-cert:/a~/b~/c", Foreign::NotTwo),
        ("file-cert:/a~/b~", Foreign::NotTwo),
        ("file-cert:~", Foreign::Relative),
        ("file-cert:/a~", Foreign::Relative),
        ("file-cert:a~/b", Foreign::Relative),
        ("file-cert:/a~./b", Foreign::Relative),
        ("file-root:", Foreign::Relative),
        ("file-root:System", Foreign::Relative),
        ("file-root: /a", Foreign::Relative),
        ("file-root:/a~", Foreign::NotOne),
        ("file-root:/a~/b", Foreign::NotOne),
        ("file-root:/a\0b", Foreign::Nul),
        (&format!("file-root:/{long}"), Foreign::Long),
        (&format!("file-cert:/a~/{long}"), Foreign::Long),
    ];
    for (text, reason) in cases {
        assert_eq!(Name::parse(text), Err(reason), "{text:?}");
    }
}
