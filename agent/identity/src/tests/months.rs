//! A machine that is left alone.

use std::time::Duration;

use hawser_pki::KeyKind;

use super::rig::*;

#[tokio::test]
async fn two_months_of_renewals_take_one_token() {
    let rig = Rig::new().await;
    let mut running = rig.start();
    running.identity().await;
    let end = rig.time.now() + 60 * DAY;

    rig.live_until(end, || {
        assert!(running.served().valid_at(rig.time.now()));
    })
    .await;

    running.well().await;
    let seen = rig.istiod.seen();
    assert_eq!(seen.csrs.len(), seen.issued().len());
    let tokens_alone = seen.csrs.iter().filter(|csr| csr.certificate.is_none()).count();
    assert_eq!(tokens_alone, 1);
    assert!((118..=121).contains(&seen.csrs.len()), "{} in 60 days", seen.csrs.len());
    let progress = running.progress.borrow().clone();
    assert_eq!((progress.asked, progress.failed), (seen.csrs.len() as u64, 0));
    let keys: std::collections::HashSet<_> =
        seen.csrs.iter().map(|csr| csr.request.clone().unwrap().public_key).collect();
    assert_eq!(keys.len(), seen.csrs.len());
}

#[tokio::test]
async fn a_machine_that_is_restarted_every_day_needs_no_other_token() {
    let rig = Rig::new().await;
    rig.start().identity().await;
    rig.no_token();
    for _ in 0..20 {
        let mut running = rig.start();
        running.identity().await;
        rig.live_until(rig.time.now() + 10 * HOUR, || {}).await;
        assert!(running.served().valid_at(rig.time.now()));
        drop(running);
        // Switched off for the night.
        rig.pass(8 * HOUR);
    }
    assert!(rig.istiod.seen().issued().len() > 10);
}

#[tokio::test]
async fn what_is_asked_for_is_what_the_settings_say() {
    use hawser_harness::istiod::Key;

    let table = [
        (KeyKind::EcdsaP256, Key::Ec(256)),
        (KeyKind::EcdsaP384, Key::Ec(384)),
        (KeyKind::Rsa2048, Key::Rsa(2048)),
    ];
    for (kind, expected) in table {
        let rig = Rig::new().await;
        let mut running = rig.start_as(Plan { key: kind, ttl: 3 * HOUR, ..Plan::default() });

        let identity = running.identity().await;

        assert_eq!(identity.key.kind(), Some(kind));
        let csr = rig.istiod.seen().csrs[0].clone();
        let request = csr.request.unwrap();
        assert_eq!((request.key, csr.validity), (expected, 3 * 3600));
        assert_eq!((request.names, request.critical), (vec![VM.to_owned()], true));
        assert_eq!(csr.metadata.unwrap().get("CertSigner").map(String::as_str), Some(""));
    }
}

#[tokio::test]
async fn a_life_that_the_authority_cuts_short_is_renewed_in_time() {
    let rig = Rig::new().await;
    rig.istiod.faults(|faults| faults.ttl_cap = Some(10 * MINUTE));
    let mut running = rig.start();
    running.identity().await;
    rig.no_token();

    rig.live_until(rig.time.now() + 5 * HOUR, || {
        assert!(running.served().valid_at(rig.time.now()));
    })
    .await;

    let issued = rig.istiod.seen().issued().len();
    assert!((55..70).contains(&issued), "{issued} in five hours");
}

#[tokio::test]
async fn by_the_clock_of_the_system_it_renews_as_well() {
    let rig = Rig::in_real_time().await;
    let mut running = rig.start_as(Plan { ttl: Duration::from_secs(2), ..Plan::default() });
    let first = running.identity().await;
    rig.no_token();

    let second = running.renewed(&first).await;
    running.renewed(&second).await;

    assert!(rig.istiod.seen().csrs[1..].iter().all(|csr| csr.certificate.is_some()));
}
