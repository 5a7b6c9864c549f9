//! When it is asked and what is told, by a clock that the test moves.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::task::JoinSet;

use super::*;
use crate::{Method, Tcp, Thresholds};

/// Answers to one of the two questions, one after the other; the last one stays.
#[derive(Clone)]
struct Script {
    answers: Arc<Vec<Result<(), String>>>,
    asked: Arc<AtomicUsize>,
}

impl Script {
    /// One letter an answer: `w` is well.
    fn new(answers: &str) -> Self {
        let answer = |letter| if letter == 'w' { Ok(()) } else { Err(format!("it is {letter}")) };
        let answers = Arc::new(answers.chars().map(answer).collect());
        Self { answers, asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    fn answer(&self) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let at = self.asked.fetch_add(1, Relaxed).min(self.answers.len() - 1);
        std::future::ready(self.answers[at].clone())
    }
}

fn probe() -> Probe {
    Probe {
        methods: vec![Method::Tcp(Tcp { host: None, port: 1 })],
        initial_delay: Duration::ZERO,
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(10),
        thresholds: Thresholds { success: 1, failure: 1 },
    }
}

/// Probing, for as long as this lives.
struct Probing {
    verdict: watch::Receiver<Verdict>,
    started: Instant,
    _tasks: JoinSet<Infallible>,
}

impl Probing {
    fn start(probe: Probe, envoy: &Script, workload: &Script) -> Self {
        let (tell, verdict) = watch::channel(None);
        let (envoy, workload) = (envoy.clone(), workload.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let tell = |verdict| drop(tell.send_replace(Some(verdict)));
            follow(&probe, &|| envoy.answer(), &|| workload.answer(), &tell).await
        });
        Self { verdict, started: Instant::now(), _tasks: tasks }
    }

    /// The next verdict, and how many seconds after the start it was told.
    async fn next(&mut self) -> (Result<(), String>, u64) {
        self.verdict.changed().await.unwrap();
        let verdict = self.verdict.borrow_and_update().clone().unwrap();
        (verdict, self.started.elapsed().as_secs())
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_envoy_was_ready_once() {
    let (envoy, workload) = (Script::new("sssssw"), Script::new("w"));
    let mut probing = Probing::start(probe(), &envoy, &workload);

    assert_eq!(probing.next().await, (Ok(()), 5));
    assert_eq!(workload.asked(), 1, "not asked before");
}

#[tokio::test(start_paused = true)]
async fn an_envoy_that_does_not_become_ready_is_told_of_when_its_time_is_up() {
    let (envoy, workload) = (Script::new("s"), Script::new("w"));
    let mut probing = Probing::start(probe(), &envoy, &workload);

    let verdict = Err("envoy is not ready: it is s".to_owned());
    assert_eq!(probing.next().await, (verdict, (GRACE + AGAIN).as_secs()));
    assert_eq!(workload.asked(), 0, "envoy comes first");
}

#[tokio::test(start_paused = true)]
async fn an_envoy_that_never_answers_costs_no_more_than_its_time() {
    let (tell, mut verdict) = watch::channel(None);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let envoy = move || {
        let first = counted.fetch_add(1, Relaxed) == 0;
        async move { if first { std::future::pending().await } else { Ok(()) } }
    };
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let workload = Script::new("w");
    tasks.spawn(async move {
        let tell = |verdict| drop(tell.send_replace(Some(verdict)));
        follow(&probe(), &envoy, &|| workload.answer(), &tell).await
    });

    verdict.wait_for(|verdict| *verdict == Some(Ok(()))).await.unwrap();
    assert_eq!(started.elapsed(), GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_is_not_well_at_first_is_told_of_when_envoy_is_ready() {
    let (envoy, workload) = (Script::new("w"), Script::new("iw"));
    let mut probing = Probing::start(probe(), &envoy, &workload);

    assert_eq!(probing.next().await, (Err("it is i".to_owned()), 0));
    let (verdict, at) = probing.next().await;
    assert_eq!(verdict, Ok(()));
    assert!((9..=11).contains(&at), "a period later, at {at}");
}

#[tokio::test(start_paused = true)]
async fn only_what_changes_is_told() {
    let (envoy, workload) = (Script::new("w"), Script::new("wwwwiiiiwwww"));
    let mut probing = Probing::start(probe(), &envoy, &workload);

    let mut told = Vec::new();
    for _ in 0..3 {
        told.push((probing.next().await.0.is_ok(), workload.asked()));
    }

    assert_eq!(told, [(true, 1), (false, 5), (true, 9)]);
    let more = tokio::time::timeout(Duration::from_secs(600), probing.next()).await;
    assert!(more.is_err(), "nothing more in ten minutes");
    assert!(workload.asked() > 50, "but it is asked");
}

#[tokio::test(start_paused = true)]
async fn an_envoy_that_goes_makes_the_machine_unwell_until_it_is_back() {
    let (envoy, workload) = (Script::new("wwwssw"), Script::new("w"));
    let mut probing = Probing::start(probe(), &envoy, &workload);

    let verdicts = [probing.next().await.0, probing.next().await.0, probing.next().await.0];

    assert_eq!(verdicts, [Ok(()), Err("envoy is not ready: it is s".to_owned()), Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn an_envoy_that_does_not_answer_once_is_asked_again() {
    let (envoy, workload) = (Script::new("wwswswsw"), Script::new("w"));
    let mut probing = Probing::start(probe(), &envoy, &workload);

    assert_eq!(probing.next().await, (Ok(()), 0));

    let more = tokio::time::timeout(Duration::from_secs(600), probing.next()).await;
    assert!(more.is_err(), "nothing has happened");
    assert!(envoy.asked() > 8);
}

#[tokio::test(start_paused = true)]
async fn the_workload_is_left_alone_at_first() {
    let (envoy, workload) = (Script::new("w"), Script::new("w"));
    let delay = Duration::from_secs(90);
    let mut probing = Probing::start(Probe { initial_delay: delay, ..probe() }, &envoy, &workload);

    assert_eq!(probing.next().await, (Ok(()), 90));
    assert_eq!(workload.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_delay_leaves_envoy_its_time_too() {
    let (envoy, workload) = (Script::new("sw"), Script::new("w"));
    let delay = GRACE - Duration::from_secs(5);
    let mut probing = Probing::start(Probe { initial_delay: delay, ..probe() }, &envoy, &workload);

    assert_eq!(probing.next().await, (Ok(()), 56));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_nothing() {
    let node = machine();
    let (_node, node) = watch::channel(Arc::new(node));
    let options = Options { probes: vec![Probe { initial_delay: 100 * GRACE, ..probe() }], node };
    let (tell, verdict) = watch::channel(None);
    let stop = CancellationToken::new();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    tasks.spawn(run(options, std::future::pending::<Result<(), String>>, tell, stop.clone()));
    tokio::time::advance(GRACE).await;

    stop.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();

    assert_eq!(started.elapsed(), GRACE);
    assert_eq!(*verdict.borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn a_long_reason_is_cut() {
    let (tell, verdict) = watch::channel(None);

    publish(Err("ä".repeat(5000)), &tell);

    let reason = verdict.borrow().clone().unwrap().unwrap_err();
    assert_eq!(reason.chars().count(), LONGEST_REASON);
}

#[test]
fn a_period_is_a_tenth_shorter_or_longer() {
    let period = Duration::from_secs(10);
    for (dice, seconds) in [(0.0, 9.0), (0.5, 10.0), (1.0, 11.0)] {
        assert!((jittered(period, dice).as_secs_f64() - seconds).abs() < 1e-6, "{dice}");
    }
    let longest = Duration::from_secs(u64::from(i32::MAX.unsigned_abs()));
    assert!(jittered(longest, 1.0) > longest, "no overflow");
}

#[test]
fn several_probes_make_one_verdict() {
    let (well, ill) = (Some(Ok(())), |reason: &str| Some(Err(reason.to_owned())));
    let cases = [
        (vec![well.clone()], well.clone()),
        (vec![None], None),
        (vec![well.clone(), None], None),
        (vec![well.clone(), well.clone()], well.clone()),
        (vec![None, ill("x")], ill("x")),
        (vec![ill("x"), well], ill("x")),
        (vec![ill("x"), ill("y")], ill("x; y")),
        (vec![ill("envoy"), ill("envoy")], ill("envoy")),
    ];
    for (found, expected) in cases {
        assert_eq!(together(found.clone()), expected, "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_workload_is_well_when_all_probes_find_it_so() {
    let refused = Method::Tcp(Tcp { host: Some("127.0.0.1".to_owned()), port: 1 });
    let nothing = Probe { methods: Vec::new(), ..probe() };
    let ill = Probe { methods: vec![refused], ..probe() };
    for (probes, well) in [(vec![nothing.clone()], true), (vec![nothing, ill], false)] {
        let node = watch::channel(Arc::new(machine())).1;
        let (tell, mut verdict) = watch::channel(None);
        let stop = CancellationToken::new();
        let envoy = || std::future::ready(Ok(()));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Options { probes, node }, envoy, tell, stop.clone()));

        let told = verdict.wait_for(Option::is_some).await.unwrap().clone();

        assert_eq!(told.unwrap().is_ok(), well);
        stop.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}

fn machine() -> Node {
    Node {
        id: String::new(),
        cluster: String::new(),
        locality: hawser_node::Locality::default(),
        ips: Vec::new(),
        metadata: serde_json::Map::new(),
    }
}
