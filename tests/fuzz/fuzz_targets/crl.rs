//! Revocation lists of any content: as text, and as what PEM wraps.

#![no_main]

use hawser_fuzz::pem;
use hawser_pki::Crl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        lists(text);
    }
    // Mutations of base64 hardly ever reach the decoder behind it.
    lists(&pem("X509 CRL", bytes));
});

/// What is good once is good again in the form that it was brought into.
fn lists(text: &str) {
    let Ok(crl) = Crl::from_pem(text) else { return };
    let again = Crl::from_pem(crl.pem()).expect("lists");
    assert_eq!(again, crl);
}
