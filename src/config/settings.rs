//! Every setting of the server: its names, its default, what it is for and what it may be.
//!
//! The one list that the file, the environment, the command line, `klankbord config` and the checks are made from.
//! Depends on the domain's limits only.

use crate::message::{MAX_ID_BYTES, MAX_TEXT_BYTES};

/// The largest message there can be has to fit in a request: text, context, id, and some room for
/// the other fields and the framing.
const MIN_REQUEST_BYTES: u64 = (2 * MAX_TEXT_BYTES + MAX_ID_BYTES + 1024) as u64;

/// What a value has to look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Address and port; empty for none where that is allowed.
    Address { optional: bool },
    /// `true` or `false`.
    Switch,
    /// A whole number within bounds.
    Count { least: u64, most: u64 },
    /// Seconds, with or without decimals, within bounds; 0 stands for none where it is below the least.
    Seconds { least: f64, most: f64, optional: bool },
    /// A file that exists; empty for none.
    File,
    /// A folder that exists; empty for none.
    Folder,
    /// A time zone of the IANA database.
    Zone,
    /// Free text; empty for none.
    Text,
    /// One of these; empty for none.
    Choice(&'static [&'static str]),
}

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Section and name in the file.
    pub key: &'static str,
    /// Name on the command line; in the environment it is in capitals, behind `KLANKBORD_`.
    pub flag: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub help: &'static str,
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("KLANKBORD_{}", self.flag.to_uppercase().replace('-', "_"))
    }

    /// The setting with this key.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

const fn setting(
    key: &'static str,
    flag: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, flag, kind, default, help }
}

const HOUR: f64 = 3600.0;

const fn count(least: u64, most: u64) -> Kind {
    Kind::Count { least, most }
}

const fn seconds(least: f64, most: f64) -> Kind {
    Kind::Seconds { least, most, optional: false }
}

const fn perhaps(least: f64, most: f64) -> Kind {
    Kind::Seconds { least, most, optional: true }
}

/// Settings of the model: the command line has them for all subcommands.
pub const OF_THE_MODEL: [&str; 3] = ["model", "precision", "kernel"];

/// All of them, in the order of the file.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting("server.listen", "listen", Kind::Address { optional: false }, "127.0.0.1:50051",
        "Address and port to listen on; port 0 takes any that is free"),
    setting("server.insecure", "insecure", Kind::Switch, "false",
        "Serve without TLS on an address that is not loopback: whoever is on the network can read along"),
    setting("server.drain_timeout_s", "drain-timeout-s", seconds(0.0, HOUR), "30",
        "Longest time to finish accepted calls in when told to stop, in seconds"),
    setting("tls.certificate", "tls-certificate", Kind::File, "",
        "The server's certificate and those above it, PEM"),
    setting("tls.key", "tls-key", Kind::File, "", "The certificate's private key, PEM"),
    setting("tls.client_ca", "tls-client-ca", Kind::File, "",
        "Certificates, PEM, one of which must have signed that of a client"),
    setting("auth.tokens", "tokens", Kind::File, "",
        "File of bearer tokens, one `name sha256 [messages a second]` a line (see `klankbord token`)"),
    setting("admin.listen", "admin-listen", Kind::Address { optional: true }, "",
        "Address and port of /metrics, /healthz and /readyz over HTTP"),
    setting("limits.max_request_bytes", "max-request-bytes", count(MIN_REQUEST_BYTES, 1 << 30), "16777216",
        "Most bytes of one encoded request, or of one request of a stream"),
    setting("limits.max_header_bytes", "max-header-bytes", count(1024, 1 << 20), "16384",
        "Most bytes of the headers of one call"),
    setting("limits.max_connections", "max-connections", count(1, 1 << 20), "4096",
        "Most open connections; one above it is closed as it comes in"),
    setting("limits.max_calls", "max-calls", count(1, 1 << 20), "1024",
        "Most calls to work on at once, over all connections"),
    setting("limits.max_calls_per_connection", "max-calls-per-connection", count(1, 1 << 20), "256",
        "Most calls at once on one connection"),
    setting("limits.stream_window", "stream-window", count(1, 1 << 16), "256",
        "Most messages of one stream that are in the works or not yet read by the caller"),
    setting("limits.call_timeout_s", "call-timeout-s", perhaps(1.0, HOUR), "300",
        "Longest time a call other than a stream may take, in seconds; callers can ask for less; 0 for no limit"),
    setting("limits.greeting_timeout_s", "greeting-timeout-s", seconds(0.1, HOUR), "20",
        "Longest time for a client to say that it speaks HTTP/2, TLS included, in seconds"),
    setting("limits.keepalive_interval_s", "keepalive-interval-s", seconds(1.0, HOUR), "30",
        "A connection that was silent for so many seconds is asked whether anyone is there"),
    setting("limits.keepalive_timeout_s", "keepalive-timeout-s", seconds(1.0, HOUR), "20",
        "A connection on which nobody answers for so many seconds is closed"),
    setting("limits.max_connection_age_s", "max-connection-age-s", perhaps(1.0, 168.0 * HOUR), "3600",
        "A connection that is so many seconds old takes no more calls, so that clients spread anew; 0 for any age"),
    setting("limits.max_connection_age_grace_s", "max-connection-age-grace-s", perhaps(1.0, 168.0 * HOUR), "0",
        "Its calls may go on for so many seconds more; 0 for as long as they like"),
    setting("limits.max_resets", "max-resets", count(1, 1 << 16), "64",
        "Most calls of one connection that were reset and not yet cleared away; above it the connection is closed"),
    setting("limits.queue_messages", "queue-messages", count(1024, 1 << 24), "16384",
        "Most messages that are accepted and not yet answered; bulk may have seven in eight of them"),
    setting("limits.queue_bytes", "queue-bytes", count(1 << 20, 1 << 34), "83886080",
        "Most bytes of text that are accepted and not yet answered; bulk may have seven in eight of them"),
    setting("limits.interactive_wait_s", "interactive-wait-s", seconds(0.01, HOUR), "10",
        "An interactive call that would wait longer than so many seconds is refused as it comes in"),
    setting("limits.bulk_wait_s", "bulk-wait-s", seconds(0.01, HOUR), "60",
        "The same for a call in the bulk lane; streams are slowed down instead"),
    setting("limits.batch_time_s", "batch-time-s", seconds(0.001, 1.0), "0.008",
        "What is read together takes about so many seconds: interactive work waits at most that long for a core"),
    setting("model.path", "model", Kind::Text, "", "Directory of the model; empty for the one that comes with the program"),
    setting("model.precision", "precision", Kind::Choice(&["int8", "f32"]), "int8", "Arithmetic of the model's layers"),
    setting("model.kernel", "kernel", Kind::Choice(&["tiles", "vnni", "vectors", "portable"]), "",
        "What does the int8 products; empty for the fastest that this CPU has"),
    setting("routing.policy", "policy", Kind::File, "",
        "File of a routing policy, TOML; verdicts say then where each message goes (see `klankbord route`)"),
    setting("feedback.folder", "feedback-folder", Kind::Folder, "",
        "Folder to keep corrections of verdicts in, as JSON lines to train on; empty to take none"),
    setting("feedback.max_file_bytes", "feedback-max-file-bytes", count(1 << 10, 1 << 40), "67108864",
        "A file of corrections that would grow above so many bytes makes place for a new one"),
    setting("kpi.time_zone", "time-zone", Kind::Zone, "Europe/Amsterdam",
        "Where an hour of the week is what it is, to tell a crisis from a busy hour; of the IANA database"),
    setting("kpi.history", "history", Kind::Text, "",
        "File to remember counts by the hour in, so that a crisis is told from a busy hour after a restart too"),
    setting("telemetry.log_format", "log-format", Kind::Choice(&["auto", "human", "json"]), "auto",
        "How to write the log, which goes to standard error"),
    setting("telemetry.otlp_endpoint", "otlp-endpoint", Kind::Text, "",
        "Where to send traces, by OTLP over gRPC, such as http://localhost:4317; empty for nowhere"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_keys_are_in_sections() {
        for (at, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(setting.key.matches('.').count(), 1, "{}", setting.key);
            for other in &SETTINGS[at + 1..] {
                assert!(setting.key != other.key && setting.flag != other.flag);
            }
        }
        let variable = Setting::find("limits.max_calls").unwrap().variable();
        assert_eq!(variable, "KLANKBORD_MAX_CALLS");
    }
}
