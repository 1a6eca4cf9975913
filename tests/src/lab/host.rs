//! A receiving host of the lab: a machine, its store, and the daemon that may run on it.
#![expect(clippy::disallowed_methods, reason = "it reads the store as a service would")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::node::{INTERFACE, Node};
use super::{Family, tool};
use crate::keyring::SiteKeys;
use crate::process::{Ending, Running};
use crate::product;

/// How long a daemon may take until it listens, and until it has ended cleanly.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who a process on the network is that has a helper; nobody is.
pub const RECEIVER: u32 = 64_321;

/// How `fanhost run` is called.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    apps: Vec<String>,
    host: Option<String>,
    config: Option<String>,
    extra: Vec<String>,
    has_helper: bool,
    keys: Option<Arc<SiteKeys>>,
}

/// A receiving host.
pub struct Host {
    node: Node,
    family: Family,
    directory: PathBuf,
    logs: PathBuf,
    daemon: Option<Running>,
    helper: Option<Running>,
}

/// A store whose disk answers no write until this is dropped.
pub struct FrozenStore {
    thaw: Command,
}

impl HostOptions {
    /// Receives releases of `app`.
    pub fn app(app: &str) -> Self {
        Self { apps: vec![app.to_owned()], ..Self::default() }
    }

    /// Receives releases of `app`, too.
    pub fn and_app(mut self, app: &str) -> Self {
        self.apps.push(app.to_owned());
        self
    }

    /// Calls itself `name` instead of by the machine's name in the lab.
    pub fn called(mut self, name: &str) -> Self {
        self.host = Some(name.to_owned());
        self
    }

    /// Reads `text` as its configuration file; `{store}` in it stands for the store's path.
    pub fn configured(text: &str) -> Self {
        Self { config: Some(text.to_owned()), ..Self::default() }
    }

    /// Leaves what needs privileges to a helper, which is started by [`Host::start_helper`].
    pub fn with_helper(mut self) -> Self {
        self.has_helper = true;
        self
    }

    /// With the keys of a site, instead of `--insecure`.
    pub fn keyed(mut self, keys: &Arc<SiteKeys>) -> Self {
        self.keys = Some(Arc::clone(keys));
        self
    }

    /// With one more argument on its command line.
    pub fn arg(mut self, argument: &str) -> Self {
        self.extra.push(argument.to_owned());
        self
    }
}

impl Host {
    pub(super) fn new(node: Node, family: Family, lab: &Path) -> Self {
        let directory = lab.join(node.name());
        fs::create_dir_all(directory.join("store")).expect("the lab's directory is ours");
        Self { node, family, directory, logs: lab.join("logs"), daemon: None, helper: None }
    }

    /// The machine.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The store, as the host sees it.
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Where `current` of `app` is, as the host sees it.
    pub fn current(&self, app: &str) -> PathBuf {
        self.store().join(app).join("root").join("current")
    }

    /// `path` of this host for a reader outside, mounts included.
    pub fn view(&self, path: &Path) -> PathBuf {
        self.node.view(path)
    }

    /// Puts the store on a tmpfs of `bytes`.
    pub fn put_store_on_tmpfs(&self, bytes: u64) {
        self.mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "fanlab"]);
    }

    /// Fills a store on a tmpfs until `bytes` are left.
    ///
    /// # Panics
    /// When fewer were left already.
    pub fn fill_store(&self, bytes: u64) {
        let facts = rustix::fs::statvfs(self.view(&self.store())).expect("the store is there");
        let free_bytes = facts.f_bavail * facts.f_frsize;
        let hog_bytes = free_bytes.checked_sub(bytes);
        let hog_bytes = hog_bytes.unwrap_or_else(|| panic!("only {free_bytes} bytes are free"));
        let hog = self.store().join("hog");
        self.node.tool("fallocate", &format!("-l {hog_bytes} {}", hog.display()));
    }

    /// Puts the store on a file system that takes no write.
    pub fn put_store_on_read_only(&self) {
        self.mount(&["-t", "tmpfs", "-o", "ro,size=64m", "fanlab"]);
    }

    /// Puts the store on an ext4 of its own of `bytes`, which [`Host::freeze_store`] can stop.
    pub fn put_store_on_disk_of_its_own(&self, bytes: u64) {
        let disk = self.directory.join("disk");
        let file = fs::File::create(&disk).expect("the host's directory is ours");
        file.set_len(bytes).expect("a sparse file takes no space");
        tool::run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(&disk));
        self.mount(&["-o", "loop", &disk.to_string_lossy()]);
    }

    /// Stops every write to a store on a disk of its own until the answer is dropped.
    pub fn freeze_store(&self) -> FrozenStore {
        let call = |verb: &str| {
            let mut command = self.node.command("fsfreeze");
            command.arg(verb).arg(self.store());
            command
        };
        tool::run(&mut call("--freeze"));
        FrozenStore { thaw: call("--unfreeze") }
    }

    /// Starts the daemon and waits until it has joined the control group.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(&mut self, options: &HostOptions) {
        self.spawn(options);
        self.wait_ready();
    }

    /// Starts the helper for `apps` and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_helper(&mut self, apps: &[&str]) {
        let mut command = self.node.command(product::fanhost());
        command.args(["helper", "--insecure", "--user", &RECEIVER.to_string()]);
        command.args(["--app", &apps.join(",")]);
        command.arg("--helper").arg(self.helper_socket()).arg("--store").arg(self.store());
        let name = format!("{}-helper", self.name());
        let mut helper = Running::start(&name, &mut command, &self.logs);
        helper.wait_for_stderr("helps user", PATIENCE);
        self.helper = Some(helper);
    }

    /// The helper.
    ///
    /// # Panics
    /// When none was started.
    pub fn helper(&mut self) -> &mut Running {
        self.helper.as_mut().expect("a helper was started")
    }

    /// Starts the daemon.
    pub fn spawn(&mut self, options: &HostOptions) {
        let daemon = self.launch(options);
        self.daemon = Some(daemon);
    }

    /// Starts a daemon that is expected to refuse, and waits for its end.
    pub fn run_to_refusal(&self, options: &HostOptions) -> Ending {
        self.launch(options).wait(PATIENCE)
    }

    /// Waits until the daemon has joined the control group.
    ///
    /// # Panics
    /// When it ends first, or takes too long.
    pub fn wait_ready(&mut self) {
        let group = self.family.group().ip();
        let (node, family) = (&self.node, self.family);
        let daemon = self.daemon.as_mut().expect("a daemon was started");
        daemon.wait_until("it joined the control group", PATIENCE, |_| {
            node.groups(family).contains(&group)
        });
    }

    /// The daemon.
    ///
    /// # Panics
    /// When none was started.
    pub fn daemon(&mut self) -> &mut Running {
        self.daemon.as_mut().expect("a daemon was started")
    }

    /// What the daemon has said.
    ///
    /// # Panics
    /// When none was started.
    pub fn log(&self) -> String {
        self.daemon.as_ref().expect("a daemon was started").stderr()
    }

    /// Ends the daemon by SIGTERM.
    ///
    /// # Panics
    /// When it does not end by itself.
    pub fn stop(&mut self) -> Ending {
        self.daemon().terminate(PATIENCE)
    }

    /// Ends the daemon by SIGKILL.
    pub fn kill(&mut self) {
        self.daemon().kill();
    }

    /// Runs a local verb (`releases`, `status`) beside the daemon.
    pub fn verb(&self, arguments: &[&str]) -> Ending {
        let mut command = self.node.command(product::fanhost());
        command.args(arguments).arg("--store").arg(self.store());
        let name = format!("{}-{}", self.name(), arguments.first().unwrap_or(&"verb"));
        Running::start(&name, &mut command, &self.logs).wait(PATIENCE)
    }

    pub(super) fn drop_daemon(&mut self) {
        self.daemon = None;
        self.helper = None;
    }

    fn helper_socket(&self) -> PathBuf {
        self.directory.join("helper.sock")
    }

    fn launch(&self, options: &HostOptions) -> Running {
        let mut command = match options.has_helper {
            true => self.node.command("setpriv"),
            false => self.node.command(product::fanhost()),
        };
        if options.has_helper {
            let user = RECEIVER.to_string();
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
            command.arg(product::fanhost());
        }
        command.args(["run", "--interface", INTERFACE]);
        match &options.keys {
            Some(keys) => {
                let owner = options.has_helper.then_some(RECEIVER);
                command.arg("--keys").arg(keys.host(self.name(), owner))
            }
            None => command.arg("--insecure"),
        };
        command.arg("--host").arg(options.host.as_deref().unwrap_or_else(|| self.name()));
        match &options.config {
            Some(text) => command.arg("--config").arg(self.write_config(text)),
            None if options.has_helper => command.arg("--helper").arg(self.helper_socket()),
            None => command.arg("--store").arg(self.store()),
        };
        if self.family == Family::V6 {
            command.args(["--group", &self.family.group().to_string()]);
        }
        for app in &options.apps {
            command.args(["--app", app]);
        }
        command.args(&options.extra);
        Running::start(self.name(), &mut command, &self.logs)
    }

    fn write_config(&self, text: &str) -> PathBuf {
        let path = self.directory.join("fanhost.toml");
        let text = text.replace("{store}", &self.store().to_string_lossy());
        fs::write(&path, text).expect("the host's directory is ours");
        path
    }

    fn mount(&self, arguments: &[&str]) {
        let mut command = self.node.command("mount");
        tool::run(command.args(arguments).arg(self.store()));
    }
}

impl Drop for FrozenStore {
    fn drop(&mut self) {
        let _ = self.thaw.status();
    }
}
