//! Lists as people put them together, and lists that are none.

use super::*;
use crate::ca::Ca;

#[test]
fn every_list_is_kept_and_nothing_around_them() {
    let root = Ca::root("root");
    let (one, two) =
        (root.crl(&[]).replace("\r\n", "\n"), root.crl(&[1, 2, 3]).replace("\r\n", "\n"));
    let text = format!("# ours\n{}\n{one}# theirs\r\n{}", root.pem, two.replace('\n', "\r\n"));

    let crl = Crl::from_pem(&text).unwrap();

    assert_eq!(crl.pem(), format!("{one}{two}"));
    assert_eq!(Crl::from_pem(crl.pem()).unwrap(), crl);
}

#[test]
fn what_is_no_list_spoils_the_others() {
    let root = Ca::root("root");
    let good = root.crl(&[7]);
    let block = |der: &[u8]| {
        let mut text = String::new();
        pem::encode(pem::CRL, der, &mut text);
        text
    };
    let der = x509_parser::pem::parse_x509_pem(good.as_bytes()).unwrap().1.contents;
    let long = [&der[..], b"x"].concat();
    let cases = [
        (String::new(), "no revocation list found"),
        (root.pem.clone(), "no revocation list found"),
        (format!("{good}-----BEGIN X509 CRL-----\nAAAA"), "list 2 is not PEM"),
        (format!("-----BEGIN X509 CRL-----\n%\n-----END X509 CRL-----\n{good}"), "list 1 is not"),
        (format!("{good}{}", block(b"hello")), "list 2 is not an X.509 CRL"),
        (block(&long), "list 1 is not an X.509 CRL"),
        (block(&der[..der.len() - 1]), "list 1 is not an X.509 CRL"),
        (root.pem.replace("CERTIFICATE", "X509 CRL"), "list 1 is not an X.509 CRL"),
        ("x".repeat((4 << 20) + 1), "at most 4194304 are taken"),
    ];
    for (text, expected) in cases {
        let error = Crl::from_pem(&text).unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
    }
}
