//! Who comes in: TLS, clients' certificates, bearer tokens, rates. Over TCP, with certificates made for the test.

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use klankbord::bearer;
use klankbord::config::ServerConfig;
use klankbord::rpc::pb::classifier_client::ClassifierClient;
use klankbord::rpc::{Guard, pb};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Running, TEXTS, item, message};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

/// An authority, and a folder with what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { issuer, folder: tempfile::tempdir().unwrap() };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority.sign("server");
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for localhost and leaves it and its key in the folder.
    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn config(&self, more: &[(&'static str, PathBuf)]) -> ServerConfig {
        let mut pairs = vec![
            ("tls.certificate", self.path("server.pem")),
            ("tls.key", self.path("server.key")),
        ];
        pairs.extend_from_slice(more);
        let pairs: Vec<_> =
            pairs.iter().map(|(key, path)| (*key, path.to_str().unwrap().to_owned())).collect();
        ServerConfig::of(pairs.iter().map(|(key, path)| (*key, path.as_str()))).unwrap()
    }

    /// A client that trusts this authority, with a certificate of its own where `name` says one.
    async fn connect(&self, server: &Running, name: Option<&str>) -> Result<Channel, String> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.issuer.pem()))
            .domain_name("localhost");
        if let Some(name) = name {
            let read = |end: &str| std::fs::read(self.path(&format!("{name}.{end}"))).unwrap();
            tls = tls.identity(Identity::from_pem(read("pem"), read("key")));
        }
        let endpoint = Channel::from_shared(format!("https://{}", server.address)).unwrap();
        let endpoint = endpoint.tls_config(tls).map_err(|error| error.to_string())?;
        endpoint.connect().await.map_err(|error| error.to_string())
    }
}

async fn ask(channel: Channel, token: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(pb::ClassifyRequest {
        message: Some(message("", TEXTS[0])),
        spans: false,
        lane: 0,
    });
    if let Some(token) = token {
        let header = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", header);
    }
    ClassifierClient::new(channel).classify(request).await.map(|_| ())
}

#[tokio::test]
async fn over_tls_and_no_other_way() {
    let authority = Authority::new();
    let server = Running::start(authority.config(&[])).await;
    ask(authority.connect(&server, None).await.unwrap(), None).await.unwrap();

    assert!(Authority::new().connect(&server, None).await.is_err(), "of another authority");
    // Plain HTTP/2 gets no answer that is one.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(answer.len() < 16, "an alert at most: {answer:?}");
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn with_an_authority_for_clients_strangers_stay_out() {
    let authority = Authority::new();
    authority.sign("client");
    let server =
        Running::start(authority.config(&[("tls.client_ca", authority.path("ca.pem"))])).await;
    ask(authority.connect(&server, Some("client")).await.unwrap(), None).await.unwrap();
    let other = Authority::new();
    other.sign("client");
    for end in ["pem", "key"] {
        let name = format!("stranger.{end}");
        std::fs::copy(other.path(&format!("client.{end}")), authority.path(&name)).unwrap();
    }
    for stranger in [None, Some("stranger")] {
        // The client may learn of it only when it first asks.
        let outcome = match authority.connect(&server, stranger).await {
            Ok(channel) => ask(channel, None).await.map_err(|status| status.to_string()),
            Err(error) => Err(error),
        };
        assert!(outcome.is_err(), "{stranger:?}");
    }
}

#[tokio::test]
async fn who_stops_in_the_middle_of_a_handshake_holds_nobody_up() {
    let authority = Authority::new();
    let server = Running::start(authority.config(&[])).await;
    let mut halting = TcpStream::connect(server.address).await.unwrap();
    // The head of a handshake record whose rest never comes.
    halting.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    let mute = TcpStream::connect(server.address).await.unwrap();
    ask(authority.connect(&server, None).await.unwrap(), None).await.unwrap();
    server.stop().await.unwrap().unwrap();
    drop((halting, mute));
}

#[tokio::test]
async fn a_new_certificate_is_used_from_the_next_connection_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let config = old.config(&[]);
    let guard = Guard::new(&config).unwrap();
    let server = Running::start_guarded(guard.clone(), config.clone()).await;
    let kept = old.connect(&server, None).await.unwrap();
    ask(kept.clone(), None).await.unwrap();

    std::fs::write(old.path("server.key"), "not a key").unwrap();
    assert!(guard.renew_certificates(&config).is_err());
    ask(old.connect(&server, None).await.unwrap(), None).await.unwrap();

    for name in ["server.pem", "server.key"] {
        std::fs::copy(new.path(name), old.path(name)).unwrap();
    }
    guard.renew_certificates(&config).unwrap();
    ask(new.connect(&server, None).await.unwrap(), None).await.unwrap();
    assert!(old.connect(&server, None).await.is_err());
    ask(kept, None).await.unwrap();
}

#[tokio::test]
async fn without_a_known_token_only_health_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let (token, line) = bearer::new_token("router").unwrap();
    std::fs::write(&tokens, &line).unwrap();
    let config = ServerConfig::of([("auth.tokens", tokens.to_str().unwrap())]).unwrap();
    let guard = Guard::new(&config).unwrap();
    let server = Running::start_guarded(guard.clone(), config.clone()).await;
    let channel = server.channel().await;

    ask(channel.clone(), Some(&token)).await.unwrap();
    for wrong in [None, Some(""), Some("kb_0"), Some(&token[..token.len() - 1])] {
        let refused = ask(channel.clone(), wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let model = ClassifierClient::new(channel.clone()).get_model(pb::GetModelRequest {}).await;
    assert_eq!(model.unwrap_err().code(), Code::Unauthenticated);
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();

    // Another file: one that is wrong changes nothing, one that is right counts from the next call on.
    std::fs::write(&tokens, "router nonsense").unwrap();
    assert!(guard.renew_tokens(&config).is_err());
    ask(channel.clone(), Some(&token)).await.unwrap();
    let (other, line) = bearer::new_token("kpi").unwrap();
    std::fs::write(&tokens, line).unwrap();
    assert_eq!(guard.renew_tokens(&config).unwrap(), 1);
    ask(channel.clone(), Some(&other)).await.unwrap();
    assert_eq!(ask(channel, Some(&token)).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_token_has_its_rate_and_a_stream_is_slowed_down_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let (token, line) = bearer::new_token("kpi").unwrap();
    std::fs::write(&tokens, format!("{line} 20")).unwrap();
    let config = ServerConfig::of([("auth.tokens", tokens.to_str().unwrap())]).unwrap();
    let server = Running::start(config).await;
    let channel = server.channel().await;
    let header: tonic::metadata::MetadataValue<_> = format!("bearer {token}").parse().unwrap();

    let mut request =
        Request::new(tokio_stream::iter((0..40).map(|n| item(&n.to_string(), TEXTS[5]))));
    request.metadata_mut().insert("authorization", header.clone());
    let begun = Instant::now();
    let mut client = ClassifierClient::new(channel.clone());
    let replies = client.classify_stream(request).await.unwrap().into_inner();
    let replies: Vec<_> = replies.map(|reply| support::verdict(reply.unwrap())).collect().await;
    assert_eq!(replies.len(), 40, "all of them");
    assert!(begun.elapsed() > Duration::from_millis(900), "20 at once, 20 in the next second");

    // An explanation costs as much as the readings that it takes.
    let explain = || {
        let label = Some(pb::explain_request::Label::Intent(pb::Intent::Question.into()));
        let mut request =
            Request::new(pb::ExplainRequest { message: Some(message("", TEXTS[0])), label });
        request.metadata_mut().insert("authorization", header.clone());
        request
    };
    while client.explain(explain()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while client.explain(explain()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = client.explain(explain()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "two of nine words each are 20 messages");

    // More than there can be at once is let in as a whole, and then waited for.
    let messages = vec![message("", TEXTS[5]); 100];
    let batch = |messages| {
        let mut request =
            Request::new(pb::ClassifyBatchRequest { messages, spans: false, lane: 0 });
        request.metadata_mut().insert("authorization", header.clone());
        request
    };
    while client.classify_batch(batch(messages.clone())).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = client.classify_batch(batch(messages)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::from_secs(2) && wait < Duration::from_secs(6), "{wait:?}");
}

#[test]
fn what_is_wrong_with_certificates_is_said_by_file() {
    let authority = Authority::new();
    let config = authority.config(&[]);
    std::fs::write(authority.path("server.pem"), "no certificate").unwrap();
    let Err(error) = Guard::new(&config) else { panic!("it is taken") };
    assert!(error.to_string().contains("server.pem"), "{error}");
}
