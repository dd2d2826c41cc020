//! What the tests of the service share: a server over real TCP, clients, messages.
//!
//! Not every test file uses all of it.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use klankbord::config::ServerConfig;
use klankbord::feedback::Store;
use klankbord::model::engine::Engine;
use klankbord::model::labels::Calibration;
use klankbord::pipeline::{Live, Pipeline};
use klankbord::route::Router;
use klankbord::rpc::pb::classifier_client::ClassifierClient;
use klankbord::rpc::{self, Guard, ServeError, Served, Serving, pb};
use klankbord::tokenise::Tokeniser;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Text that must never show up in a log or an error.
pub const CANARY: &str = "kanarie-geheim-4711";

/// Messages of our own making, Dutch and English.
pub const TEXTS: [&str; 6] = [
    "Hoe laat gaat de balie in Zwolle vandaag open?",
    "Al drie keer gebeld en nog steeds geen antwoord. Dit is echt waardeloos!",
    "Top geholpen door Sanne aan de telefoon, dank jullie wel!",
    "Your website says the last train leaves at 23:40, but that is wrong: it is 23:10.",
    "Is this a joke? Charged twice for one ticket and nobody picks up the phone.",
    "ok 👍",
];

/// A server in this process, over TCP.
pub struct Running {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<Served, ServeError>>,
}

impl Running {
    /// Starts one on a free port.
    pub async fn start(config: ServerConfig) -> Self {
        Self::start_with(Self::pipeline(), config).await
    }

    /// Starts one around another pipeline.
    pub async fn start_with(pipeline: impl Into<Live>, config: ServerConfig) -> Self {
        let guard = Guard::new(&config).unwrap();
        let router = config.policy.as_deref().map(|path| Router::read(path).unwrap());
        let most = config.feedback_max_file_bytes;
        let store = |folder: &Path| Arc::new(Store::open(folder, most).unwrap());
        let feedback = config.feedback_folder.as_deref().map(store);
        let live = pipeline.into();
        Self::start_whole(Serving { live, guard, router, feedback, sentinel: None }, config).await
    }

    /// Starts one with a guard that can be told to renew itself.
    pub async fn start_guarded(guard: Guard, config: ServerConfig) -> Self {
        let live = Self::pipeline().into();
        Self::start_whole(
            Serving { live, guard, router: None, feedback: None, sentinel: None },
            config,
        )
        .await
    }

    /// Starts one around another engine, which reads what the model that ships would.
    pub async fn around(engine: impl Engine + 'static, config: ServerConfig) -> Self {
        let info = Self::pipeline().model().clone();
        let (engine, labels) = (Arc::new(engine), Calibration::default());
        Self::start_with(Pipeline::start(engine, tokeniser(), labels, info).unwrap(), config).await
    }

    fn pipeline() -> Pipeline {
        static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
        PIPELINE.get_or_init(|| Pipeline::load(None).expect("the model loads")).clone()
    }

    async fn start_whole(serving: Serving, config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let served = tokio::spawn(rpc::run(listener, serving, config, shutdown));
        Self { address, stop, served }
    }

    /// A connection to it.
    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// A client on a connection of its own.
    pub async fn client(&self) -> ClassifierClient<Channel> {
        ClassifierClient::new(self.channel().await)
    }

    /// Begins the shutdown; await what comes back for its end.
    pub fn stop(self) -> JoinHandle<Result<Served, ServeError>> {
        self.stop.send(()).expect("the server runs");
        self.served
    }
}

/// The tokeniser of the model that ships.
pub fn tokeniser() -> Tokeniser {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/nl-en/tokenizer.json"));
    Tokeniser::new(&std::fs::read(path).unwrap(), path, 512).unwrap()
}

/// A server that would wait for ever for a call that does not end, so that a test which passes has
/// shown that it did end.
pub fn patient() -> ServerConfig {
    ServerConfig::of([("server.drain_timeout_s", "3600")]).unwrap()
}

/// A message with this id and text.
pub fn message(id: &str, text: impl Into<Vec<u8>>) -> pb::Message {
    pb::Message { id: id.into(), text: text.into(), ..Default::default() }
}

/// A request of a stream.
pub fn item(id: &str, text: impl Into<Vec<u8>>) -> pb::ClassifyStreamRequest {
    pb::ClassifyStreamRequest { message: Some(message(id, text)), spans: false, lane: 0 }
}

/// The verdict of a reply on a stream.
pub fn verdict(reply: pb::ClassifyStreamResponse) -> pb::Verdict {
    match reply.result {
        Some(pb::classify_stream_response::Result::Verdict(verdict)) => verdict,
        other => panic!("no verdict but {other:?}"),
    }
}
