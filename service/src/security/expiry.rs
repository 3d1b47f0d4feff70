//! Warnings before certificates end: a gauge, and lines in the log.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::end::End;
use super::tls::Tls;
use crate::observe::collect;

const DAY: Duration = Duration::from_secs(86_400);
/// The gauge's name, in Unix seconds as Prometheus wants times.
const GAUGE: &str = "ocelli_certificate_expiry_timestamp_seconds";

/// Logs certificates that end soon: when they are new, and once a day.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    last: Option<(Vec<End>, Instant)>,
}

impl Reminder {
    /// Logs a warning for each of `ends` that is nearer than `warning`; zero: never.
    pub(super) fn look(&mut self, ends: &[End], warning: Duration) {
        let told = |(before, at): &(Vec<End>, Instant)| before == ends && at.elapsed() < DAY;
        if warning.is_zero() || self.last.as_ref().is_some_and(told) {
            return;
        }
        self.last = Some((ends.to_vec(), Instant::now()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        for End { purpose, file, at } in ends {
            let left_s = at.saturating_sub(now);
            let (certificate, hours) = (purpose.label(), left_s / 3600);
            if left_s <= 0 {
                tracing::warn!(
                    certificate,
                    ?file,
                    ended_hours_ago = -hours,
                    "a certificate has ended"
                );
            } else if left_s < i64::try_from(warning.as_secs()).unwrap_or(i64::MAX) {
                let days = hours / 24;
                tracing::warn!(certificate, ?file, days, hours, "a certificate ends soon");
            }
        }
    }
}

/// A gauge of the ends of a server's certificates, read at each scrape. A server without TLS has
/// none.
#[derive(Debug)]
pub struct Certificates(pub(super) Option<Arc<Tls>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(tls) = &self.0 else { return Ok(()) };
        let family = Family::<CertificateLabel, Gauge>::default();
        for end in &tls.get().ends {
            let label = CertificateLabel { certificate: end.purpose.label() };
            family.get_or_create(&label).set(end.at);
        }
        let help = "When the first certificate of the file in use ends, in Unix seconds";
        collect(&mut encoder, GAUGE, help, &family)
    }
}
