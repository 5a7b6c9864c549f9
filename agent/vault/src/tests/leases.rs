//! The life of a token.

use super::*;

/// Keeps the token alive while the other work is done.
async fn beside<T>(vault: &Vault, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        () = vault.renewals() => panic!("it never ends"),
        done = work => done,
    }
}

const RENEW: &str = "auth/token/renew-self";
const LOGIN: &str = "auth/approle/login";

#[tokio::test]
async fn a_token_is_renewed_at_half_of_its_time_and_used_again() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.approle());
    beside(&vault, async {
        signed(&vault).await.unwrap();
        for round in 1..=3 {
            assert_eq!(rig.hand.awaited().await, rig.clock.now() + HOUR / 2, "round {round}");
            rig.pass(HOUR / 2);
            rig.vault
                .until("a renewal", |asked| {
                    asked.iter().filter(|asked| asked.place == RENEW).count() == round
                })
                .await
                .unwrap();
        }
        rig.hand.awaited().await;
        signed(&vault).await.unwrap();
    })
    .await;
    assert_eq!(rig.vault.count(LOGIN), 1);
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_while_the_token_lives() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.approle());
    beside(&vault, async {
        signed(&vault).await.unwrap();
        rig.hand.awaited().await;
        rig.vault.faults(|faults| faults.statuses = [503, 500, 429].into());
        rig.pass(HOUR / 2);
        for _ in 0..3 {
            let next = rig.hand.awaited().await;
            let wait = next.duration_since(rig.clock.now()).unwrap();
            assert!(wait <= Duration::from_secs(60), "{wait:?}");
            rig.pass(wait);
        }
        rig.vault
            .until("a renewal", |asked| {
                asked.iter().any(|asked| asked.place == RENEW && asked.status == 200)
            })
            .await
            .unwrap();
    })
    .await;
    assert_eq!((rig.vault.count(LOGIN), rig.vault.count(RENEW)), (1, 4));
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_followed_by_a_login_when_one_is_needed() {
    let rig = Rig::new().await;
    rig.rules(|rules| rules.renewable = false);
    let vault = rig.vault(rig.approle());
    signed(&vault).await.unwrap();
    rig.pass(HOUR / 2);
    signed(&vault).await.unwrap();
    assert_eq!(rig.vault.count(LOGIN), 1);

    rig.pass(HOUR);
    signed(&vault).await.unwrap();

    assert_eq!(rig.vault.count(LOGIN), 2);
    assert!(rig.vault.asked().iter().all(|asked| asked.status == 200), "nothing stale was shown");
}

#[tokio::test]
async fn a_token_at_the_end_of_all_renewals_is_followed_by_another_login() {
    let rig = Rig::new().await;
    rig.rules(|rules| rules.max_ttl = HOUR);
    let vault = rig.vault(rig.approle());
    beside(&vault, async {
        signed(&vault).await.unwrap();
        // Half, a quarter, an eighth: what it may live at most comes nearer.
        let end = rig.clock.now() + HOUR;
        while rig.clock.now() < end - Duration::from_secs(5) {
            let next = rig.hand.awaited().await;
            rig.pass(next.duration_since(rig.clock.now()).unwrap_or_default());
            let shown = rig.vault.count(RENEW);
            rig.vault
                .until("a renewal", |asked| {
                    asked.iter().filter(|asked| asked.place == RENEW).count() >= shown.max(1)
                })
                .await
                .unwrap();
        }
        rig.pass(HOUR);
        signed(&vault).await.unwrap();
    })
    .await;
    assert_eq!(rig.vault.count(LOGIN), 2);
}

#[tokio::test]
async fn a_token_that_was_revoked_is_followed_by_one_login_and_no_more() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.approle());
    signed(&vault).await.unwrap();
    rig.vault.revoke();

    signed(&vault).await.unwrap();

    assert_eq!((rig.vault.count(LOGIN), rig.vault.count("pki/sign/mesh")), (2, 3));
    // A policy that was taken away looks the same: one more login tells.
    rig.rules(|rules| rules.policy = false);
    let (said, settled) = refused(&vault).await;
    assert!(said.contains("path \"pki/sign/mesh\" { capabilities = [\"update\"] }"), "{said}");
    assert!(settled);
    assert_eq!((rig.vault.count(LOGIN), rig.vault.count("pki/sign/mesh")), (3, 5));
    refused(&vault).await;
    assert_eq!(rig.vault.count(LOGIN), 4, "one for each attempt");
}

#[tokio::test]
async fn a_lease_that_is_lost_at_a_renewal_is_followed_by_a_login_when_one_is_needed() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.approle());
    beside(&vault, async {
        signed(&vault).await.unwrap();
        rig.hand.awaited().await;
        rig.vault.revoke();
        rig.pass(HOUR / 2);
        rig.vault
            .until("a renewal", |asked| asked.iter().any(|asked| asked.place == RENEW))
            .await
            .unwrap();
        signed(&vault).await.unwrap();
    })
    .await;
    assert_eq!(rig.vault.count(LOGIN), 2);
}

#[tokio::test]
async fn a_clock_that_was_set_costs_a_login_and_nothing_else() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.approle());
    signed(&vault).await.unwrap();
    // Ahead: the token seems to be over.
    rig.pass(5 * HOUR);
    signed(&vault).await.unwrap();
    // Back: it seems to be good for long, and Vault says that it is not.
    rig.time.advance(3 * HOUR);
    signed(&vault).await.unwrap();
    assert_eq!(rig.vault.count(LOGIN), 3);
}

#[tokio::test]
async fn a_secret_id_for_one_login_is_enough_while_its_token_lives() {
    let rig = Rig::new().await;
    rig.rules(|rules| rules.secret_id_uses = Some(1));
    let vault = rig.vault(rig.approle());
    signed(&vault).await.unwrap();
    signed(&vault).await.unwrap();
    rig.vault.revoke();

    let (said, _) = refused(&vault).await;

    assert!(said.contains("the secret id has expired or is used up"), "{said}");
    rig.rules(|rules| rules.secret_id_uses = Some(1));
    signed(&vault).await.unwrap();
}
