//! Istio's variables and our settings, each as a whole machine says them.

use std::{fs, path::Path};

use hawser_identity::{Hand, Speaks};

use super::*;
use crate::config::{
    Config,
    problem::Problems,
    source::{self, Environment},
};

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        hawser_state::write_file(&path, 0o600, b"").unwrap();
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Problems> {
        let said = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Environment = variables.iter().map(said).collect();
        let paths = Paths::under(self.0.path());
        Config::load(&paths, &source::read(&paths, &environment, &[]))
    }

    fn identity(&self, variables: &[(&str, &str)]) -> Identity {
        self.load(variables).unwrap().identity
    }

    fn problem(&self, variables: &[(&str, &str)]) -> String {
        self.load(variables).unwrap_err().0[0].to_string()
    }
}

#[test]
fn keys_are_made_as_our_setting_or_istios_three_say() {
    let machine = Machine::new();
    let table: [(&[(&str, &str)], KeyKind); 7] = [
        (&[], KeyKind::EcdsaP256),
        (&[("ECC_SIGNATURE_ALGORITHM", "ECDSA")], KeyKind::EcdsaP256),
        (&[("ECC_SIGNATURE_ALGORITHM", "ECDSA"), ("ECC_CURVE", "P384")], KeyKind::EcdsaP384),
        (&[("WORKLOAD_RSA_KEY_SIZE", "2048")], KeyKind::Rsa2048),
        (&[("WORKLOAD_RSA_KEY_SIZE", "4096")], KeyKind::Rsa4096),
        (
            &[("WORKLOAD_RSA_KEY_SIZE", "4096"), ("ECC_SIGNATURE_ALGORITHM", "ECDSA")],
            KeyKind::EcdsaP256,
        ),
        (
            &[("WORKLOAD_RSA_KEY_SIZE", "4096"), ("HAWSER_IDENTITY_KEY", "rsa-3072")],
            KeyKind::Rsa3072,
        ),
    ];
    for (variables, kind) in table {
        assert_eq!(machine.identity(variables).key, kind, "{variables:?}");
    }
    assert!(machine.problem(&[("WORKLOAD_RSA_KEY_SIZE", "1024")]).contains("expected 2048, 3072"));
    assert!(machine.problem(&[("ECC_SIGNATURE_ALGORITHM", "DSA")]).contains("expected ECDSA"));
}

#[test]
fn keys_are_handed_out_in_the_form_that_istio_hands_them_out() {
    let machine = Machine::new();
    assert_eq!(machine.identity(&[]).form, KeyForm::Traditional);
    assert_eq!(machine.identity(&[("PKCS8_KEY", "true")]).form, KeyForm::Pkcs8);
}

#[test]
fn the_source_is_what_somebody_says_or_what_is_there() {
    let machine = Machine::new();
    let files = |source: Source| match source {
        Source::Files(files) => files.key,
        other => panic!("{other:?}"),
    };
    let socket = |source: Source| match source {
        Source::Provider { socket, .. } => socket,
        other => panic!("{other:?}"),
    };
    assert!(matches!(machine.identity(&[]).source, Source::Auto { .. }));
    let istiod = [("HAWSER_IDENTITY_SOURCE", "istiod"), ("FILE_MOUNTED_CERTS", "true")];
    assert!(matches!(machine.identity(&istiod).source, Source::Authority));

    let mounted = machine.identity(&[("FILE_MOUNTED_CERTS", "true")]).source;
    assert_eq!(files(mounted), machine.at("etc/certs/key.pem"));
    let gke = machine.identity(&[("CA_PROVIDER", "GkeWorkloadCertificate")]).source;
    let gke_key = "var/run/secrets/workload-spiffe-credentials/private_key.pem";
    assert_eq!(files(gke), machine.at(gke_key));
    let own = [("HAWSER_IDENTITY_SOURCE", "files"), ("HAWSER_IDENTITY_FILES", "/srv/pki")];
    assert_eq!(files(machine.identity(&own).source), Path::new("/srv/pki/key.pem"));

    let named = machine.identity(&[("WORKLOAD_IDENTITY_SOCKET_FILE", "spire.sock")]).source;
    assert_eq!(socket(named), machine.at("var/run/secrets/workload-spiffe-uds/spire.sock"));
    let path = machine.problem(&[("WORKLOAD_IDENTITY_SOCKET_FILE", "/run/spire.sock")]);
    assert!(path.contains("without a directory"), "{path}");
    let google = machine.problem(&[("CA_PROVIDER", "GoogleCA")]);
    assert!(google.contains("expected Citadel"), "{google}");

    for name in ["key.pem", "cert-chain.pem", "root-cert.pem"] {
        machine.put(&format!("var/run/secrets/workload-spiffe-credentials/{name}"));
    }
    let found = "var/run/secrets/workload-spiffe-credentials/key.pem";
    assert_eq!(files(machine.identity(&[]).source), machine.at(found));
}

#[test]
fn files_of_an_acme_client_want_the_roots_of_the_mesh_said() {
    let machine = Machine::new();
    for name in ["privkey.pem", "fullchain.pem", "chain.pem", "cert.pem"] {
        machine.put(&format!("live/{name}"));
    }
    let live = machine.at("live").display().to_string();
    let said = ("HAWSER_IDENTITY_FILES", live.as_str());
    let problem = machine.problem(&[said]);
    assert!(
        problem.contains("identity.roots: has to be said: the file with the roots"),
        "{problem}"
    );

    let roots = ("HAWSER_IDENTITY_ROOTS", "/etc/hawser/roots.pem");
    let Source::Files(files) = machine.identity(&[said, roots]).source else { panic!() };
    assert_eq!(files.key, machine.at("live/privkey.pem"));
    assert_eq!(files.chain, machine.at("live/fullchain.pem"));
    assert_eq!(
        (files.roots.as_path(), files.hand),
        (Path::new("/etc/hawser/roots.pem"), Hand::Other)
    );

    let [key, chain] = ["KEY", "CHAIN"].map(|name| format!("HAWSER_IDENTITY_{name}_FILE"));
    let pair = [(key.as_str(), "/srv/vm.key"), (chain.as_str(), "/srv/vm.crt"), roots];
    let Source::Files(files) = machine.identity(&pair).source else { panic!() };
    assert_eq!((files.key.as_path(), files.hand), (Path::new("/srv/vm.key"), Hand::Other));
    let half = machine.problem(&[pair[0], roots]);
    assert!(half.contains("have to be said together"), "{half}");
}

#[test]
fn a_program_is_the_source_once_it_is_said() {
    let machine = Machine::new();
    let command = ("HAWSER_IDENTITY_COMMAND", "/usr/bin/issue --for vm");
    let Source::Command(printed) = machine.identity(&[command]).source else { panic!() };
    assert_eq!(printed.command.to_string(), command.1);
    let none = machine.problem(&[("HAWSER_IDENTITY_SOURCE", "exec")]);
    assert!(none.contains("identity.command: has to be said"), "{none}");
    let istiod = [command, ("HAWSER_IDENTITY_SOURCE", "istiod")];
    assert!(matches!(machine.identity(&istiod).source, Source::Authority));
}

#[test]
fn a_socket_is_said_as_a_path_or_as_spiffe_has_it() {
    let machine = Machine::new();
    for said in ["/run/agent.sock", "unix:///run/agent.sock", "unix:/run/agent.sock"] {
        let said = [("SPIFFE_ENDPOINT_SOCKET", said), ("HAWSER_IDENTITY_SPIFFE_API", "workload")];
        let Source::Auto { socket, speaks } = machine.identity(&said).source else { panic!() };
        assert_eq!((socket.as_path(), speaks), (Path::new("/run/agent.sock"), Speaks::Workload));
    }
    let tcp = machine.problem(&[("SPIFFE_ENDPOINT_SOCKET", "tcp://127.0.0.1:8000")]);
    assert!(tcp.contains("expected an absolute path, with unix://"), "{tcp}");
}

#[test]
fn without_istiod_what_is_said_or_there_is_taken_and_istiod_is_never_asked() {
    const ALONE: (&str, &str) = ("HAWSER_SERVICES_USE", "alone");
    let machine = Machine::new();
    let source = |said: &[(&str, &str)]| {
        let identity = machine.identity(&[&[ALONE], said].concat());
        assert!(identity.tokens.is_empty() && identity.provisioned.is_none());
        identity.source
    };
    let none = machine.problem(&[ALONE]);
    for way in ["/etc/certs", "identity.files", "identity.command", "identity.vault.address"] {
        assert!(none.contains(way), "{way} is not named: {none}");
    }
    assert!(none.contains("there is no certificate") && none.contains("identity.spiffe_socket"));
    let istiod = machine.problem(&[ALONE, ("HAWSER_IDENTITY_SOURCE", "istiod")]);
    assert!(istiod.contains("there is no istiod to ask (services.use is alone)"), "{istiod}");

    let vault = ("HAWSER_IDENTITY_VAULT_ADDRESS", "https://vault.example:8200");
    let role = ("HAWSER_IDENTITY_VAULT_ROLE", "vm");
    assert!(matches!(source(&[vault, role]), Source::Vault { .. }));
    assert!(matches!(source(&[("HAWSER_IDENTITY_COMMAND", "/bin/issue")]), Source::Command(_)));
    let socket = ("HAWSER_IDENTITY_SPIFFE_SOCKET", "/run/agent.sock");
    assert!(matches!(source(&[socket]), Source::Provider { .. }));
    let later = source(&[("HAWSER_IDENTITY_SOURCE", "files")]);
    assert!(matches!(later, Source::Files(files) if files.key == machine.at("etc/certs/key.pem")));

    machine.put("run/spire/agent/public/api.sock");
    let there = source(&[]);
    let spire = machine.at("run/spire/agent/public/api.sock");
    assert!(matches!(there, Source::Provider { socket, .. } if socket == spire));
    for name in ["key.pem", "cert-chain.pem", "root-cert.pem"] {
        machine.put(&format!("etc/certs/{name}"));
    }
    let files = |source: Source| matches!(source, Source::Files(files) if files.hand == Hand::Same);
    assert!(files(source(&[])));
    assert!(matches!(source(&[socket]), Source::Provider { .. }), "what is said comes first");
}

#[test]
fn tokens_are_asked_for_in_order() {
    let machine = Machine::new();
    let said = |variables: &[(&str, &str)]| {
        let tokens = machine.identity(variables).tokens;
        tokens.iter().map(|token| format!("{token:?}")).collect::<Vec<_>>()
    };
    assert_eq!(said(&[]).len(), 1);
    let all = said(&[
        ("CREDENTIAL_FETCHER_TYPE", "GoogleComputeEngine"),
        ("HAWSER_ISTIOD_TOKEN_COMMAND", "/usr/bin/vault-token --role web"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/hawser.service"),
        ("TRUST_DOMAIN", "td.example"),
    ]);
    let kinds = ["File", "Gce", "Command", "SystemdCredential"];
    assert_eq!(all.len(), kinds.len());
    assert!(all.iter().zip(kinds).all(|(token, kind)| token.starts_with(kind)), "{all:?}");
    assert!(all[1].contains("td.example") && all[1].contains("169.254.169.254:80"), "{all:?}");
    let mock = machine.problem(&[("CREDENTIAL_FETCHER_TYPE", "Mock")]);
    assert!(mock.contains("expected JWT or GoogleComputeEngine"), "{mock}");
}

#[test]
fn places_are_istios_unless_said_and_none_is_none() {
    let machine = Machine::new();
    let usual = machine.identity(&[]);
    assert_eq!(usual.provisioned, Some(machine.at("etc/certs")));
    assert_eq!(usual.crl, Some(machine.at("var/run/secrets/istio/crl/ca-crl.pem")));
    assert_eq!(machine.identity(&[("PILOT_ENABLE_CA_CRL", "false")]).crl, None);
    let script = machine.identity(&[("PROV_CERT", "./etc/certs")]).provisioned;
    assert_eq!(script, Some(machine.at("etc/certs")));
    assert_eq!(machine.identity(&[("PROV_CERT", "none")]).provisioned, None);
    assert_eq!(machine.identity(&[("PROV_CERT", "/srv")]).provisioned, Some("/srv".into()));
    assert!(machine.problem(&[("PROV_CERT", "certs")]).contains("expected an absolute path"));

    let export = |variables: &[(&str, &str)]| machine.load(variables).unwrap().export;
    assert_eq!(export(&[]).map(|export| export.directory), None);
    let script = export(&[("OUTPUT_CERTS", "./etc/certs"), ("HAWSER_EXPORT_GROUP", "root")]);
    let script = script.unwrap();
    assert_eq!((script.directory, script.group), (machine.at("etc/certs"), Some(0)));
    assert_eq!((script.key_mode, script.mode), (0o600, 0o644));
}

#[test]
fn without_a_signer_for_istiod_the_roots_have_to_be_said() {
    let machine = Machine::new();
    let problem = machine.problem(&[("PILOT_CERT_PROVIDER", "none")]);
    assert!(problem.contains("istiod.root_cert: has to be said"), "{problem}");
    let said = [
        ("PILOT_CERT_PROVIDER", "none"),
        ("XDS_ROOT_CA", "SYSTEM"),
        ("CA_ROOT_CA", "/srv/root.pem"),
    ];
    let config = machine.load(&said).unwrap();
    assert!(!config.istiod.roots.learned && !config.ca.roots.learned);
}

#[test]
fn vault_is_the_source_once_its_address_is_said_and_all_that_it_lacks_is_told_at_once() {
    let machine = Machine::new();
    let address = ("HAWSER_IDENTITY_VAULT_ADDRESS", "https://vault.example");
    let role = ("HAWSER_IDENTITY_VAULT_ROLE", "mesh");
    let vault = |variables: &[(&str, &str)]| match machine.identity(variables).source {
        Source::Vault { role, roots } => (*role, roots),
        other => panic!("{other:?}"),
    };

    let (found, roots) = vault(&[address, role]);

    assert_eq!((found.address.to_string().as_str(), roots), ("https://vault.example:8200", None));
    assert_eq!(found.place(), "pki/sign/mesh");
    assert_eq!(found.login.files(), [machine.at("etc/hawser/vault/token")]);
    let logins = [("approle", 2, "auth/approle"), ("jwt", 1, "auth/jwt")];
    for (login, files, place) in logins {
        let (found, _) = vault(&[address, role, ("HAWSER_IDENTITY_VAULT_LOGIN", login)]);
        assert_eq!(found.login.files().len(), files, "{login}");
        assert!(found.login.name().contains(place), "{login}: {}", found.login.name());
    }
    let kubernetes = [
        address,
        role,
        ("HAWSER_IDENTITY_VAULT_LOGIN", "kubernetes"),
        ("HAWSER_IDENTITY_VAULT_LOGIN_MOUNT", "/east/one/"),
        ("HAWSER_IDENTITY_VAULT_LOGIN_ROLE", "vm"),
        ("HAWSER_IDENTITY_VAULT_JWT", "/run/jwt"),
        ("HAWSER_IDENTITY_VAULT_NAMESPACE", "team/one/"),
        ("HAWSER_IDENTITY_ROOTS", "/etc/roots.pem"),
    ];
    let (found, roots) = vault(&kubernetes);
    assert_eq!(found.login.name(), "the login as vm at auth/east/one");
    assert_eq!(found.login.files(), [Path::new("/run/jwt")]);
    assert_eq!((found.namespace.as_str(), roots), ("team/one", Some("/etc/roots.pem".into())));

    let problems = machine.load(&[
        ("HAWSER_IDENTITY_SOURCE", "vault"),
        ("HAWSER_IDENTITY_VAULT_MOUNT", "pki/../sys"),
        ("HAWSER_IDENTITY_VAULT_LOGIN", "password"),
    ]);
    let problems = problems.unwrap_err().to_string();
    for expected in [
        "identity.vault.address: not set; certificates come from Vault",
        "identity.vault.role: not set; certificates come from Vault",
        "identity.vault.mount = \"pki/../sys\"",
        "identity.vault.login = \"password\"",
        "expected token, approle, jwt or kubernetes",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
    let clear = ("HAWSER_IDENTITY_VAULT_ADDRESS", "http://vault.example:8200");
    assert!(machine.problem(&[clear, role]).contains("or http:// with an address of this machine"));
}
