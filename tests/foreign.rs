//! Another language's client against the real binary: what Python reads off the wire is, to the
//! last bit, what `klankbord classify --json` prints for the same messages.
//!
//! Needs Python with the packages of `tests/foreign/requirements.txt`; `KLANKBORD_PYTHON` names the
//! interpreter (`python3` unless set). Without them the test says so and passes, unless
//! `KLANKBORD_REQUIRE_FOREIGN=1`.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::TEXTS;

const BINARY: &str = env!("CARGO_BIN_EXE_klankbord");
/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: u64 = 3;

/// The server; it goes when the test does, however that ends.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An interpreter that has what the client needs, or why there is none.
fn python() -> Result<String, String> {
    let python = std::env::var("KLANKBORD_PYTHON").unwrap_or_else(|_| "python3".into());
    let needs = "import grpc, grpc_tools.protoc, grpc_health.v1.health_pb2, google.rpc.status_pb2";
    match Command::new(&python).args(["-c", needs]).output() {
        Ok(run) if run.status.success() => Ok(python),
        Ok(_) => Err(format!("{python} lacks packages of tests/foreign/requirements.txt")),
        Err(error) => Err(format!("{python} cannot be started: {error}")),
    }
}

fn ask(python: &str, address: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut client = Command::new(python)
        .arg(root.join("tests/foreign/client.py"))
        .arg(address)
        .arg(root.join("proto"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let texts = serde_json::to_vec(&TEXTS).unwrap();
    client.stdin.take().unwrap().write_all(&texts).unwrap();
    let run = client.wait_with_output().unwrap();
    assert!(run.status.success(), "the client failed");
    serde_json::from_slice(&run.stdout).unwrap()
}

/// What the command line prints for the same texts.
fn printed() -> Vec<Value> {
    let run = Command::new(BINARY).args(["classify", "--json"]).args(TEXTS).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let lines = String::from_utf8(run.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Compares all of a verdict but its id, numbers as the 32-bit floats that they are.
fn assert_same(path: &str, foreign: &Value, printed: &Value) {
    match (foreign, printed) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "id") {
                assert_same(&format!("{path}.{name}"), value, &printed[name]);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let single = |n: &serde_json::Number| (n.as_f64().unwrap() as f32).to_bits();
            assert_eq!(single(a), single(b), "{path}: {a} is not {b}");
        }
        (a, b) => assert_eq!(a, b, "{path}"),
    }
}

fn assert_refused(error: &Value, field: &str) {
    assert_eq!(error["code"], INVALID_ARGUMENT);
    assert_eq!(error["fields"], serde_json::json!([field]));
}

#[test]
fn a_python_client_reads_what_the_command_line_prints() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            let required = std::env::var("KLANKBORD_REQUIRE_FOREIGN").is_ok_and(|v| v == "1");
            assert!(!required, "{reason}");
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let server = Server::start();
    let found = ask(&python, &server.address);
    let printed = printed();
    assert_eq!(printed.len(), TEXTS.len());
    assert_eq!(found["health"], "SERVING");
    assert_refused(&found["unary_error"], "message.text");
    assert_refused(&found["batch"][0]["error"], "messages[0].text");
    assert_refused(&found["stream"][0]["error"], "message.text");
    assert_eq!(found["stream"][0]["id"], "invalid");
    assert_eq!(found["stream_ended"], true);

    for (index, printed) in printed.iter().enumerate() {
        assert_eq!(found["model"], printed["model"]);
        let streamed = &found["stream"][index + 1];
        assert_eq!(
            (&streamed["id"], &streamed["index"]),
            (&index.to_string().into(), &(index + 1).into())
        );
        let ways = [
            ("unary", &found["unary"][index]),
            ("batch", &found["batch"][index + 1]["verdict"]),
            ("stream", &streamed["verdict"]),
        ];
        for (way, foreign) in ways {
            assert_eq!(foreign["id"], index.to_string());
            assert_eq!(foreign["intents"].as_object().map(|intents| intents.len()), Some(4));
            assert_same(&format!("{way}[{index}]"), foreign, printed);
        }
    }
}

#[test]
fn tables_of_pyarrow_are_counted_and_it_reads_the_counts() {
    let needs = "import pyarrow.parquet";
    let python = std::env::var("KLANKBORD_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", needs]).output();
    if !has.is_ok_and(|run| run.status.success()) {
        let required = std::env::var("KLANKBORD_REQUIRE_FOREIGN").is_ok_and(|v| v == "1");
        assert!(!required, "{python} lacks pyarrow");
        eprintln!("skipped: {python} lacks pyarrow");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/tables.py");
    let run = Command::new(python).arg(script).arg(BINARY).arg(folder.path()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let told: Value = serde_json::from_slice(&run.stdout).unwrap();
    let found = told["found"].as_object().unwrap();
    assert_eq!(found.len(), 4);
    for (name, found) in found {
        assert_eq!(found, &told["expected"], "{name}");
    }
}
