//! Roots that expire.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

fn root(last_year: i32) -> Bundle {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 12, 31);
    let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Bundle::from_pem(&root.pem()).unwrap()
}

/// The middle of 2030.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_909_000_000)
}

async fn believed(file: &Bundle, learned: Option<&Bundle>) -> Result<usize, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root-cert.pem");
    hawser_state::write_file(&path, 0o644, file.pem().as_bytes()).unwrap();
    let believed = Roots::File(path).load(learned, now()).await?;
    Ok(believed.store().len())
}

#[tokio::test]
async fn roots_that_have_expired_are_left_out() {
    let (good, expired) = (root(2040), root(2025));
    let both = expired.merge(&good).unwrap();
    for (file, learned, expected) in [
        (&good, None, 1),
        (&both, None, 1),
        (&expired, Some(&good), 1),
        (&good, Some(&expired), 1),
        (&both, Some(&root(2035)), 2),
    ] {
        assert_eq!(believed(file, learned).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn when_all_have_expired_the_file_and_the_remedy_are_named() {
    for learned in [None, Some(&root(2024))] {
        let error = believed(&root(2025), learned).await.unwrap_err();
        assert!(matches!(error, Error::RootsExpired { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("root-cert.pem") && text.contains("present root-cert.pem there"));
    }
}
