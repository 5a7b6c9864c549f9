//! Vault as the source of certificates: where it is, who we are to it, and the role that signs.

use std::path::PathBuf;

use hawser_vault::{Login, Options};

use crate::config::{Reader, parse, paths::Paths, problem::Problem, source::Sources};

impl Reader<'_> {
    /// None where something is missing, which is told.
    pub(super) fn vault(&mut self, paths: &Paths, sources: &Sources) -> Option<Options> {
        let address = self.needed("identity.vault.address", |text| text.parse().ok());
        let ca = self.optional("identity.vault.ca", parse::file);
        let namespace = self.optional("identity.vault.namespace", parse::place);
        let mount = self.required("identity.vault.mount", parse::place);
        let role = self.needed("identity.vault.role", parse::name);
        let login = self.vault_login(paths, sources, role.as_deref());
        let patience = self.required("identity.vault.timeout", parse::some_time);
        Some(Options {
            address: address?,
            ca: ca?,
            namespace: namespace?.unwrap_or_default(),
            mount: mount?,
            role: role?,
            login: login?,
            patience: patience?,
        })
    }

    fn vault_login(
        &mut self,
        paths: &Paths,
        sources: &Sources,
        role: Option<&str>,
    ) -> Option<Login> {
        let method = self.required("identity.vault.login", |text| match text {
            "token" | "approle" | "jwt" | "kubernetes" => Some(text.to_owned()),
            _ => None,
        });
        let mount = self.optional("identity.vault.login_mount", parse::place);
        let login_role = self.optional("identity.vault.login_role", parse::name);
        let [token, role_id, secret_id, jwt] = ["token", "role-id", "secret-id", "jwt"]
            .map(|name| self.secret_of_vault(name, paths, sources));
        let (method, login_role) = (method?, login_role?);
        let mount = mount?.unwrap_or_else(|| method.clone());
        Some(match method.as_str() {
            "token" => Login::Token { file: token? },
            "approle" => Login::AppRole { mount, role_id: role_id?, secret_id: secret_id? },
            _ => Login::Jwt { mount, role: login_role.or(role.map(str::to_owned))?, jwt: jwt? },
        })
    }

    /// What is said, else what systemd hands over, else the usual place.
    fn secret_of_vault(&mut self, name: &str, paths: &Paths, sources: &Sources) -> Option<PathBuf> {
        let key = format!("identity.vault.{}", name.replace('-', "_"));
        let said = self.optional(&key, parse::file)?;
        let credential = || {
            let dir = sources.credentials.as_ref()?;
            Some(dir.join(format!("vault.{name}"))).filter(|file| file.is_file())
        };
        Some(said.or_else(credential).unwrap_or_else(|| paths.at("etc/hawser/vault").join(name)))
    }

    /// A setting that has to be said where certificates come from Vault.
    fn needed<T>(&mut self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.optional(key, parse)?;
        if value.is_none() {
            let expected = "not set; certificates come from Vault (identity.source = vault)";
            self.problems.push(Problem::with(key, expected));
        }
        value
    }
}
