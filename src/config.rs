//! Configuration of the server: typed, and checked as a whole before anything binds.
//!
//! [`Values`] are what was given, by file, environment and command line; [`ServerConfig`] is what they mean, valid
//! by construction, so that whoever holds one need not look at it again. All that is wrong is said at once.
//! This module depends on the domain's limits only.

mod settings;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use settings::{Kind, OF_THE_MODEL, SETTINGS, Setting};
pub use values::{Problem, Problems, Source, Value, Values};

/// How the server may be reached over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate and those above it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// What must have signed a client's certificate, PEM.
    pub client_ca: Option<PathBuf>,
}

/// How the server treats its callers. What each field is for stands in [`SETTINGS`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub drain_timeout: Duration,
    pub tls: Option<Tls>,
    pub tokens: Option<PathBuf>,
    pub admin_listen: Option<SocketAddr>,
    pub max_request_bytes: usize,
    pub max_header_bytes: u32,
    pub max_connections: usize,
    pub max_calls: usize,
    pub max_calls_per_connection: u32,
    pub stream_window: usize,
    pub call_timeout: Option<Duration>,
    pub greeting_timeout: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    pub max_connection_age: Option<Duration>,
    pub max_connection_age_grace: Option<Duration>,
    pub max_resets: usize,
    pub queue_messages: usize,
    pub queue_bytes: usize,
    pub interactive_wait: Duration,
    pub bulk_wait: Duration,
    pub batch_time: Duration,
    pub model: Option<PathBuf>,
    pub precision: String,
    pub kernel: Option<String>,
    pub policy: Option<PathBuf>,
    pub feedback_folder: Option<PathBuf>,
    pub feedback_max_file_bytes: u64,
    pub time_zone: String,
    pub history: Option<PathBuf>,
    pub log_format: String,
    pub otlp_endpoint: Option<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self::new(&Values::default()).unwrap_or_else(|problems| unreachable!("{problems}"))
    }
}

impl ServerConfig {
    /// The configuration that values mean.
    ///
    /// # Errors
    /// [`Problems`]: everything that is wrong.
    pub fn new(values: &Values) -> Result<Self, Problems> {
        let mut check = Check { values, problems: Vec::new() };
        let certificate = check.path("tls.certificate");
        let key = check.path("tls.key");
        let client_ca = check.path("tls.client_ca");
        let insecure = check.get("server.insecure").text == "true";
        let listen = check.address("server.listen");
        let admin_listen = check.address("admin.listen");
        if certificate.is_some() != key.is_some() {
            check.say("tls.certificate and tls.key must be given together");
        }
        if client_ca.is_some() && certificate.is_none() {
            check.say(
                "tls.client_ca asks clients for certificates, but there is no tls.certificate",
            );
        }
        if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback())
            && certificate.is_none()
            && !insecure
        {
            check.say(&format!(
                    "server.listen is {listen}, where others can read along: give tls.certificate and tls.key, \
                     or server.insecure = true"
                ));
        }
        if certificate.is_some() && insecure {
            check.say("server.insecure goes against tls.certificate");
        }
        if listen.is_some_and(|listen| listen.port() != 0 && Some(listen) == admin_listen) {
            check.say("server.listen and admin.listen are the same");
        }
        let max_connection_age = check.perhaps("limits.max_connection_age_s");
        let max_connection_age_grace = check.perhaps("limits.max_connection_age_grace_s");
        if max_connection_age_grace.is_some() && max_connection_age.is_none() {
            check.say("limits.max_connection_age_grace_s is of no use without limits.max_connection_age_s");
        }
        let stream_window = check.count("limits.stream_window");
        let queue_messages = check.count("limits.queue_messages");
        if stream_window > queue_messages - queue_messages / 8 {
            check.say("limits.stream_window is more than limits.queue_messages has room for");
        }
        let config = ServerConfig {
            listen: listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
            drain_timeout: check.seconds("server.drain_timeout_s"),
            tls: certificate.zip(key).map(|(certificate, key)| Tls { certificate, key, client_ca }),
            tokens: check.path("auth.tokens"),
            admin_listen,
            max_request_bytes: check.count("limits.max_request_bytes"),
            max_header_bytes: check.narrow("limits.max_header_bytes"),
            max_connections: check.count("limits.max_connections"),
            max_calls: check.count("limits.max_calls"),
            max_calls_per_connection: check.narrow("limits.max_calls_per_connection"),
            stream_window,
            call_timeout: check.perhaps("limits.call_timeout_s"),
            greeting_timeout: check.seconds("limits.greeting_timeout_s"),
            keepalive_interval: check.seconds("limits.keepalive_interval_s"),
            keepalive_timeout: check.seconds("limits.keepalive_timeout_s"),
            max_connection_age,
            max_connection_age_grace,
            max_resets: check.count("limits.max_resets"),
            queue_messages,
            queue_bytes: check.count("limits.queue_bytes"),
            interactive_wait: check.seconds("limits.interactive_wait_s"),
            bulk_wait: check.seconds("limits.bulk_wait_s"),
            batch_time: check.seconds("limits.batch_time_s"),
            model: check.text("model.path").map(PathBuf::from),
            precision: check.text("model.precision").unwrap_or_default(),
            kernel: check.text("model.kernel"),
            policy: check.path("routing.policy"),
            feedback_folder: check.path("feedback.folder"),
            feedback_max_file_bytes: u64::try_from(check.count("feedback.max_file_bytes"))
                .unwrap_or(u64::MAX),
            time_zone: check.text("kpi.time_zone").unwrap_or_default(),
            history: check.path("kpi.history"),
            log_format: check.text("telemetry.log_format").unwrap_or_default(),
            otlp_endpoint: check.text("telemetry.otlp_endpoint"),
        };
        check.all_values();
        if check.problems.is_empty() { Ok(config) } else { Err(Problems(check.problems)) }
    }

    /// The configuration that differs from the default by these, given as key and value.
    ///
    /// # Errors
    /// [`Problems`]: everything that is wrong, keys that there are not among them.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Problems> {
        let (mut values, mut unknown) = (Values::default(), Vec::new());
        for (key, value) in pairs {
            match Setting::find(key) {
                Some(setting) => values.set(setting, value.to_owned(), Source::Flag(setting.flag)),
                None => unknown
                    .push(Problem { source: None, what: format!("there is no setting {key}") }),
            }
        }
        if unknown.is_empty() { Self::new(&values) } else { Err(Problems(unknown)) }
    }
}

/// The effective configuration as a file, where each value comes from behind it.
pub fn shown(values: &Values) -> String {
    let (mut shown, mut section) = (String::new(), "");
    for setting in SETTINGS {
        let Some((own, name)) = setting.key.split_once('.') else { continue };
        if own != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            shown.push_str(&format!("{gap}[{own}]\n"));
            section = own;
        }
        let Value { text, source } = values.get(setting);
        let text = match setting.kind {
            Kind::Switch | Kind::Count { .. } | Kind::Seconds { .. } => text,
            _ => toml::Value::String(text).to_string(),
        };
        shown.push_str(&format!("{name} = {text}  # {source}\n"));
    }
    shown
}

/// Reads values, and keeps what is wrong with them. Where one is wrong something else stands for it until all
/// are looked at.
struct Check<'a> {
    values: &'a Values,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn say(&mut self, what: &str) {
        self.problems.push(Problem { source: None, what: what.to_owned() });
    }

    fn get(&self, key: &str) -> Value {
        Setting::find(key).map_or_else(
            || unreachable!("the code asks for a setting that there is not: {key}"),
            |setting| self.values.get(setting),
        )
    }

    fn text(&self, key: &str) -> Option<String> {
        Some(self.get(key).text).filter(|text| !text.is_empty())
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn address(&self, key: &str) -> Option<SocketAddr> {
        self.get(key).text.parse().ok()
    }

    fn count(&self, key: &str) -> usize {
        self.get(key).text.parse().unwrap_or(1)
    }

    fn narrow(&self, key: &str) -> u32 {
        self.get(key).text.parse().unwrap_or(1)
    }

    fn seconds(&self, key: &str) -> Duration {
        let seconds = self.get(key).text.parse().unwrap_or(0.0);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn perhaps(&self, key: &str) -> Option<Duration> {
        Some(self.seconds(key)).filter(|seconds| !seconds.is_zero())
    }

    /// Holds each value against its kind.
    fn all_values(&mut self) {
        for setting in SETTINGS {
            let Value { text, source } = self.values.get(setting);
            if let Err(wanted) = is_of_kind(setting.kind, &text) {
                let what = format!("{} is {text:?}; it must be {wanted}", setting.key);
                self.problems.push(Problem { source: Some(source), what });
            }
        }
    }
}

/// Whether a value is of a kind; what it must be where it is not.
fn is_of_kind(kind: Kind, text: &str) -> Result<(), String> {
    let (right, wanted) = match kind {
        Kind::Text => return Ok(()),
        Kind::Address { optional } => (
            optional && text.is_empty() || text.parse::<SocketAddr>().is_ok(),
            "an address and a port, such as 127.0.0.1:50051".to_owned(),
        ),
        Kind::Switch => (["true", "false"].contains(&text), "true or false".to_owned()),
        Kind::Count { least, most } => (
            text.parse::<u64>().is_ok_and(|count| (least..=most).contains(&count)),
            format!("a whole number from {least} to {most}"),
        ),
        Kind::Seconds { least, most, optional } => (
            text.parse::<f64>()
                .is_ok_and(|given| (least..=most).contains(&given) || optional && given == 0.0),
            format!("from {least} to {most}{}", if optional { ", or 0" } else { "" }),
        ),
        Kind::File => (
            text.is_empty() || std::fs::metadata(text).is_ok_and(|file| file.is_file()),
            "a file that there is".to_owned(),
        ),
        Kind::Folder => (
            text.is_empty() || std::fs::metadata(text).is_ok_and(|folder| folder.is_dir()),
            "a folder that there is".to_owned(),
        ),
        Kind::Zone => (
            jiff::tz::TimeZone::get(text).is_ok(),
            "a time zone, such as Europe/Amsterdam".to_owned(),
        ),
        Kind::Choice(choices) => {
            (text.is_empty() || choices.contains(&text), format!("one of {}", choices.join(", ")))
        }
    };
    if right { Ok(()) } else { Err(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let found = ServerConfig::of(pairs.iter().copied());
        let Err(Problems(problems)) = found else { panic!("{pairs:?} is taken for right") };
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_are_right_and_show_themselves() {
        assert_eq!(ServerConfig::of([]).unwrap(), ServerConfig::default());
        let shown = shown(&Values::default());
        assert!(shown.contains("[server]\nlisten = \"127.0.0.1:50051\"  # default\n"), "{shown}");
        let mut values = Values::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &shown).unwrap();
        assert_eq!(values.read(file.path()), [], "what is shown can be read");
        assert_eq!(ServerConfig::new(&values).unwrap(), ServerConfig::default());
    }

    #[test]
    fn every_bad_value_is_named_with_where_it_was_given() {
        let found = problems(&[
            ("limits.stream_window", "0"),
            ("limits.call_timeout_s", "0.5"),
            ("limits.batch_time_s", "NaN"),
            ("limits.max_request_bytes", "1000"),
            ("limits.queue_messages", "1e3"),
            ("server.listen", "localhost"),
            ("server.insecure", "yes"),
            ("telemetry.log_format", "xml"),
            ("auth.tokens", "/nowhere/tokens"),
            ("kpi.time_zone", "Europe/Nergens"),
        ]);
        assert_eq!(found.len(), 10, "{found:#?}");
        let window = "--stream-window: limits.stream_window is \"0\"; it must be a whole number from 1 to 65536";
        assert!(found.contains(&window.to_owned()), "{found:#?}");
        assert!(found.iter().any(|p| p.contains("from 1 to 3600, or 0")), "{found:#?}");
        assert!(found.iter().any(|p| p.ends_with("it must be a file that there is")), "{found:#?}");
    }

    #[test]
    fn settings_that_go_against_each_other_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (pairs, complaint) in [
            (&[("tls.certificate", path)][..], "given together"),
            (&[("tls.client_ca", path)], "there is no tls.certificate"),
            (&[("server.listen", "0.0.0.0:1")], "others can read along"),
            (
                &[("tls.certificate", path), ("tls.key", path), ("server.insecure", "true")],
                "goes against",
            ),
            (&[("admin.listen", "127.0.0.1:50051")], "are the same"),
            (
                &[("limits.max_connection_age_s", "0"), ("limits.max_connection_age_grace_s", "5")],
                "of no use without",
            ),
            (&[("limits.stream_window", "1000"), ("limits.queue_messages", "1024")], "room for"),
        ] {
            let found = problems(pairs);
            assert!(found.len() == 1 && found[0].contains(complaint), "{found:?}");
        }
        let open = ServerConfig::of([("server.listen", "0.0.0.0:1"), ("server.insecure", "true")]);
        assert!(open.is_ok());
        let sure = [("server.listen", "0.0.0.0:1"), ("tls.certificate", path), ("tls.key", path)];
        assert!(ServerConfig::of(sure).is_ok());
        assert!(problems(&[("limits.nothing", "1")])[0].contains("there is no setting"));
    }
}
