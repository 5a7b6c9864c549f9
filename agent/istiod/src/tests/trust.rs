//! Whom istiod is believed by.

use std::{fs, sync::Arc};

use hawser_pki::Bundle;

use super::{Answer, Asks, Clock, Credentials, Error, Istiod, Mesh, NAME, Server, Setup, watch};

struct Rotation {
    setup: Setup,
    server: Server,
    new: Arc<Bundle>,
}

impl Rotation {
    /// istiod is certified by a root that the file does not have.
    async fn new() -> Self {
        let (setup, mesh) = (Setup::new(), Mesh::new());
        let server = Server::start(mesh.server(NAME), Asks::Nothing, Answer::Settings).await;
        let new = Arc::new(Bundle::from_pem(&mesh.root_pem()).unwrap());
        Self { setup, server, new }
    }

    async fn outcome(&self, believe: bool, learned: Option<Arc<Bundle>>) -> Result<(), Error> {
        let mut options = self.setup.options(&[self.server.address]);
        options.learned = believe;
        let learned = watch::channel(learned).1;
        let istiod = Istiod::new(options, Credentials::none(), learned, Clock::default()).unwrap();
        istiod.connect().await.map(drop)
    }
}

#[tokio::test]
async fn learned_roots_are_believed_beside_those_of_the_file() {
    let rotation = Rotation::new().await;
    let old = Arc::new(Bundle::from_pem(&rotation.setup.mesh.root_pem()).unwrap());

    let error = rotation.outcome(true, None).await.unwrap_err();
    assert!(matches!(error, Error::UnknownIssuer { .. }), "{error:?}");
    let error = rotation.outcome(true, Some(old)).await.unwrap_err().to_string();
    assert!(error.contains("root-cert.pem or the roots that came with certificates"), "{error}");

    rotation.outcome(true, Some(rotation.new.clone())).await.unwrap();
}

#[tokio::test]
async fn learned_roots_are_not_believed_where_the_operator_has_named_his() {
    let rotation = Rotation::new().await;
    let error = rotation.outcome(false, Some(rotation.new.clone())).await.unwrap_err();
    assert!(matches!(error, Error::UnknownIssuer { .. }), "{error:?}");
}

#[tokio::test]
async fn with_learned_roots_the_file_may_be_missing_or_damaged() {
    let rotation = Rotation::new().await;
    for body in ["", "garbage"] {
        rotation.setup.write("root-cert.pem", body);
        rotation.outcome(true, Some(rotation.new.clone())).await.unwrap();
    }
    fs::remove_file(rotation.setup.path("root-cert.pem")).unwrap();
    rotation.outcome(true, Some(rotation.new.clone())).await.unwrap();

    let error = rotation.outcome(true, None).await.unwrap_err();
    assert!(matches!(error, Error::ReadRoots { .. }), "{error:?}");
    let error = rotation.outcome(false, Some(rotation.new.clone())).await.unwrap_err();
    assert!(matches!(error, Error::ReadRoots { .. }), "{error:?}");
}
