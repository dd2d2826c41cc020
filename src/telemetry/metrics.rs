//! What is measured: names, meanings, buckets. Durations are in seconds, as Prometheus has them; calls are
//! named as OpenTelemetry names those of RPC
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/>). Depends on nothing else in the crate.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Upper bounds in seconds: from a lone short message to a long queue.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Upper bounds of what is read together.
const SIZES: [f64; 12] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];

/// Shows what was measured.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// Measures from now on, for the whole process.
    ///
    /// # Errors
    /// Where something else in this process does so already.
    pub fn install() -> Result<Self, BuildError> {
        let of = |suffix: &str| Matcher::Suffix(suffix.to_owned());
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(of("_seconds"), &SECONDS)?
            .set_buckets_for_metric(of("_tokens"), &SIZES)?
            .set_buckets_for_metric(of("_messages"), &SIZES)?
            .install_recorder()?;
        describe();
        let process = Collector::default();
        process.describe();
        Ok(Metrics { handle, process })
    }

    /// All of it, in Prometheus' text format.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Clears away what histograms keep between two looks; to be called now and then.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }
}

fn describe() {
    let seconds = |name: &'static str, what: &'static str| {
        describe_histogram!(name, Unit::Seconds, what);
    };
    seconds(
        "rpc_server_call_duration_seconds",
        "Calls, from the head of the request to the end of the reply",
    );
    seconds("klankbord_message_seconds", "Messages, from acceptance to verdict, by lane");
    seconds("klankbord_queue_wait_seconds", "What is tokenised and waits to be read, by lane");
    seconds("klankbord_tokenise_seconds", "Tokenising a message");
    seconds("klankbord_encode_seconds", "Reading a batch");
    describe_histogram!("klankbord_batch_tokens", "Tokens that were read together");
    describe_histogram!(
        "klankbord_batch_messages",
        "Messages, or windows of one, that were read together"
    );
    describe_gauge!("klankbord_calls_open", "Calls that are being worked on");
    describe_gauge!("klankbord_connections_open", "Open connections");
    describe_gauge!("klankbord_queue_messages", "Messages accepted and not yet answered, by lane");
    describe_gauge!("klankbord_queue_bytes", "Bytes of text accepted and not yet answered");
    describe_gauge!("klankbord_queue_messages_limit", "Most messages that may be so");
    describe_gauge!("klankbord_queue_bytes_limit", "Most bytes that may be so");
    describe_counter!("klankbord_rejected_total", "What was refused, by reason");
    describe_counter!(
        "klankbord_dropped_total",
        "What was accepted and never read, since nobody waited any more"
    );
    describe_counter!(
        "klankbord_worker_failures_total",
        "Batches or messages that the model failed on, by reason"
    );
    describe_counter!(
        "klankbord_messages_total",
        "Verdicts, by channel, language, sentiment and whether they ask for review"
    );
    describe_counter!(
        "klankbord_intents_total",
        "Verdicts by intent, channel and language; one may have several"
    );
    describe_counter!("klankbord_urgent_total", "Verdicts that say urgent, by channel");
    describe_counter!(
        "klankbord_corrections_total",
        "Labels of corrected verdicts: missed, said wrongly or confirmed, by model version"
    );
    describe_gauge!(
        "klankbord_crisis_suspected",
        "1 while this hour or the last brought far more than such hours do, by series"
    );
    describe_gauge!("klankbord_hour_observed", "What the running hour has brought, by series");
    describe_gauge!("klankbord_hour_expected", "What such an hour has brought of late, by series");
    describe_counter!(
        "klankbord_reloads_total",
        "What was read anew while serving, and whether it was taken"
    );
    describe_gauge!("klankbord_build_info", "Always 1; its labels say what runs");
    describe_gauge!("klankbord_ready", "1 while calls are taken");
}
