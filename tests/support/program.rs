//! The program itself, as an operator runs it: started, signalled, looked at.
//!
//! Not every test file uses all of it.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use klankbord::rpc::pb::classifier_client::ClassifierClient;
use tonic::transport::Channel;

/// A client of the program.
pub type Client = ClassifierClient<Channel>;

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klankbord"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KLANKBORD_")) {
        command.env_remove(name);
    }
    command
}

/// A server of its own, killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
    pub admin: String,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    pub fn start_at(address: &str, arguments: &[&str]) -> Self {
        let mut child = program()
            .args(["serve", "--listen", address, "--admin-listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut after = |words: &str| {
            let line = lines.next().expect("the server starts").unwrap();
            line.strip_prefix(words).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let address = after("listening on ");
        let admin = after("metrics and probes on ");
        Server { child, address, admin }
    }

    pub async fn client(&self) -> Client {
        ClassifierClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Status and body of a page.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Value of a metric, all of whose `labels` are there; 0 where there is none.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, page) = self.get("/metrics");
        let found = page.lines().filter(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|l| line.contains(l))
        });
        found.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
