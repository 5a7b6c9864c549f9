//! What is counted of DNS, for whoever keeps metrics: under the names that dashboards of Istio's agent
//! know, and under our own.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use hawser_dns::{Latency, Proxy, ResolverStatus, Source, Totals, Upstream};
use hawser_rt::metrics::{Histogram, Kind, Registry, Sample};

use super::Dns;

/// Its name, what it is, what a scraper takes it for, and how much it is.
type OfAll = (&'static str, &'static str, Kind, fn(&Totals) -> u64);
/// The same, of one resolver.
type OfOne = (&'static str, &'static str, Kind, fn(&ResolverStatus) -> Option<f64>);

impl Dns {
    /// Shows what it counts to whoever reads `metrics`.
    pub fn register(&self, metrics: &Registry) {
        self.register_old(metrics);
        self.register_answers(metrics);
        self.register_resolvers(metrics);
        let dns = self.clone();
        metrics.computed(TABLE_AGE, "Time since istiod said the names.", &[], move || {
            let age = SystemTime::now().duration_since(dns.proxy.names()?.since);
            Some(age.unwrap_or(Duration::ZERO).as_secs_f64())
        });
        let dns = self.clone();
        let help = "Whether the names are those of an earlier run, not confirmed since.";
        metrics.computed("hawser_dns_table_stale", help, &[], move || {
            dns.proxy.names().map(|known| f64::from(u8::from(known.stale)))
        });
        let numbers: [OfAll; 16] = [
            ("hawser_dns_names", "Names answered.", Kind::Gauge, |it| it.names),
            ("hawser_dns_cache_entries", "Answers kept.", Kind::Gauge, |it| it.cache_entries),
            ("hawser_dns_cache_bytes", "Octets they take.", Kind::Gauge, |it| it.cache_bytes),
            ("hawser_dns_cache_evicted_total", "Answers that made room.", Kind::Counter, |it| {
                it.cache_evicted
            }),
            ("hawser_dns_in_flight", "Queries waiting for a reply.", Kind::Gauge, |it| {
                it.in_flight
            }),
            ("hawser_dns_shed_total", "Queries too many to be asked.", Kind::Counter, |it| it.shed),
            ("hawser_dns_refused_total", "Queries that were faulty.", Kind::Counter, |it| {
                it.refused
            }),
            ("hawser_dns_forbidden_total", "Queries of strangers.", Kind::Counter, |it| {
                it.forbidden
            }),
            ("hawser_dns_dropped_total", "Messages not answered.", Kind::Counter, |it| it.dropped),
            ("hawser_dns_joined_total", "Answered with another's reply.", Kind::Counter, |it| {
                it.joined
            }),
            ("hawser_dns_hedged_total", "Asked of a second resolver.", Kind::Counter, |it| {
                it.hedged
            }),
            ("hawser_dns_by_tcp_total", "Asked anew over TCP.", Kind::Counter, |it| it.by_tcp),
            ("hawser_dns_connections", "TCP connections open.", Kind::Gauge, |it| it.connections),
            ("hawser_dns_connections_refused_total", "Turned away.", Kind::Counter, |it| {
                it.connections_refused
            }),
            ("hawser_dns_names_skipped", "Names left out.", Kind::Gauge, |it| it.names_skipped),
            ("hawser_dns_strange_replies_total", "Not what was waited for.", Kind::Counter, |it| {
                it.strange_replies
            }),
        ];
        for (name, help, kind, number) in numbers {
            self.register_number(metrics, (name, help, kind), number);
        }
    }

    /// What dashboards of Istio's agent know.
    fn register_old(&self, metrics: &Registry) {
        let numbers: [OfAll; 3] = [
            (OLD[0], "DNS requests.", Kind::Counter, |it| it.queries),
            (OLD[1], "DNS requests forwarded to upstream.", Kind::Counter, |it| it.relayed),
            (OLD[2], "DNS requests that no upstream answered.", Kind::Counter, |it| {
                it.relay_failed
            }),
        ];
        for (name, help, kind, number) in numbers {
            self.register_number(metrics, (name, help, kind), number);
        }
        let proxy = self.proxy.clone();
        let help = "Time it takes to get a DNS response from upstream.";
        metrics.histogram(OLD[3], help, &[], move || spread(&proxy, &[Source::Upstream]));
    }

    fn register_answers(&self, metrics: &Registry) {
        let proxy = self.proxy.clone();
        metrics.read("hawser_dns_answers_total", "DNS answers.", Kind::Counter, move || {
            let workers = proxy.counts().iter().map(|counts| counts.answers());
            let mut sums = BTreeMap::<_, u64>::new();
            for answers in workers.flatten() {
                let (source, rcode) = (answers.source.word(), answers.code.word());
                let labels = (source, rcode, answers.kind.word(), answers.transport.word());
                *sums.entry(labels).or_default() += answers.count;
            }
            let sample =
                |((source, rcode, kind, proto), count): ((&str, &str, &str, &str), u64)| {
                    let labels =
                        [("source", source), ("rcode", rcode), ("qtype", kind), ("proto", proto)];
                    let labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
                    Sample { labels, value: number(count) }
                };
            sums.into_iter().map(sample).collect()
        });
        let proxy = self.proxy.clone();
        let help = "Time from a datagram to its answer, of those that are answered at once.";
        metrics.histogram(TOOK, help, &[], move || spread(&proxy, &[Source::Table, Source::Cache]));
    }

    fn register_resolvers(&self, metrics: &Registry) {
        let numbers: [OfOne; 6] = [
            ("asked_total", "Queries sent.", Kind::Counter, |it| Some(number(it.asked))),
            ("answered_total", "Queries answered.", Kind::Counter, |it| Some(number(it.answered))),
            ("failures_total", "Queries in vain.", Kind::Counter, |it| Some(number(it.failed))),
            ("latency_seconds", "What an answer takes as a rule.", Kind::Gauge, |it| {
                it.srtt_us.map(|us| Duration::from_micros(us.into()).as_secs_f64())
            }),
            ("up", "Whether it answers.", Kind::Gauge, |it| {
                Some(f64::from(u8::from(it.state != "silent" && !it.looping)))
            }),
            ("looping", "Whether what it is asked comes back.", Kind::Gauge, |it| {
                Some(f64::from(u8::from(it.looping)))
            }),
        ];
        for (name, help, kind, number) in numbers {
            let dns = self.clone();
            let name = format!("hawser_dns_resolver_{name}");
            metrics.read(&name, help, kind, move || {
                // Several may have one address, and be told apart by the name that they prove.
                let upstreams = dns.proxy.upstreams();
                let resolvers = dns.proxy.resolvers().into_iter().zip(upstreams);
                let sample = |(it, upstream): (ResolverStatus, Upstream)| {
                    let labels = vec![("resolver", upstream.to_string())];
                    number(&it).map(|value| Sample { labels, value })
                };
                // The list may have changed between.
                resolvers
                    .filter(|(it, upstream)| it.address == upstream.address)
                    .filter_map(sample)
                    .collect()
            });
        }
    }

    fn register_number(
        &self,
        metrics: &Registry,
        (name, help, kind): (&str, &str, Kind),
        read: fn(&Totals) -> u64,
    ) {
        let proxy = self.proxy.clone();
        metrics.read(name, help, kind, move || {
            vec![Sample { labels: Vec::new(), value: number(read(&proxy.totals())) }]
        });
    }
}

fn spread(proxy: &Proxy, sources: &[Source]) -> Histogram {
    let workers = proxy.counts().iter();
    let each = workers.flat_map(|counts| sources.iter().map(|&source| counts.latency(source)));
    let Latency { steps, count, sum } = each.fold(Latency::default(), Latency::with);
    Histogram { steps, count, sum }
}

#[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 is not reached")]
fn number(count: u64) -> f64 {
    count as f64
}

const OLD: [&str; 4] = [
    "istio_agent_dns_requests_total",
    "istio_agent_dns_upstream_requests_total",
    "istio_agent_dns_upstream_failures_total",
    "istio_agent_dns_upstream_request_duration_seconds",
];
const TOOK: &str = "hawser_dns_answer_duration_seconds";
const TABLE_AGE: &str = "hawser_dns_table_age_seconds";
