//! A server to call, in a process of its own or in this one, and what the system says of a process.
//!
//! May depend on the crate's public items, its `rpc` and tokio. Not every bench uses all of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::ValueEnum as _;
use klankbord::config::ServerConfig;
use klankbord::model::kernel::Kernel;
use klankbord::pipeline::Pipeline;
use klankbord::rpc;
use klankbord::rpc::pb::classifier_client::ClassifierClient;
use tokio::net::TcpListener;
use tonic::transport::Channel;

/// What calls it.
pub type Client = ClassifierClient<Channel>;

/// A server; its process, if it has one, ends with this.
pub struct Server {
    address: String,
    child: Option<Child>,
    log: Option<JoinHandle<Vec<String>>>,
}

impl Server {
    /// `klankbord serve` with its settings as they are. Its log is written, to nowhere.
    pub fn start(kernel: Kernel) -> Self {
        Self::start_with_log(kernel, Stdio::null())
    }

    /// The same; its log is kept for [`Server::ended`].
    pub fn start_logged(kernel: Kernel) -> Self {
        Self::start_with_log(kernel, Stdio::piped())
    }

    fn start_with_log(kernel: Kernel, log: Stdio) -> Self {
        let kernel = kernel.to_possible_value().expect("a kernel has a name");
        let mut child = Command::new(env!("CARGO_BIN_EXE_klankbord"))
            .args(["--precision", "int8", "--kernel", kernel.get_name(), "--model"])
            .arg(crate::support::messages::model())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        // Read as it comes: a pipe holds little.
        let log = child.stderr.take().map(|log| {
            std::thread::spawn(move || BufReader::new(log).lines().map_while(Result::ok).collect())
        });
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("the server says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Server { address, child: Some(child), log }
    }

    /// One in this process, around `pipeline`: for a profiler, say.
    pub async fn start_here(pipeline: Pipeline) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let forever = std::future::pending();
        tokio::spawn(rpc::run(listener, pipeline.into(), ServerConfig::default(), forever));
        Server { address, child: None, log: None }
    }

    /// What is said of where it runs.
    pub fn place(&self) -> &'static str {
        match self.child {
            Some(_) => "a server in a process of its own",
            None => "a server in the client's process",
        }
    }

    /// So many connections.
    pub async fn connect(&self, count: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let endpoint = Channel::from_shared(format!("http://{}", self.address));
            let channel = endpoint.expect("an address").connect().await;
            clients.push(ClassifierClient::new(channel.expect("the server answers")));
        }
        clients
    }

    /// Resident memory: now, and the most so far. `None` where the system does not say.
    pub fn memory(&self) -> Option<Memory> {
        let path = format!("/proc/{}/status", self.process());
        let status = std::fs::read_to_string(path).ok()?;
        let mib = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
        };
        Some(Memory { now: mib("VmRSS:")?, most: mib("VmHWM:")? })
    }

    /// Tells it to stop, as a supervisor would.
    pub fn terminate(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.process()]).status();
        assert!(told.expect("there is kill").success());
    }

    /// Waits for its end: whether it was a good one, and its calls by code, as its log has them.
    pub fn ended(mut self) -> (bool, BTreeMap<String, usize>) {
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        let lines = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        let mut calls = BTreeMap::new();
        for line in lines {
            let event: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
            if event["message"] == "call" {
                let code = event["code"].as_str().unwrap_or_default().to_owned();
                *calls.entry(code).or_default() += 1;
            }
        }
        (status.is_some_and(|status| status.success()), calls)
    }

    fn process(&self) -> String {
        self.child.as_ref().map_or_else(|| "self".into(), |child| child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// In MiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub now: f64,
    pub most: f64,
}

/// CPU time that this process has used, all threads together. Zero where the system does not say.
pub fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold blanks; user and system time are the 12th and 13th after it,
    // in hundredths of a second whatever the kernel's own clock (proc(5), USER_HZ).
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
