//! The system's figures of this process, under the usual names of Prometheus clients.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::collect;

/// Figures of this process, read from `/proc` at each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok(process) = procfs::process::Process::myself() else { return Ok(()) };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
            collect(&mut encoder, "process_cpu_seconds", "Processor time, user and system", &cpu)?;
            let resident = ConstGauge::new((stat.rss * procfs::page_size()) as i64);
            let help = "Memory that is resident, mapped shards included";
            collect(&mut encoder, "process_resident_memory_bytes", help, &resident)?;
            let threads = ConstGauge::new(stat.num_threads);
            collect(&mut encoder, "process_threads", "Threads", &threads)?;
            let faults = ConstCounter::new(stat.majflt);
            let help = "Pages of mapped shards (and others) that had to be read from disk";
            collect(&mut encoder, "process_major_page_faults", help, &faults)?;
        }
        if let Ok(open) = process.fd_count() {
            let open = ConstGauge::new(open as i64);
            collect(&mut encoder, "process_open_fds", "Open files and connections", &open)?;
        }
        if let Ok(limits) = process.limits()
            && let procfs::process::LimitValue::Value(limit) = limits.max_open_files.soft_limit
        {
            let limit = ConstGauge::new(i64::try_from(limit).unwrap_or(i64::MAX));
            collect(&mut encoder, "process_max_fds", "The limit of open files", &limit)?;
        }
        Ok(())
    }
}
