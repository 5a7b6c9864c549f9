//! The resolver outside, and the client that asks it.

use std::net::IpAddr;

use hawser_harness::dig::{Dig, Transport};
use hawser_harness::resolver::{Manner, Resolver};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::time::timeout;

#[tokio::test]
async fn it_answers_what_it_knows_over_udp_and_tcp() {
    let resolver = Resolver::start().await.unwrap();
    let ip: IpAddr = "192.0.2.1".parse().unwrap();
    resolver.address("Known.example.org", ip);
    for transport in [Transport::Udp, Transport::Tcp] {
        let known = Dig::a("known.EXAMPLE.org").by(transport).ask(resolver.addr()).await.unwrap();
        assert_eq!((known.code(), known.addresses()), (ResponseCode::NoError, vec![ip]));
        let other = Dig::a("known.example.org").by(transport).kind(RecordType::AAAA);
        let other = other.ask(resolver.addr()).await.unwrap();
        assert_eq!((other.code(), other.addresses().len()), (ResponseCode::NoError, 0));
        let unknown = Dig::a("unknown.org").by(transport).ask(resolver.addr()).await.unwrap();
        assert_eq!(unknown.code(), ResponseCode::NXDomain);
    }
    assert_eq!(resolver.heard().len(), 6);
    assert_eq!(resolver.heard()[0].name, "known.EXAMPLE.org.");
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_cut_and_whole_over_tcp() {
    let resolver = Resolver::start().await.unwrap();
    for last in 1..=64 {
        resolver.address("big.example.org", IpAddr::from([192, 0, 2, last]));
    }
    let cut = Dig::a("big.example.org").ask(resolver.addr()).await.unwrap();
    assert!(cut.message.metadata.truncation && cut.size <= 512);
    let large = Dig { edns: Some(4096), ..Dig::a("big.example.org") };
    let large = large.ask(resolver.addr()).await.unwrap();
    assert_eq!(large.addresses().len(), 64);
    assert!(large.message.edns.is_some());
    let whole = Dig::a("big.example.org").by(Transport::Tcp).ask(resolver.addr()).await.unwrap();
    assert_eq!(whole.addresses().len(), 64);
}

#[tokio::test]
async fn it_fails_or_falls_silent_when_told_to() {
    let resolver = Resolver::start().await.unwrap();
    resolver.manner(Manner::Fails(ResponseCode::Refused));
    let refused = Dig::a("any.org").ask(resolver.addr()).await.unwrap();
    assert_eq!(refused.code(), ResponseCode::Refused);

    resolver.manner(Manner::Mute);
    let asking = Dig::a("any.org");
    let asked = asking.ask(resolver.addr());
    assert!(timeout(std::time::Duration::from_millis(200), asked).await.is_err());
    resolver.until("the query to be heard", |heard| heard.len() == 2).await.unwrap();
}
