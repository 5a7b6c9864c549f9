//! Whether threads still turn: each that has a runtime of its own is asked for a sign of life.
//!
//! A task that blocks its thread blocks all that is done there, and no timer of that thread tells.
//! So another thread asks: it raises a number, and on each of the others a task that does nothing
//! else repeats it. Nothing runs between two questions.

use std::{pin::pin, time::Duration};

use tokio::{sync::watch, time::sleep};

/// Those who are asked, and how they are reached.
#[derive(Debug)]
pub struct Pulse {
    round: watch::Sender<u64>,
    members: Vec<(String, watch::Receiver<u64>)>,
}

/// What answers for a thread. Dropped, it is not asked any more.
#[derive(Debug)]
pub struct Member {
    asked: watch::Receiver<u64>,
    answers: watch::Sender<u64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { round: watch::Sender::new(0), members: Vec::new() }
    }
}

impl Pulse {
    /// Another one who is asked. Of several with one name, the second is called `name 2`.
    pub fn member(&mut self, name: &str) -> Member {
        let asked = self.round.subscribe();
        let (answers, heard) = watch::channel(*asked.borrow());
        let same = |known: &str| known == name || known.starts_with(&format!("{name} "));
        let number = 1 + self.members.iter().filter(|(known, _)| same(known)).count();
        let name = if number == 1 { name.to_owned() } else { format!("{name} {number}") };
        self.members.push((name, heard));
        Member { asked, answers }
    }

    /// Asks all of them, and names those that do not answer within `limit`. Cancel safe.
    pub async fn silent(&mut self, limit: Duration) -> Vec<String> {
        self.members.retain(|(_, heard)| heard.has_changed().is_ok());
        self.round.send_modify(|round| *round += 1);
        let round = *self.round.borrow();
        let all = async {
            for (_, heard) in &mut self.members {
                // One who has ended is no matter of ours.
                drop(heard.wait_for(|answer| *answer >= round).await);
            }
        };
        if awake(limit, all).await.is_some() {
            return Vec::new();
        }
        let quiet = |heard: &watch::Receiver<u64>| *heard.borrow() < round;
        self.members
            .iter()
            .filter(|(_, heard)| quiet(heard) && heard.has_changed().is_ok())
            .map(|(name, _)| name.clone())
            .collect()
    }
}

impl Member {
    /// Answers for the thread that this runs on, for as long as it is asked.
    pub async fn answer(mut self) {
        while self.asked.changed().await.is_ok() {
            let round = *self.asked.borrow_and_update();
            if self.answers.send(round).is_err() {
                return;
            }
        }
    }
}

/// What `wanted` gives within `limit`, which is spent only while this process runs: of a time in
/// which it was stopped, or the machine stood still, a small part counts. So whoever was stopped
/// with us has the time to go on before anybody says that he is late.
pub async fn awake<T>(limit: Duration, wanted: impl Future<Output = T>) -> Option<T> {
    let mut wanted = pin!(wanted);
    for _ in 0..STEPS {
        // Cancel safe: what is wanted goes on at the next step.
        tokio::select! {
            biased;
            got = &mut wanted => return Some(got),
            () = sleep(limit / STEPS) => {}
        }
    }
    None
}

const STEPS: u32 = 20;

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use tokio::{
        runtime::Builder,
        time::{Instant, advance},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_answers_is_not_named() {
        let mut pulse = Pulse::default();
        let members = [pulse.member("xds"), pulse.member("dns"), pulse.member("dns")];
        let mut answering = tokio::task::JoinSet::new();
        for member in members {
            answering.spawn(member.answer());
        }

        for _ in 0..3 {
            assert!(pulse.silent(LIMIT).await.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_named_after_the_limit_and_only_while_it_does_not() {
        let mut pulse = Pulse::default();
        let (first, second) = (pulse.member("dns"), pulse.member("dns"));
        let mut answering = tokio::task::JoinSet::new();
        answering.spawn(first.answer());
        let began = Instant::now();

        assert_eq!(pulse.silent(LIMIT).await, ["dns 2"]);
        assert!(began.elapsed() >= LIMIT);

        answering.spawn(second.answer());
        assert!(pulse.silent(LIMIT).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_ended_is_not_asked() {
        let mut pulse = Pulse::default();
        drop(pulse.member("xds"));

        assert!(pulse.silent(LIMIT).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_is_nobodys_fault() {
        let mut pulse = Pulse::default();
        let member = pulse.member("xds");
        // Both go on after an hour, the one who asks first.
        let late = async {
            advance(Duration::from_secs(3600)).await;
            sleep(LIMIT / 2).await;
            member.answer().await;
        };

        tokio::select! {
            silent = pulse.silent(LIMIT) => assert!(silent.is_empty(), "{silent:?}"),
            () = late => {}
        }
    }

    #[test]
    fn a_thread_that_hangs_is_named_and_not_the_one_that_works() {
        let mut pulse = Pulse::default();
        let (stuck, well) = (pulse.member("stuck"), pulse.member("well"));
        let (release, hangs) = mpsc::channel::<()>();
        let (tell, hung) = mpsc::channel();
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let runtime = runtime();
                let _answering = runtime.spawn(stuck.answer());
                runtime.block_on(async {
                    tell.send(()).unwrap();
                    // On purpose: this is a future that blocks its thread.
                    assert!(hangs.recv().is_err(), "released");
                });
            });
            scope.spawn(|| runtime().block_on(well.answer()));
            hung.recv().unwrap();

            let silent = runtime().block_on(pulse.silent(Duration::from_millis(400)));
            drop(release);
            drop(pulse);

            assert_eq!(silent, ["stuck"]);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_given() {
        assert_eq!(awake(LIMIT, async { 1 }).await, Some(1));
        assert_eq!(awake(LIMIT, sleep(LIMIT / 2)).await, Some(()));
        assert_eq!(awake(LIMIT, std::future::pending::<()>()).await, None);
    }
}
