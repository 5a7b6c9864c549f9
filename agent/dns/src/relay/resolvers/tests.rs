//! Who is asked first, and who again.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn upstream(last: u8) -> Upstream {
    SocketAddr::from(([10, 0, 0, last], 53)).into()
}

fn order(resolvers: &Resolvers) -> Vec<usize> {
    let order = Order::ranked(&resolvers.servers());
    (0..).map_while(|index| order.get(index)).collect()
}

fn states(resolvers: &Resolvers) -> Vec<&'static str> {
    resolvers.report().iter().map(|status| status.state).collect()
}

#[tokio::test(start_paused = true)]
async fn the_order_of_the_list_counts_unless_one_is_slower_by_a_class() {
    let resolvers = Resolvers::new((1..=3).map(upstream).collect());
    assert_eq!(order(&resolvers), [0, 1, 2]);
    let servers = resolvers.servers();
    for (server, took) in servers.iter().zip([300, 30, 3]) {
        server.note_asked();
        server.note_answered(MS * took);
    }
    assert_eq!(order(&resolvers), [1, 2, 0]);
    assert_eq!(states(&resolvers), ["slow", "good", "good"]);
    for _ in 0..50 {
        servers[0].note_answered(MS);
    }
    assert_eq!(order(&resolvers), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_one_is_asked_last_and_tried_ever_more_rarely() {
    let resolvers = Resolvers::new((1..=2).map(upstream).collect());
    let servers = resolvers.servers();
    let first = &servers[0];
    assert!(!first.claim_try(1), "nothing is known against it");
    first.note_silent("no reply", 1_000);
    first.note_silent("no reply", 1_001);
    assert_eq!(order(&resolvers), [1, 0]);
    assert_eq!(states(&resolvers), ["silent", "new"]);

    let mut now = 1_000;
    for pause in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        assert!(!first.claim_try(now + pause - 1), "{pause}");
        now += pause;
        assert!(first.claim_try(now), "{pause}");
        assert!(!first.claim_try(now), "one is enough");
        now += 1;
        first.try_at.store(now, Relaxed);
        first.note_silent("no reply", now);
    }
    first.note_answered(MS);
    assert_eq!(order(&resolvers), [0, 1]);
    assert_eq!(resolvers.report()[0].last_error.as_deref(), Some("no reply"));
}

#[tokio::test(start_paused = true)]
async fn one_that_others_outrun_all_the_time_is_silent() {
    let resolvers = Resolvers::new((1..=2).map(upstream).collect());
    let servers = resolvers.servers();
    servers[0].note_answered(MS);
    for _ in 0..3 {
        servers[0].note_lost(MS * 20, 1);
    }
    assert_eq!(order(&resolvers), [0, 1]);
    servers[0].note_lost(MS * 20, 1);
    assert_eq!(order(&resolvers), [1, 0]);
    servers[1].note_lost(MS * 250, 1);
    assert_eq!(order(&resolvers), [0, 1], "both are silent");
}

#[tokio::test(start_paused = true)]
async fn patience_depends_on_what_it_takes_as_a_rule() {
    let resolvers = Resolvers::new(vec![upstream(1)]);
    let server = &resolvers.servers()[0];
    assert_eq!(server.patience(), MS * 250);
    server.note_answered(MS);
    assert_eq!(server.patience(), MS * 20);
    server.srtt_us.store(30_000, Relaxed);
    assert_eq!(server.patience(), MS * 90);
    server.srtt_us.store(3_000_000, Relaxed);
    assert_eq!(server.patience(), MS * 250);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_those_that_stay_is_kept() {
    let resolvers = Resolvers::new((1..=2).map(upstream).collect());
    resolvers.servers()[1].note_answered(MS);
    let generation = resolvers.generation();
    resolvers.replace((1..=2).map(upstream).collect());
    assert_eq!(resolvers.generation(), generation, "nothing has changed");

    resolvers.replace(vec![upstream(3), upstream(2), upstream(2)]);
    assert_ne!(resolvers.generation(), generation);
    let report = resolvers.report();
    assert_eq!(report.len(), 2);
    assert_eq!((report[0].answered, report[1].answered), (0, 1));
    let numbers: Vec<u8> = resolvers.servers().iter().map(|server| server.number).collect();
    assert!(numbers[0] != numbers[1] && !numbers.contains(&0));
    resolvers.replace((0..100).map(upstream).collect());
    assert_eq!(resolvers.report().len(), LISTED);
}

#[tokio::test(start_paused = true)]
async fn one_that_leads_back_is_not_asked() {
    let resolvers = Resolvers::new((1..=2).map(upstream).collect());
    resolvers.set_looping(upstream(1).address, true);
    assert_eq!(order(&resolvers), [1]);
    assert_eq!(states(&resolvers), ["looping", "new"]);
    resolvers.set_looping(upstream(1).address, false);
    assert_eq!(order(&resolvers), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_question_of_our_own_is_known_when_it_comes_back() {
    let resolvers = Resolvers::new((1..=2).map(upstream).collect());
    let server = Arc::clone(&resolvers.servers()[1]);
    let packet = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01and more";
    let end = packet.len() - b"and more".len();
    assert!(resolvers.leads_back(packet, end).is_none());

    let mark = resolvers.out.put(0x1234, &packet[12..end], server.number);
    let found = resolvers.leads_back(packet, end).expect("our own");
    assert_eq!(found.upstream, upstream(2));
    assert!(resolvers.leads_back(packet, end - 1).is_none(), "another question");

    resolvers.out.clear(mark);
    assert!(resolvers.leads_back(packet, end).is_none());
}
