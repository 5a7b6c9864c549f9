//! One machine and a double of Vault, by a clock that tests move.

mod leases;
mod logins;
mod pure;
mod troubles;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use hawser_harness::{
    ca::{Shape, TestCa, spiffe_id},
    time::Time,
    vault::{FakeVault, JWT, MOUNT, ROLE, ROLE_ID, Rules, SECRET_ID},
};
use hawser_rt::{Chain, Clock, Hand};
use tempfile::TempDir;

use crate::{Error, Login, Options, Signed, Vault};

const HOUR: Duration = Duration::from_secs(3600);

/// A double, and what a machine needs to log in to it.
struct Rig {
    vault: FakeVault,
    mesh: TestCa,
    time: Time,
    hand: Hand,
    clock: Clock,
    dir: TempDir,
}

impl Rig {
    async fn new() -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400);
        let (clock, hand) = Clock::manual(start);
        let time = Time::standing(start);
        let mesh = TestCa::at(Shape::Intermediate, &time).unwrap();
        let own = TestCa::at(Shape::SelfSigned, &time).unwrap();
        let vault = FakeVault::start(&mesh, &own).await.unwrap();
        let rig = Self { vault, mesh, time, hand, clock, dir: tempfile::tempdir().unwrap() };
        for (name, text) in [
            ("ca.pem", own.root_pem().as_str()),
            ("role-id", ROLE_ID),
            ("secret-id", SECRET_ID),
            ("jwt", JWT),
        ] {
            rig.write(name, text);
        }
        rig.write("token", &rig.vault.token());
        rig
    }

    fn write(&self, name: &str, text: &str) {
        hawser_state::write_file(&self.at(name), 0o600, format!("{text}\n").as_bytes()).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self, login: Login) -> Options {
        Options {
            address: self.vault.address().parse().unwrap(),
            ca: Some(self.at("ca.pem")),
            namespace: String::new(),
            mount: MOUNT.to_owned(),
            role: ROLE.to_owned(),
            login,
            patience: Duration::from_secs(20),
        }
    }

    fn approle(&self) -> Login {
        let (role_id, secret_id) = (self.at("role-id"), self.at("secret-id"));
        Login::AppRole { mount: "approle".to_owned(), role_id, secret_id }
    }

    fn jwt(&self, mount: &str) -> Login {
        Login::Jwt { mount: mount.to_owned(), role: ROLE.to_owned(), jwt: self.at("jwt") }
    }

    fn token(&self) -> Login {
        Login::Token { file: self.at("token") }
    }

    fn vault(&self, login: Login) -> Vault {
        Vault::new(self.options(login), self.clock.clone())
    }

    fn rules(&self, edit: impl FnOnce(&mut Rules)) {
        self.vault.rules(edit);
    }

    fn pass(&self, by: Duration) {
        self.time.advance(by);
        self.hand.advance(by);
    }
}

/// A request as a machine makes it.
fn csr() -> String {
    let mut wanted = rcgen::CertificateParams::default();
    let id = spiffe_id("ns", "vm").try_into().unwrap();
    wanted.subject_alt_names = vec![rcgen::SanType::URI(id)];
    let key = rcgen::KeyPair::generate().unwrap();
    wanted.serialize_request(&key).unwrap().pem().unwrap()
}

async fn signed(vault: &Vault) -> Result<Signed, Error> {
    vault.sign(&csr(), &spiffe_id("ns", "vm"), HOUR).await
}

async fn refused(vault: &Vault) -> (String, bool) {
    let error = signed(vault).await.unwrap_err();
    (Chain(&error).to_string(), error.is_settled())
}
