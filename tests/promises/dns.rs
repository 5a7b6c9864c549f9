//! Names outside the mesh resolve from the first moment: before any name table, and without
//! istiod.

mod explain;
mod peer;
mod resolved;

use std::net::IpAddr;

use anyhow::{Result, ensure};
use hawser_harness::{
    dig::{Dig, Transport},
    istiod::Reach,
    mesh::{OUTSIDE, OUTSIDE_IP},
    wait::wait_for,
};
use hickory_proto::{op::ResponseCode, rr::RecordType};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_resolve_before_there_is_anything_of_the_mesh() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let agent = rig.vm.spawn(&[], &[])?;
    let dns = wait_for("the DNS address", async || rig.dns().await).await?;

    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = Dig::a(OUTSIDE).by(transport).ask(dns).await?;
        assert_eq!(answer.addresses(), [IpAddr::from(OUTSIDE_IP)]);
    }

    ensure!(!agent.notified().ready, "ready without an identity");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_mesh_resolve_and_do_not_leave_the_machine() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    let dns = rig.dns().await?;
    let host = rig.mesh.service.host();

    for transport in [Transport::Udp, Transport::Tcp] {
        for name in [host.as_str(), "hello.demo", "hello.demo.svc"] {
            let answer = Dig::a(name).by(transport).ask(dns).await?;
            assert_eq!(answer.addresses(), [rig.mesh.service.vip.ip()], "{name}");
        }
        let answer = Dig::a(&host).kind(RecordType::AAAA).by(transport).ask(dns).await?;
        assert_eq!((answer.code(), answer.addresses().len()), (ResponseCode::NoError, 0));
    }

    let leaked = rig.mesh.outside.heard();
    ensure!(leaked.is_empty(), "asked outside: {leaked:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_is_answered_from_and_an_unknown_name_is_not_ours() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    let dns = rig.dns().await?;
    let unknown = Dig::a("new.demo.svc.cluster.local").ask(dns).await?;
    assert_eq!(unknown.code(), ResponseCode::NXDomain);

    rig.mesh.istiod.world().change(|state| {
        let mut info = rig.mesh.service.name_info();
        info.shortname = "new".into();
        state.names(&hawser_proto::istio::nds::NameTable {
            table: [("new.demo.svc.cluster.local".to_owned(), info)].into(),
        });
    });

    wait_for("the new name", async || {
        let answer = Dig::a("new.demo.svc.cluster.local").ask(dns).await?;
        ensure!(answer.addresses() == [rig.mesh.service.vip.ip()], "{answer:?}");
        Ok(())
    })
    .await
}
