//! A readiness that does not wait for one gate for ever.

use std::time::Duration;

use tokio::time::sleep;

use super::Gates;

/// A gate that need not be open.
#[derive(Debug)]
pub struct Unless<F> {
    /// Which.
    pub gate: &'static str,
    /// When this is over, it is not waited for.
    pub excuse: F,
    /// For so long it is waited for.
    pub patience: Duration,
}

/// How things stand when the waiting is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Every gate is open.
    Open,
    /// All but one, which is excused.
    Excused,
    /// All but one, for which the time is up.
    Late,
}

impl Gates {
    /// Returns when every gate is open and `more` is over; or when that is so but for one gate.
    pub async fn settled<F>(&self, more: impl Future<Output = ()>, unless: Unless<F>) -> Settled
    where
        F: Future<Output = ()>,
    {
        let Unless { gate, excuse, patience } = unless;
        let patience = sleep(patience);
        self.open_besides(&[gate]).await;
        more.await;
        // Cancel safe: whoever is left is not asked again.
        tokio::select! {
            biased;
            () = self.all_open() => Settled::Open,
            () = excuse => Settled::Excused,
            () = patience => Settled::Late,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn unless<F>(excuse: F) -> Unless<F> {
        Unless { gate: "identity", excuse, patience: PATIENCE }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_gate_is_waited_for_so_long_and_no_longer() {
        for (comes, expected) in [(29, Settled::Open), (31, Settled::Late), (86_400, Settled::Late)]
        {
            let gates = Gates::default();
            let identity = gates.gate("identity");
            gates.gate("dns").open();
            let began = Instant::now();
            let opens = async {
                sleep(Duration::from_secs(comes)).await;
                identity.open();
                pending::<()>().await;
            };

            let settled = tokio::select! {
                settled = gates.settled(ready(()), unless(pending())) => settled,
                () = opens => unreachable!(),
            };

            assert_eq!(settled, expected);
            assert_eq!(began.elapsed(), Duration::from_secs(comes).min(PATIENCE));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_an_excuse_it_is_not_waited_for() {
        let gates = Gates::default();
        let _identity = gates.gate("identity");
        let began = Instant::now();

        assert_eq!(gates.settled(ready(()), unless(ready(()))).await, Settled::Excused);
        assert!(began.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn the_others_are_waited_for_as_long_as_it_takes() {
        let gates = Gates::default();
        gates.gate("identity").open();
        let dns = gates.gate("dns");
        let began = Instant::now();
        let opens = async {
            sleep(2 * PATIENCE).await;
            dns.open();
        };

        let settled = gates.settled(sleep(3 * PATIENCE), unless(ready(())));
        let (settled, ()) = tokio::join!(settled, opens);

        assert_eq!(settled, Settled::Open);
        assert_eq!(began.elapsed(), 3 * PATIENCE);
    }
}
