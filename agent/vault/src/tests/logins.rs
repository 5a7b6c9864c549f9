//! Who a machine is to Vault.

use super::*;

#[tokio::test]
async fn every_login_leads_to_a_signature() {
    let rig = Rig::new().await;
    let logins = [
        (rig.token(), "auth/token/lookup-self"),
        (rig.approle(), "auth/approle/login"),
        (rig.jwt("jwt"), "auth/jwt/login"),
        (rig.jwt("kubernetes"), "auth/kubernetes/login"),
    ];
    for (login, place) in logins {
        let name = login.name();
        let answer = signed(&rig.vault(login)).await.unwrap();

        assert_eq!(rig.vault.count(place), 1, "{place}");
        assert_eq!(answer.login, name);
        // Leaf, what signed it, and the root.
        assert_eq!(answer.chain.len(), 3, "{place}");
        assert_eq!(answer.chain[2], rig.mesh.root_pem(), "{place}");
    }
}

#[tokio::test]
async fn a_namespace_is_named_with_every_request() {
    let rig = Rig::new().await;
    rig.rules(|rules| rules.namespace = "team/one".to_owned());
    let options = Options { namespace: "team/one".to_owned(), ..rig.options(rig.approle()) };

    signed(&Vault::new(options, rig.clock.clone())).await.unwrap();

    let asked = rig.vault.asked();
    assert!(asked.iter().all(|asked| asked.namespace.as_deref() == Some("team/one")), "{asked:?}");
    let (said, settled) = refused(&rig.vault(rig.token())).await;
    assert!(said.contains("namespace not found; check identity.vault.login_mount"), "{said}");
    assert!(settled);
}

#[tokio::test]
async fn a_secret_that_is_no_good_is_told_with_where_it_is_made() {
    let rig = Rig::new().await;
    for name in ["token", "secret-id", "jwt"] {
        rig.write(name, "of-yesterday");
    }
    let table = [
        (rig.token(), "write another into the file (`vault token create`)"),
        (rig.approle(), "invalid role or secret ID; the secret id has expired or is used up"),
        (rig.jwt("jwt"), "the token in identity.vault.jwt has expired"),
        (rig.jwt("nowhere"), "identity.vault.login_mount"),
    ];
    for (login, expected) in table {
        let (said, settled) = refused(&rig.vault(login)).await;

        assert!(said.contains(expected), "{said}");
        assert!(settled && !said.contains("of-yesterday"), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_empty_or_no_secret_is_named() {
    let rig = Rig::new().await;
    let cases = [("", "no one-line secret"), ("two words", "no one-line secret")];
    for (text, expected) in cases {
        rig.write("secret-id", text);
        let (said, settled) = refused(&rig.vault(rig.approle())).await;
        assert!(said.contains(expected) && said.contains("secret-id") && settled, "{said}");
    }
    rig.write("secret-id", &"x".repeat(70_000));
    assert!(refused(&rig.vault(rig.approle())).await.0.contains("larger than"));
    std::fs::remove_file(rig.at("secret-id")).unwrap();
    let (said, settled) = refused(&rig.vault(rig.approle())).await;
    assert!(said.contains("secret-id, which Vault is to be shown: No such file"), "{said}");
    assert!(settled);
    assert_eq!(rig.vault.asked().len(), 0, "nothing is sent that is no secret");
}

#[tokio::test]
async fn a_change_of_a_file_is_told_and_another_token_in_it_is_used_at_once() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.token());
    signed(&vault).await.unwrap();
    // Whoever waits sees the file as it is; what was before that is no change.
    let another = rig.vault.token();
    let changed = async {
        tokio::join!(vault.changed(), async { rig.write("token", &another) });
    };
    tokio::time::timeout(hawser_harness::wait::PATIENCE, changed).await.unwrap();

    signed(&vault).await.unwrap();

    let asked = rig.vault.asked();
    let shown = asked.last().unwrap().token.as_deref();
    assert_eq!(shown, Some(another.as_str()));
}

#[tokio::test]
async fn no_secret_is_printed() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.approle());
    signed(&vault).await.unwrap();
    rig.vault.faults(|faults| faults.bodies.push_back("{\"data\": \"s.token2\"}".to_owned()));
    let garbled = signed(&vault).await.unwrap_err();
    rig.vault.revoke();
    rig.rules(|rules| rules.policy = false);
    let denied = signed(&vault).await.unwrap_err();

    for text in [format!("{vault:?}"), format!("{garbled:?}"), format!("{denied:?}")] {
        for secret in [ROLE_ID, SECRET_ID, JWT, "s.token"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
