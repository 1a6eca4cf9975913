//! Network namespaces that live exactly as long as a test.
//!
//! A namespace belongs to a thread and to nothing with a name: when the test ends, also by a panic
//! or by kill -9, the kernel removes it with its interfaces, and there is nothing to clean up.
#![expect(clippy::disallowed_methods, reason = "a namespace is a thread's; CI is asked for")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use common::sys::processes;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with nothing in it but loopback.
pub(crate) struct Namespace {
    jobs: mpsc::Sender<Job>,
    /// Names the namespace to `ip link … netns`.
    thread_id: i32,
}

impl Namespace {
    /// A new namespace, or nothing without root. In CI that is a failure: nobody reads a skip.
    pub(crate) fn new() -> Option<Self> {
        let (ready, is_ready) = mpsc::channel();
        let (jobs, todo) = mpsc::channel::<Job>();
        thread::spawn(move || {
            let left = processes::leave(processes::Namespace::Network);
            let _ = ready.send(left.is_ok().then(|| rustix::thread::gettid().as_raw_pid()));
            todo.into_iter().for_each(|job| job());
        });
        let Some(thread_id) = is_ready.recv().expect("the thread answers") else {
            assert!(std::env::var("CI").is_err(), "namespaces need root, and CI must not skip");
            println!("SKIPPED: needs root");
            return None;
        };
        let namespace = Self { jobs, thread_id };
        namespace.sh("ip link set lo up");
        Some(namespace)
    }

    /// Runs `job` inside. Sockets that it opens stay inside wherever they are used.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, is_done) = mpsc::channel();
        let job = Box::new(move || drop(result.send(job())));
        self.jobs.send(job).expect("the thread lives as long as this");
        is_done.recv().expect("the job did not panic")
    }

    /// Runs a shell command inside and returns what it prints.
    pub(crate) fn sh(&self, command: &str) -> String {
        let line = command.to_owned();
        let output = self.run(move || Command::new("sh").args(["-c", &line]).output());
        let output = output.expect("there is a shell");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Plugs `interface` of `host` into this namespace's bridge `br0`, as its port `port`, with the
    /// addresses 198.18.`net`.`number` and fd00::`net`:`number`.
    pub(crate) fn plug(&self, host: &Self, interface: &str, port: &str, net: u8, number: u8) {
        let peer = host.thread_id;
        self.sh(&format!("ip link add {port} type veth peer name {interface} netns {peer}"));
        self.sh(&format!("ip link set {port} addrgenmode none master br0 up"));
        host.sh(&format!(
            "ip link set {interface} addrgenmode none up && \
             ip addr add 198.18.{net}.{number}/24 dev {interface} && \
             ip addr add fe80::{net}:{number}/64 dev {interface} nodad && \
             ip addr add fd00::{net}:{number}/112 dev {interface} nodad"
        ));
        // The kernel looks at changed links once a second, and a port forwards only after that.
        self.sh(&format!(
            "for i in $(seq 300); do \
             bridge link show dev {port} | grep -q 'state forwarding' && exit; sleep 0.01; done; \
             echo {port} forwards nothing >&2; exit 1"
        ));
    }
}

/// A switch that knows nothing of groups, and `N` hosts on it, each with its `eth0`.
pub(crate) fn switch_with_hosts<const N: usize>() -> Option<(Namespace, [Namespace; N])> {
    let switch = Namespace::new()?;
    switch.sh("ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up");
    let hosts = std::array::from_fn(|_| Namespace::new().expect("the first one was allowed"));
    for (host, number) in hosts.iter().zip(1..) {
        switch.plug(host, "eth0", &format!("port{number}"), 0, number);
    }
    Some((switch, hosts))
}
