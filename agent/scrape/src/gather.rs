//! All sources, asked at a time, and the form that they agree on.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use hawser_rt::metrics::{Counter, Registry};
use http::{HeaderMap, header::ACCEPT};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Error, Kind, Merged, Source,
    accept::{PLAIN, accept},
    ask::{Answer, TIMEOUT, ask},
    form::Form,
    lines::Lines,
    times::Times,
};

/// Whose metrics are put together, and within which limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// In the order in which they are written.
    pub sources: Vec<Source>,
    /// How long one is waited for, if whoever scrapes does not say how long it waits.
    pub patience: Duration,
    /// How much one may say.
    pub most: u64,
}

/// Puts metrics together. Clones are the same.
#[derive(Debug, Clone)]
pub struct Scraper {
    options: Arc<Options>,
    counts: Arc<Counts>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Counts {
    scrapes: Counter,
    envoy: Counter,
    application: Counter,
}

impl Scraper {
    /// Counts in `metrics` what it does.
    pub fn new(options: Options, metrics: &Registry) -> Self {
        let failures = |kind: &str| {
            let help = "Sources whose metrics were not, or not all, among what was scraped.";
            metrics.counter("istio_agent_scrape_failures_total", help, &[("type", kind)])
        };
        // Nothing of its own can fail; whoever looks for it is to find it.
        failures("agent");
        let help = "Times metrics were scraped.";
        let scrapes = metrics.counter("istio_agent_scrapes_total", help, &[]);
        let (envoy, application) = (failures("envoy"), failures("application"));
        let counts = Arc::new(Counts { scrapes, envoy, application });
        Self { options: Arc::new(options), counts, places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// Asks everybody, and puts what they say behind `own`. `told` and `query` are what whoever
    /// scrapes has said; none if too many scrape at a time.
    pub async fn gather(
        &self,
        told: &HeaderMap,
        query: Option<&str>,
        own: impl Future<Output = String>,
    ) -> Option<Merged> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.counts.scrapes.increment();
        let times = Times::of(
            told.get(TIMEOUT).and_then(|value| value.to_str().ok()),
            self.options.patience,
        );
        let end = Instant::now() + times.all;
        let (begun, own) = tokio::join!(self.begin(told, query, times.each), own);
        let form = Form::of_all(begun.iter().filter_map(|begun| begun.form()));
        let mut passing = JoinSet::new();
        let mut pages = Vec::with_capacity(begun.len());
        for Begun { source, left, answer } in begun {
            let (send, page) = mpsc::channel(PAGES);
            pages.push(page);
            let (counts, most) = (Arc::clone(&self.counts), self.options.most);
            passing.spawn(async move {
                let outcome = match answer {
                    Ok(answer) => {
                        let limits = Limits { each: times.each, left, end, most };
                        pass(answer, limits, send).await
                    }
                    Err(error) => Err(error),
                };
                counts.note(&source, outcome.as_ref().copied());
            });
        }
        Some(Merged::new(form, own.into(), pages, (passing, place)))
    }

    /// The heads of all. What programs answer has to be of one form: where only some have
    /// OpenMetrics, those are asked for text.
    async fn begin(&self, told: &HeaderMap, query: Option<&str>, each: Duration) -> Vec<Begun> {
        let mut asked = JoinSet::new();
        for (index, source) in self.options.sources.iter().cloned().enumerate() {
            let said = told.get(ACCEPT).and_then(|value| value.to_str().ok());
            let (accept, told) = (accept(said, source.kind), told.clone());
            // Istio's agent passes it to Envoy alone, which has filters there.
            let query = query.filter(|_| source.kind == Kind::Envoy).map(str::to_owned);
            asked.spawn(async move {
                let begun = Begun::of(source, (&accept, &told), query.as_deref(), each).await;
                (index, begun)
            });
        }
        let mut begun = in_order(asked).await;
        let forms = || begun.iter().filter_map(Begun::form);
        if forms().min() == Some(Form::Text) && forms().max() > Some(Form::Text) {
            let mut again = JoinSet::new();
            for (index, one) in begun.into_iter().enumerate() {
                let told = told.clone();
                again.spawn(async move { (index, one.in_text(&told).await) });
            }
            begun = in_order(again).await;
        }
        begun
    }
}

/// A source that has answered, or has not.
struct Begun {
    source: Source,
    /// How long it may still be waited for.
    left: Duration,
    answer: Result<Answer, Error>,
}

impl Begun {
    async fn of(
        source: Source,
        (accept, told): (&str, &HeaderMap),
        query: Option<&str>,
        limit: Duration,
    ) -> Self {
        let begun = Instant::now();
        let answer = timeout(limit, ask(&source, accept, told, query)).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err(Error::Late { limit }));
        Self { source, left: limit.saturating_sub(begun.elapsed()), answer }
    }

    /// The form of what a program says. Envoy has only text, and is passed on in either.
    fn form(&self) -> Option<Form> {
        let answer = self.answer.as_ref().ok()?;
        (self.source.kind == Kind::Application).then_some(answer.form)
    }

    /// The same in text.
    async fn in_text(self, told: &HeaderMap) -> Self {
        if self.form().is_none_or(|form| form == Form::Text) {
            return self;
        }
        let Self { source, left, answer } = self;
        drop(answer);
        let mut again = Self::of(source, (PLAIN, told), None, left).await;
        if let Ok(Answer { form, .. }) = &again.answer
            && *form != Form::Text
        {
            again.answer = Err(Error::Kind { kind: form.content_type().to_owned() });
        }
        again
    }
}

async fn in_order<T: 'static>(mut asked: JoinSet<(usize, T)>) -> Vec<T> {
    let mut all = Vec::with_capacity(asked.len());
    while let Some(one) = asked.join_next().await {
        all.extend(one.ok());
    }
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, one)| one).collect()
}

/// How long a source is waited for, and how much of it is taken.
struct Limits {
    each: Duration,
    /// Of that, what is left.
    left: Duration,
    end: Instant,
    most: u64,
}

/// Passes on the lines of a source, in pages. Time in which nobody takes them is not the source's.
async fn pass(mut answer: Answer, limits: Limits, send: mpsc::Sender<Bytes>) -> Result<(), Error> {
    let Limits { each, mut left, end, most } = limits;
    let late = || Error::Late { limit: each };
    let (mut lines, mut page, mut said) = (Lines::default(), BytesMut::new(), 0_u64);
    let outcome = loop {
        let asked = Instant::now();
        let piece = match timeout_at(end.min(asked + left), answer.piece()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => break Err(error),
            Ok(None) => break Ok(()),
            Err(_elapsed) => break Err(late()),
        };
        left = left.saturating_sub(asked.elapsed());
        said = said.saturating_add(piece.len() as u64);
        if said > most {
            break Err(Error::TooLarge { limit: most });
        }
        if let Err(error) = lines.take(&piece, |run| page.extend_from_slice(&run)) {
            break Err(error.into());
        }
        if page.len() >= PAGE && !sent(&send, page.split().freeze(), end).await {
            return Err(late());
        }
    };
    if outcome.is_ok() {
        page.extend_from_slice(&lines.end().unwrap_or_default());
    }
    if !page.is_empty() && !sent(&send, page.freeze(), end).await {
        return Err(late());
    }
    outcome
}

/// Whether it was taken in time.
async fn sent(send: &mpsc::Sender<Bytes>, page: Bytes, end: Instant) -> bool {
    timeout_at(end, send.send(page)).await.is_ok()
}

impl Counts {
    fn note(&self, source: &Source, outcome: Result<(), &Error>) {
        source.note(outcome);
        if outcome.is_err() {
            match source.kind {
                Kind::Envoy => self.envoy.increment(),
                Kind::Application => self.application.increment(),
            }
        }
    }
}

/// So many scrape at a time.
const PLACES: usize = 8;
/// What is taken at a time, and how many of it wait for those before.
const PAGE: usize = 16 * 1024;
const PAGES: usize = 2;

#[cfg(test)]
mod tests;
