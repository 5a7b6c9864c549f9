//! The system's clock: a timer of the kernel that runs on the wall's time and tells when that
//! was set.
//!
//! - The timer alone would do on a kernel that keeps its word. Sandboxes and emulated kernels
//!   take the flag "cancel on set" and ignore it; set back by a day, their timer is a day late.
//!   So once a minute, which is nothing to a processor and soon enough for a certificate, the
//!   wall is compared with the time since boot, which nobody can set.
//! - Without a timer (no descriptors left) the wait goes on in naps, by the same comparison.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    time::{self, clock_gettime},
    unistd::read,
};
use tokio::{
    io::unix::AsyncFd,
    time::{sleep, timeout},
};
use tracing::debug;

use super::Woke;
use crate::descriptor::{Descriptor, readable};

pub(super) async fn wait(due: SystemTime) -> Woke {
    let mut before = Reading::take();
    if before.wall >= due {
        return Woke::Due;
    }
    let mut timer = Timer::open().map_err(unavailable).ok();
    loop {
        let left = due.duration_since(before.wall).unwrap_or_default();
        let rang = match &timer {
            Some(timer) => {
                // Never asks for more than a day, so a date beyond the kernel's reckoning will do.
                let alarm = before.wall.checked_add(left.min(DAY)).unwrap_or(due);
                timeout(RECHECK, timer.ring(alarm)).await.unwrap_or(Ok(Rang::No))
            }
            None => {
                sleep(left.min(NAP)).await;
                Ok(Rang::No)
            }
        };
        let now = Reading::take();
        if now.wall >= due {
            return Woke::Due;
        }
        match rang {
            Ok(Rang::Set) => return Woke::Stepped,
            Ok(Rang::No | Rang::Expired) if now.stepped_since(&before) => return Woke::Stepped,
            Ok(Rang::No | Rang::Expired) => {}
            Err(error) => {
                unavailable(error);
                timer = None;
            }
        }
        before = now;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn unavailable(error: io::Error) {
    debug!(%error, "no timer on the wall clock, napping instead");
}

/// What a look at a [`Timer`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rang {
    No,
    Expired,
    Set,
}

#[derive(Debug)]
struct Timer(AsyncFd<Descriptor<TimerFd>>);

impl Timer {
    fn open() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags)?;
        Ok(Self(readable(timer)?))
    }

    /// Returns when the clock has reached `at` or was set. Cancel safe.
    async fn ring(&self, at: SystemTime) -> io::Result<Rang> {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        // A zero would switch the timer off.
        let at = TimeSpec::from(at.max(Duration::from_nanos(1)));
        let flags =
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        if let Err(errno) = self.0.get_ref().0.set(Expiration::OneShot(at), flags) {
            return heard(Err(errno));
        }
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|timer| heard(read(&timer.get_ref().0, &mut [0; 8]))) {
                Ok(rang) => return rang,
                Err(_nothing_to_read) => {}
            }
        }
    }
}

/// What the kernel says of a timer: how often it has expired, or that the clock was set
/// (ECANCELED, also in answer to the attempt to set the timer).
fn heard(said: nix::Result<usize>) -> io::Result<Rang> {
    match said {
        Ok(_) => Ok(Rang::Expired),
        Err(Errno::ECANCELED) => Ok(Rang::Set),
        Err(errno) => Err(errno.into()),
    }
}

/// The time on the wall, beside a time that cannot be set.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: SystemTime,
    /// Goes on while the machine sleeps, so that a sleep is no step.
    since_boot: Option<Duration>,
}

impl Reading {
    fn take() -> Self {
        let since_boot = clock_gettime(time::ClockId::CLOCK_BOOTTIME).ok().map(Duration::from);
        Self { wall: SystemTime::now(), since_boot }
    }

    /// Whether the wall has moved otherwise than time has.
    fn stepped_since(&self, before: &Self) -> bool {
        let (Some(now), Some(then)) = (self.since_boot, before.since_boot) else { return false };
        let passed = now.saturating_sub(then);
        let shown = match self.wall.duration_since(before.wall) {
            Ok(ahead) => ahead.abs_diff(passed),
            Err(back) => back.duration().saturating_add(passed),
        };
        shown > TOLERANCE
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const RECHECK: Duration = Duration::from_secs(60);
const NAP: Duration = Duration::from_secs(30);
/// Between two looks, a minute apart. More than the tenth by which chrony slews a clock.
const TOLERANCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_is_understood() {
        assert_eq!(heard(Ok(8)).unwrap(), Rang::Expired);
        assert_eq!(heard(Err(Errno::ECANCELED)).unwrap(), Rang::Set);
        assert_eq!(heard(Err(Errno::EAGAIN)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(heard(Err(Errno::EINVAL)).is_err());
    }

    #[test]
    fn a_step_is_what_the_time_since_boot_does_not_explain() {
        let seconds = Duration::from_secs;
        let start = UNIX_EPOCH + seconds(1_000_000);
        let cases = [
            ("as time goes", start + seconds(60), Some(60), false),
            ("slewed", start + seconds(66), Some(60), false),
            ("after a night asleep", start + seconds(30_000), Some(30_000), false),
            ("set ahead", start + seconds(60 + 11), Some(60), true),
            ("set back within the minute", start + seconds(49), Some(60), true),
            ("set back by a day", start - seconds(86_400), Some(60), true),
            ("set to the epoch", UNIX_EPOCH, Some(60), true),
            ("nothing to compare with", start + seconds(90_000), None, false),
        ];
        for (what, wall, passed, stepped) in cases {
            let before = Reading { wall: start, since_boot: Some(seconds(500)) };
            let now = Reading { wall, since_boot: passed.map(|passed| seconds(500 + passed)) };

            assert_eq!(now.stepped_since(&before), stepped, "{what}");
        }
    }
}
