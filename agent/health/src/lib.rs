//! Whether the workload is well: probes, thresholds, verdict.
