//! What Vault says, or does not, instead of signing.

use super::*;

#[tokio::test]
async fn what_vault_says_is_told_with_what_to_do() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.approle());
    signed(&vault).await.unwrap();

    rig.vault.faults(|faults| faults.sealed = true);
    let (said, settled) = refused(&vault).await;
    assert!(said.contains("is sealed") && said.contains("`vault operator unseal`"), "{said}");
    assert!(!settled, "somebody will unseal it");
    rig.vault.faults(|faults| faults.sealed = false);

    for (status, expected) in [(429, "too much to do"), (500, "trouble of its own"), (502, "502")] {
        rig.vault.faults(|faults| faults.statuses = [status].into());
        let (said, settled) = refused(&vault).await;
        assert!(said.contains(expected) && !settled, "{said}");
    }
    rig.rules(|rules| rules.allowed = "spiffe://elsewhere/".to_owned());
    let (said, settled) = refused(&vault).await;
    assert!(said.contains("`vault patch pki/roles/mesh allowed_uri_sans="), "{said}");
    assert!(settled);
    // All of it with the first token: nothing of it was the login's fault.
    assert_eq!(rig.vault.count("auth/approle/login"), 1);
}

#[tokio::test]
async fn a_role_or_an_engine_that_is_not_there_is_named() {
    let rig = Rig::new().await;
    let options = rig.options(rig.approle());
    let role = Options { role: "other".to_owned(), ..options.clone() };
    let (said, settled) = refused(&Vault::new(role, rig.clock.clone())).await;
    assert!(said.contains("unknown role: other; there is no such role"), "{said}");
    assert!(said.contains("`vault list pki/roles`") && settled, "{said}");

    let mount = Options { mount: "nopki".to_owned(), ..options };
    let (said, settled) = refused(&Vault::new(mount, rig.clock.clone())).await;
    assert!(said.contains("has nothing at nopki/sign/mesh"), "{said}");
    assert!(said.contains("identity.vault.mount") && settled, "{said}");
}

#[tokio::test]
async fn one_that_is_silent_is_given_up() {
    let rig = Rig::new().await;
    rig.vault.faults(|faults| faults.silent = true);
    let options = Options { patience: Duration::from_millis(300), ..rig.options(rig.approle()) };

    let (said, settled) = refused(&Vault::new(options, rig.clock.clone())).await;

    assert!(said.contains("does not answer within"), "{said}");
    assert!(!settled);
}

#[tokio::test]
async fn one_that_is_away_or_somebody_else_is_named() {
    let mut rig = Rig::new().await;
    let other = TestCa::at(Shape::SelfSigned, &rig.time).unwrap();
    rig.write("ca.pem", &other.root_pem());
    let (said, _) = refused(&rig.vault(rig.approle())).await;
    assert!(said.contains("identity.vault.ca names its roots"), "{said}");
    assert_eq!(rig.vault.asked().len(), 0, "nothing was shown to a stranger");

    rig.write("ca.pem", "nothing");
    let (said, _) = refused(&rig.vault(rig.approle())).await;
    assert!(
        said.contains("ca.pem; see identity.vault.ca: there is no certificate in it"),
        "{said}"
    );

    rig.vault.down().await;
    let (said, settled) = refused(&rig.vault(rig.token())).await;
    assert!(said.contains("cannot connect to https://127.0.0.1:"), "{said}");
    assert!(!settled);
}

#[tokio::test]
async fn a_standby_sends_to_the_active_one() {
    let rig = Rig::new().await;
    let own = TestCa::at(Shape::SelfSigned, &rig.time).unwrap();
    let standby = FakeVault::start(&rig.mesh, &own).await.unwrap();
    standby.faults(|faults| faults.standby_of = Some(rig.vault.address()));
    rig.write("both.pem", &(own.root_pem() + &std::fs::read_to_string(rig.at("ca.pem")).unwrap()));
    let options = Options {
        address: standby.address().parse().unwrap(),
        ca: Some(rig.at("both.pem")),
        ..rig.options(rig.approle())
    };
    let vault = Vault::new(options, rig.clock.clone());

    signed(&vault).await.unwrap();

    assert_eq!(rig.vault.count("pki/sign/mesh"), 1);
    let table = [
        (rig.vault.address().replace("https", "http"), "in clear text"),
        ("nonsense".to_owned(), "no address"),
        (standby.address(), "again and again"),
    ];
    for (to, expected) in table {
        standby.faults(|faults| faults.standby_of = Some(to));
        let (said, _) = refused(&vault).await;
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn an_answer_that_means_nothing_is_told_without_its_text() {
    let rig = Rig::new().await;
    let vault = rig.vault(rig.token());
    signed(&vault).await.unwrap();
    let long = format!("{{\"data\": \"{}\"}}", "x".repeat(300_000));
    let table = [
        ("", "no JSON of the expected kind"),
        ("{\"data\": {\"certificate\": \"s3cret\", \"ca_chain\": \"s3cret\"}}", "no JSON"),
        ("{}", "no JSON of the expected kind"),
        (long.as_str(), "more than 262144 bytes"),
    ];
    for (body, expected) in table {
        rig.vault.faults(|faults| faults.bodies.push_back(body.to_owned()));
        let (said, settled) = refused(&vault).await;
        assert!(said.contains(expected) && !said.contains("s3cret") && !settled, "{said}");
    }
}
