//! Traces end up at a collector, under the caller's own: the program, and a collector in this process.

#![cfg(unix)]

#[path = "support/program.rs"]
mod program;

use std::time::Duration;

use klankbord::rpc::pb;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use program::Server as Program;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const SECRET: &str = "kanarie-geheim-4711";

struct Collector(UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_span_below_its_callers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = listener.local_addr().unwrap();
    let (send, mut exported) = unbounded_channel();
    let service = TraceServiceServer::new(Collector(send));
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)),
    );

    let mut server = Program::start(&["--otlp-endpoint", &format!("http://{collector}")]);
    let mut client = server.client().await;
    let message = pb::Message { text: SECRET.into(), ..Default::default() };
    let mut request =
        Request::new(pb::ClassifyRequest { message: Some(message), ..Default::default() });
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    client.classify(request).await.unwrap();
    drop(client);
    // What is left is sent when the server stops.
    server.signal("-TERM");
    let ended = tokio::task::spawn_blocking(move || server.child.wait());
    assert!(ended.await.unwrap().unwrap().success());

    let export = tokio::time::timeout(Duration::from_secs(20), exported.recv()).await;
    let export = export.unwrap().unwrap();
    assert!(!format!("{export:?}").contains(SECRET));
    let scopes = export.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let spans: Vec<_> = scopes.flat_map(|scope| &scope.spans).collect();
    let [span] = spans[..] else { panic!("{spans:?}") };
    assert_eq!(span.name, "klankbord.v1.Classifier/Classify");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    let attribute = |key: &str| {
        let found = span.attributes.iter().find(|attribute| attribute.key == key);
        found.and_then(|attribute| attribute.value.as_ref()?.value.clone())
    };
    let text = |text: &str| Some(Value::StringValue(text.into()));
    assert_eq!(attribute("rpc.response.status_code"), text("OK"));
    assert_eq!(attribute("rpc.system.name"), text("grpc"));
    assert_eq!(attribute("klankbord.messages"), Some(Value::IntValue(1)));
}
