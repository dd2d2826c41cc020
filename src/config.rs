//! Configuration of the server: typed, and checked before anything binds.
//!
//! A [`ServerConfig`] is valid by construction, so that whoever holds one need not look at it
//! again. This module depends on the domain's limits only.

use std::time::Duration;

use crate::message::{MAX_ID_BYTES, MAX_TEXT_BYTES};

/// The largest message there can be has to fit in a request: text, context, id, and some room for
/// the other fields and the framing.
const MIN_REQUEST_BYTES: usize = 2 * MAX_TEXT_BYTES + MAX_ID_BYTES + 1024;
const MAX_REQUEST_BYTES: usize = 1 << 30;
const MAX_STREAM_WINDOW: usize = 1 << 16;
const MAX_CALLS: usize = 1 << 20;
const MAX_DRAIN: Duration = Duration::from_secs(3600);

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {given}; it must be from {least} to {most}")]
pub struct ConfigError {
    /// The setting, as the command line spells it.
    pub setting: &'static str,
    /// What was given.
    pub given: u64,
    /// The least that is accepted.
    pub least: u64,
    /// The most that is accepted.
    pub most: u64,
}

/// How the server treats its callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    max_request_bytes: usize,
    stream_window: usize,
    max_calls: usize,
    drain_timeout: Duration,
    call_timeout: Option<Duration>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_request_bytes: 16 << 20,
            stream_window: 256,
            max_calls: 1024,
            drain_timeout: Duration::from_secs(30),
            call_timeout: None,
        }
    }
}

impl ServerConfig {
    /// HTTP/2 pings on a connection that has been silent for so long. A client that is gone without
    /// a word is found out by it.
    pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
    /// A connection is closed when a ping is not answered within this time.
    pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
    /// A connection is closed when its client has not said within this time that it speaks HTTP/2.
    pub const GREETING_TIMEOUT: Duration = Duration::from_secs(20);

    /// Sets the most bytes of one encoded request (or one request of a stream).
    ///
    /// # Errors
    /// [`ConfigError`] where the largest valid message would not fit, or above 1 GiB.
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Result<Self, ConfigError> {
        let bounds = (MIN_REQUEST_BYTES, MAX_REQUEST_BYTES);
        self.max_request_bytes = within("max-request-bytes", bytes, bounds)?;
        Ok(self)
    }

    /// Sets how many messages of one stream may be in the works, or wait to be read by the caller,
    /// before the server stops reading from that stream.
    ///
    /// # Errors
    /// [`ConfigError`] where it is 0 or above 65,536.
    pub fn with_stream_window(mut self, messages: usize) -> Result<Self, ConfigError> {
        self.stream_window = within("stream-window", messages, (1, MAX_STREAM_WINDOW))?;
        Ok(self)
    }

    /// Sets how many calls the server works on at once, over all connections; a call above it is
    /// answered with RESOURCE_EXHAUSTED before its request is read.
    ///
    /// # Errors
    /// [`ConfigError`] where it is 0 or above 1,048,576.
    pub fn with_max_calls(mut self, calls: usize) -> Result<Self, ConfigError> {
        self.max_calls = within("max-calls", calls, (1, MAX_CALLS))?;
        Ok(self)
    }

    /// Sets how long calls that were accepted may go on once shutdown has begun.
    ///
    /// # Errors
    /// [`ConfigError`] where it is above an hour.
    pub fn with_drain_timeout(mut self, timeout: Duration) -> Result<Self, ConfigError> {
        if timeout > MAX_DRAIN {
            return Err(ConfigError {
                setting: "drain-timeout-s",
                given: timeout.as_secs(),
                least: 0,
                most: MAX_DRAIN.as_secs(),
            });
        }
        self.drain_timeout = timeout;
        Ok(self)
    }

    /// Sets how long a unary call may take when its caller sets no shorter deadline. `None` leaves
    /// it to the callers. Streams are not bound by it.
    ///
    /// # Errors
    /// [`ConfigError`] where it is under a second: no batch could be answered.
    pub fn with_call_timeout(mut self, timeout: Option<Duration>) -> Result<Self, ConfigError> {
        if let Some(timeout) = timeout.filter(|t| t.as_secs() == 0 || *t > MAX_DRAIN) {
            return Err(ConfigError {
                setting: "call-timeout-s",
                given: timeout.as_secs(),
                least: 1,
                most: MAX_DRAIN.as_secs(),
            });
        }
        self.call_timeout = timeout;
        Ok(self)
    }

    /// The most bytes of one encoded request.
    pub fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    /// Messages of one stream that may be in the works or unread.
    pub fn stream_window(&self) -> usize {
        self.stream_window
    }

    /// Calls that the server works on at once.
    pub fn max_calls(&self) -> usize {
        self.max_calls
    }

    /// How long accepted calls may go on once shutdown has begun.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// How long a unary call may take.
    pub fn call_timeout(&self) -> Option<Duration> {
        self.call_timeout
    }
}

fn within(
    setting: &'static str,
    given: usize,
    (least, most): (usize, usize),
) -> Result<usize, ConfigError> {
    if (least..=most).contains(&given) {
        return Ok(given);
    }
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Err(ConfigError { setting, given: wide(given), least: wide(least), most: wide(most) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_held_to_their_bounds() {
        let config = ServerConfig::default;
        let defaults = config();
        assert_eq!(config().with_stream_window(defaults.stream_window()), Ok(config()));
        assert_eq!(config().with_max_request_bytes(defaults.max_request_bytes()), Ok(config()));

        let refused = config().with_stream_window(0).unwrap_err();
        assert_eq!(refused.to_string(), "stream-window is 0; it must be from 1 to 65536");
        assert!(config().with_stream_window(MAX_STREAM_WINDOW).is_ok());
        assert!(config().with_stream_window(MAX_STREAM_WINDOW + 1).is_err());
        assert!(config().with_max_request_bytes(MIN_REQUEST_BYTES).is_ok());
        assert!(config().with_max_request_bytes(MIN_REQUEST_BYTES - 1).is_err());
        assert!(config().with_max_request_bytes(MAX_REQUEST_BYTES + 1).is_err());
        assert!(config().with_max_calls(0).is_err());
        assert!(config().with_drain_timeout(Duration::ZERO).is_ok());
        assert!(config().with_drain_timeout(MAX_DRAIN + Duration::from_secs(1)).is_err());
        assert!(config().with_call_timeout(Some(Duration::from_millis(999))).is_err());
        assert!(config().with_call_timeout(Some(Duration::from_secs(1))).is_ok());
    }
}
