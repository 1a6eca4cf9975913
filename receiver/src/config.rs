//! What a host's administrator decides: `/etc/fanfare/fanhost.toml`.
//!
//! Not here: flags and environment, which the command line lays over this file. Invariant: a key
//! that this program does not know is refused, with the file, the line and the key: a misspelt
//! setting must not silently mean its default.

#![expect(clippy::disallowed_methods, reason = "reads the configuration file")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use common::id::{AppName, HostName, ImageKind};
use common::keys::KeyId;
use serde::{Deserialize, Deserializer};

use crate::activation::{
    Health, PROBE_INTERVAL_DEFAULT, PROBE_RETRIES_DEFAULT, PROBE_RETRIES_MAX,
    PROBE_TIMEOUT_DEFAULT, Policy, Probe, SOAK_DEFAULT, SOAK_MAX, SPLAY_DEFAULT, SPLAY_MAX,
};
use crate::hooks::limits::{HOOKS_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX};
use crate::hooks::{Hook, HttpTarget};
use crate::pipeline::{IoClass, WORKERS_MAX};
use crate::store::SwitchMode;

/// Where the file lies unless a flag says otherwise.
pub const DEFAULT_PATH: &str = "/etc/fanfare/fanhost.toml";

/// The file's content; what it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of the store.
    pub store: Option<PathBuf>,
    /// Control group, address and port; checked where flags are.
    pub group: Option<String>,
    /// Interface that the group is joined on, by name or address.
    pub interface: Option<String>,
    /// This host's name.
    pub host: Option<HostName>,
    /// Whether sessions without keys are taken.
    pub insecure: Option<bool>,
    /// Threads of the data path.
    pub workers: Option<usize>,
    /// Their rank at the disk.
    pub io_class: Option<IoClass>,
    /// Where the helper listens: then `fanhost run` is a process without privileges.
    pub helper: Option<PathBuf>,
    /// The user that it runs as, by name or number, for the helper.
    pub user: Option<String>,
    /// Whose releases and orders are believed.
    pub trust: Option<TrustSettings>,
    /// The apps of this host.
    #[serde(default)]
    pub app: BTreeMap<AppName, AppSettings>,
}

/// One `[app.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSettings {
    /// Where services see the app.
    pub root: Option<PathBuf>,
    /// Good releases kept.
    pub keep: Option<usize>,
    /// How long a release stays after another one became current: `10m`.
    #[serde(default, deserialize_with = "time")]
    pub drain_after: Option<Duration>,
    /// Whether a tar stays after its release is active.
    pub keep_image: Option<bool>,
    /// A file of every release, whose presence shows that one is whole: by its path in there.
    pub sentinel: Option<PathBuf>,
    /// The image kinds that are taken and mounted.
    pub kinds: Option<BTreeSet<ImageKind>>,
    /// How services get to the current release.
    pub switch: Option<SwitchMode>,
    /// Public keys that sign its releases, instead of those of `[trust]`.
    pub release_keys: Option<Vec<String>>,
    /// From where on a release is taken although a newer one was accepted.
    pub allow: Option<Allow>,
    /// Commands before the switch; the first that fails refuses it.
    #[serde(default)]
    pub pre_activate: Vec<HookSettings>,
    /// Commands after it.
    #[serde(default)]
    pub post_activate: Vec<HookSettings>,
    /// Hosts spread the commands after the switch over this.
    #[serde(default, deserialize_with = "time")]
    pub hook_splay: Option<Duration>,
    /// How the health of a release is asked once it is current.
    #[serde(default)]
    pub health: Option<HealthSettings>,
}

/// The `[trust]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustSettings {
    /// Directory of key files.
    pub keys: Option<PathBuf>,
    /// Public keys that sign releases: files in there, or the lines of keys themselves.
    pub release_keys: Option<Vec<String>>,
    /// Public keys that sign what a sender orders.
    pub operator_keys: Option<Vec<String>>,
    /// Keys that nothing is believed of any more.
    #[serde(default)]
    pub revoked: BTreeSet<KeyId>,
    /// From when on a key signs nothing that is accepted anew.
    #[serde(default)]
    pub expires: BTreeMap<KeyId, Date>,
}

/// A date, or a time of it, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Date(pub u64);

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // A bare date is its first second.
        let is_bare = text.len() == "2026-01-31".len();
        let full = if is_bare { format!("{text}T00:00:00Z") } else { text.clone() };
        let time = humantime::parse_rfc3339_weak(&full).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map(|since| Self(since.as_secs())).ok_or_else(|| {
            format!("{text:?} is no date like \"2026-01-31\" or \"2026-01-31T12:00:00Z\"")
        })
    }
}

/// An epoch and a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Both are given, so that nobody opens an epoch that is over by leaving it out.
    pub epoch: u32,
    /// The oldest release that is taken.
    pub sequence: u64,
}

/// The `[app.NAME.health]` table: a command or an address, and patience.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSettings {
    /// Program and arguments; status 0 is health.
    command: Option<Vec<String>>,
    /// Address of a GET.
    #[serde(default, deserialize_with = "target")]
    http: Option<HttpTarget>,
    /// Its Host header.
    host: Option<HostHeader>,
    /// The status that is health.
    status: Option<u16>,
    #[serde(default, deserialize_with = "time")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "time")]
    interval: Option<Duration>,
    retries: Option<u32>,
    #[serde(default, deserialize_with = "time")]
    soak: Option<Duration>,
}

/// A name for a Host header: nothing that would end the header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct HostHeader(String);

impl TryFrom<String> for HostHeader {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain { Ok(Self(text)) } else { Err(format!("{text:?} is no name of a host")) }
    }
}

fn target<'de, D: Deserializer<'de>>(input: D) -> Result<Option<HttpTarget>, D::Error> {
    String::deserialize(input)?.parse().map(Some).map_err(serde::de::Error::custom)
}

impl HealthSettings {
    /// What is asked, and how.
    ///
    /// # Errors
    /// What does not fit together.
    fn health(&self) -> Result<Health, String> {
        let probe = match (&self.command, &self.http) {
            (Some(command), None) if self.host.is_none() && self.status.is_none() => {
                check_command(command)?;
                Probe::Command(command.clone())
            }
            (Some(_), None) => return Err("host and status go with http, not with command".into()),
            (None, Some(target)) => Probe::Http {
                target: target.clone(),
                host: self.host.as_ref().map(|host| host.0.clone()),
                status: self.status.unwrap_or(200),
            },
            _ => return Err("give either command or http".into()),
        };
        let health = Health {
            probe,
            timeout: self.timeout.unwrap_or(PROBE_TIMEOUT_DEFAULT),
            interval: self.interval.unwrap_or(PROBE_INTERVAL_DEFAULT),
            retries: self.retries.unwrap_or(PROBE_RETRIES_DEFAULT),
            soak: self.soak.unwrap_or(SOAK_DEFAULT),
        };
        let tick = Duration::from_millis(10);
        if health.retries > PROBE_RETRIES_MAX || health.soak > SOAK_MAX {
            let most = SOAK_MAX.as_secs();
            return Err(format!("retries are at most {PROBE_RETRIES_MAX}, soak at most {most} s"));
        }
        if health.timeout < tick || health.interval < tick {
            return Err("timeout and interval are at least 10 ms".into());
        }
        if health.patience() > health.soak {
            return Err(format!(
                "soak is {:?}, but only after {:?} (timeout × (retries + 1) + interval × retries) \
                 a release that never answers is known to be bad: make soak longer, or the others \
                 less",
                health.soak,
                health.patience()
            ));
        }
        Ok(health)
    }
}

/// One `[[app.NAME.pre_activate]]` or `[[app.NAME.post_activate]]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// Program, by its absolute path, and arguments.
    pub command: Vec<String>,
    /// It is killed after this.
    #[serde(default, deserialize_with = "time")]
    pub timeout: Option<Duration>,
}

/// A duration with its unit, like `30s` or `2m`.
fn time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(input)?;
    let time = humantime::parse_duration(text.trim());
    time.map(Some).map_err(|error| {
        serde::de::Error::custom(format!("{text:?} is no time like \"30s\" or \"2m\": {error}"))
    })
}

impl AppSettings {
    /// What is done around the app's switches.
    pub fn policy(&self) -> Policy {
        let hooks = |settings: &[HookSettings]| settings.iter().map(HookSettings::hook).collect();
        Policy {
            pre_activate: hooks(&self.pre_activate),
            post_activate: hooks(&self.post_activate),
            splay: self.hook_splay.unwrap_or(SPLAY_DEFAULT),
            // A file with one that does not fit together was refused.
            health: self.health.as_ref().and_then(|health| health.health().ok()),
        }
    }

    fn check_hooks(&self) -> Result<(), String> {
        let points = [("pre_activate", &self.pre_activate), ("post_activate", &self.post_activate)];
        for (key, hooks) in points {
            if hooks.len() > HOOKS_MAX {
                return Err(format!("has {} {key}, at most {HOOKS_MAX} are run", hooks.len()));
            }
            for hook in hooks {
                hook.check().map_err(|reason| format!("{key}: {reason}"))?;
            }
        }
        if let Some(Err(reason)) = self.health.as_ref().map(HealthSettings::health) {
            return Err(format!("health: {reason}"));
        }
        if self.hook_splay.is_some_and(|splay| splay > SPLAY_MAX) {
            return Err(format!("hook_splay is at most {} s", SPLAY_MAX.as_secs()));
        }
        Ok(())
    }
}

impl HookSettings {
    fn hook(&self) -> Hook {
        let timeout = self.timeout.unwrap_or(TIMEOUT_DEFAULT);
        Hook { command: self.command.clone(), timeout }
    }

    fn check(&self) -> Result<(), String> {
        let is_within =
            |timeout: &Duration| (Duration::from_millis(1)..=TIMEOUT_MAX).contains(timeout);
        check_command(&self.command)?;
        match self.timeout.iter().all(is_within) {
            true => Ok(()),
            false => Err(format!("timeout is from 1 ms to {} s", TIMEOUT_MAX.as_secs())),
        }
    }
}

fn check_command(command: &[String]) -> Result<(), String> {
    match command.first() {
        None => Err("command is empty: give the program and its arguments".into()),
        Some(program) if !Path::new(program).is_absolute() => Err(format!(
            "{program} is no absolute path: command is no line for a shell, but a list of the \
             program's whole path and its arguments"
        )),
        Some(_) => Ok(()),
    }
}

/// A file that cannot be used: where, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    line: Option<usize>,
    reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or says something that is not understood.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| io::Error::other("it is no UTF-8 text"))
        });
        let text = text.map_err(|error| ConfigError {
            path: path.to_path_buf(),
            line: None,
            reason: format!("cannot be read: {error}"),
        })?;
        Self::parse(&text, path)
    }

    /// Reads the file at its usual place; without one, everything is left to flags.
    ///
    /// # Errors
    /// As [`Config::load`], except that the file may be absent.
    pub fn load_default() -> Result<Self, ConfigError> {
        let path = Path::new(DEFAULT_PATH);
        if path.exists() { Self::load(path) } else { Ok(Self::default()) }
    }

    /// Reads the text of a file; `path` names it in errors.
    ///
    /// # Errors
    /// When the text says something that is not understood.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let fail = |line, reason| ConfigError { path: path.to_path_buf(), line, reason };
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            fail(line, error.message().trim().replace('\n', ", "))
        })?;
        config.check().map_err(|reason| fail(None, reason))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let absolute = |key: &str, path: &Option<PathBuf>| match path {
            Some(path) if !path.is_absolute() => {
                Err(format!("{key} must be an absolute path, it is {}", path.display()))
            }
            _ => Ok(()),
        };
        absolute("store", &self.store)?;
        absolute("helper", &self.helper)?;
        absolute("[trust] keys", &self.trust.as_ref().and_then(|trust| trust.keys.clone()))?;
        if let Some(workers) = self.workers.filter(|workers| !(1..=WORKERS_MAX).contains(workers)) {
            return Err(format!("workers must be from 1 to {WORKERS_MAX}, it is {workers}"));
        }
        for (app, settings) in &self.app {
            absolute(&format!("[app.{app}] root"), &settings.root)?;
            if settings.keep.is_some_and(|keep| keep < 2) {
                return Err(format!(
                    "[app.{app}] keep must be at least 2: the current release and the one before"
                ));
            }
            let sentinel = settings.sentinel.as_deref();
            if let Some(path) = sentinel.filter(|path| !is_below(path)) {
                return Err(format!(
                    "[app.{app}] sentinel is a path in the release, like index.php, not {}",
                    path.display()
                ));
            }
            settings.check_hooks().map_err(|reason| format!("[app.{app}] {reason}"))?;
            if settings.kinds.as_ref().is_some_and(BTreeSet::is_empty) {
                return Err(format!("[app.{app}] kinds must name at least one kind of image"));
            }
        }
        Ok(())
    }
}

/// Whether a path leads to something below where it is looked up.
fn is_below(path: &Path) -> bool {
    let mut parts = path.components();
    path.file_name().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("fanhost.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_file_is_read_and_an_empty_one_says_nothing() {
        let text = "store = \"/var/lib/fanfare\"\ngroup = \"239.192.70.70:7070\"\n\
            interface = \"eth0\"\nhost = \"web-1\"\ninsecure = true\n\
            workers = 3\nio_class = \"normal\"\n\
            [app.shop]\nroot = \"/srv/shop\"\nkeep = 5\nkeep_image = true\n\
            kinds = [\"erofs\", \"tar\"]\nswitch = \"mount\"\n[app.blog]\n";
        let config = parse(text).unwrap();
        assert_eq!(config.host.unwrap().as_str(), "web-1");
        assert_eq!(config.insecure, Some(true));
        assert_eq!((config.workers, config.io_class), (Some(3), Some(IoClass::Normal)));
        let shop = &config.app[&"shop".parse().unwrap()];
        assert_eq!(shop.root.as_deref(), Some(Path::new("/srv/shop")));
        assert_eq!((shop.keep, shop.keep_image), (Some(5), Some(true)));
        assert_eq!(shop.switch, Some(SwitchMode::Mount));
        assert_eq!(shop.kinds, Some([ImageKind::Erofs, ImageKind::Tar].into()));
        assert_eq!(config.app[&"blog".parse().unwrap()], AppSettings::default());
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn hooks_are_lists_of_arguments_with_a_time_limit() {
        let text = "[app.shop]\nhook_splay = \"0s\"\n\
            [[app.shop.post_activate]]\n\
            command = [\"/usr/bin/systemctl\", \"reload\", \"php8.2-fpm\"]\ntimeout = \"90s\"\n\
            [[app.shop.post_activate]]\ncommand = [\"/usr/sbin/apachectl\", \"graceful\"]\n";
        let config = parse(text).unwrap();
        let policy = config.app[&"shop".parse().unwrap()].policy();
        assert_eq!(policy.splay, Duration::ZERO);
        assert!(policy.pre_activate.is_empty());
        let [reload, graceful] = &policy.post_activate[..] else { panic!("{policy:?}") };
        assert_eq!(reload.program(), Path::new("/usr/bin/systemctl"));
        assert_eq!(reload.command[1..], ["reload", "php8.2-fpm"]);
        assert_eq!(reload.timeout, Duration::from_secs(90));
        assert_eq!(graceful.timeout, Duration::from_secs(60));
        assert_eq!(AppSettings::default().policy(), Policy::default());
        let text =
            "[app.shop.health]\nhttp = \"http://localhost/up\"\nhost = \"shop\"\nretries = 0\n";
        let health = parse(text).unwrap().app[&"shop".parse().unwrap()].policy().health.unwrap();
        let target = "http://127.0.0.1/up".parse().unwrap();
        assert_eq!(health.probe, Probe::Http { target, host: Some("shop".into()), status: 200 });
        assert_eq!((health.retries, health.soak), (0, Duration::from_secs(30)));
        assert_eq!(Policy::default().splay, Duration::from_secs(30));
        let five = "[[app.shop.post_activate]]\ncommand = [\"/bin/true\"]\n".repeat(5);
        assert!(parse(&five).unwrap_err().ends_with("has 5 post_activate, at most 4 are run"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_key() {
        let line = parse("store = \"/a\"\n\nintreface = \"eth0\"\n").unwrap_err();
        assert!(line.starts_with("fanhost.toml:3: unknown field `intreface`"), "{line}");
        let line = parse("[app.shop]\nroot = \"/a\"\nkeeep = 3\n").unwrap_err();
        assert!(line.starts_with("fanhost.toml:3: unknown field `keeep`"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn what_is_no_possible_setting_is_refused_in_one_line() {
        for (text, expected) in [
            ("store = 3", "fanhost.toml:1: invalid type"),
            ("store = \"relative\"", "store must be an absolute path"),
            ("\nhost = \"a b\"", "fanhost.toml:2: \"a b\" is not a name"),
            (
                "[trust]\nrevoked = [\n\"67BE0252455FADB2\",\n\"67BE0252455FADB\"]",
                "fanhost.toml:2: \"67BE0252455FADB\" is no id of a key: that is 16 hexadecimal",
            ),
            ("[trust.expires]\n67BE = \"2027-01-01\"", "\"67BE\" is no id of a key"),
            ("workers = 0", "workers must be from 1 to 64, it is 0"),
            ("io_class = \"best\"", "fanhost.toml:1: unknown variant `best`"),
            ("[app.shop]\nkinds = []", "kinds must name at least one kind"),
            ("[app.shop]\nkinds = [\"ext9\"]", "fanhost.toml:2: unknown variant `ext9`"),
            ("[app.shop]\nswitch = \"swap\"", "fanhost.toml:2: unknown variant `swap`"),
            ("[app.shop]\nkeep = 1", "keep must be at least 2"),
            ("[app.shop]\nkeep = -1", "fanhost.toml:2:"),
            ("[app.shop]\ndrain_after = 10", "fanhost.toml:2: invalid type"),
            ("[app.shop]\ndrain_after = \"10\"", "fanhost.toml:2: \"10\" is no time"),
            ("[app.\"a/b\"]", "is not a name"),
            ("[app.shop]\nsentinel = \"../x\"", "[app.shop] sentinel is a path in the release"),
            ("[app.shop]\nsentinel = \"/index.php\"", "like index.php, not /index.php"),
            ("[app.shop]\nhook_splay = \"30\"", "fanhost.toml:2: \"30\" is no time like"),
            ("[app.shop]\nhook_splay = \"2h\"", "[app.shop] hook_splay is at most 3600 s"),
            ("[[app.shop.post_activate]]\ncommand = []", "post_activate: command is empty"),
            ("[[app.shop.pre_activate]]\ncommand = [\"true\"]", "true is no absolute path"),
            (
                "[[app.shop.pre_activate]]\ncommand = [\"/bin/true\"]\ntimeout = \"1h\"",
                "[app.shop] pre_activate: timeout is from 1 ms to 600 s",
            ),
            ("[[app.shop.pre_activate]]\ncommand = \"/bin/true\"", "fanhost.toml:2: invalid type"),
            ("[app.shop.health]\nretries = 1", "[app.shop] health: give either command or http"),
            (
                "[app.shop.health]\nhttp = \"http://shop/\"",
                "fanhost.toml:2: \"http://shop/\" is no",
            ),
            (
                "[app.shop.health]\nhttp = \"http://[::1]/\"\nsoak = \"10s\"",
                "soak is 10s, but only",
            ),
            ("[app.shop.health]\ncommand = [\"/bin/true\"]\nstatus = 204", "go with http"),
            ("[app.shop.health]\nhost = \"a\\nb\"", "is no name of a host"),
            ("store = ", "fanhost.toml:1:"),
            ("store = \"/a\"\nstore = \"/b\"", "fanhost.toml:2:"),
        ] {
            let line = parse(text).unwrap_err();
            assert!(line.contains(expected), "{text:?}: {line}");
            assert!(!line.contains('\n'), "{text:?}: {line}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let line = Config::load(Path::new("/nonexistent/fanhost.toml")).unwrap_err().to_string();
        assert!(line.starts_with("/nonexistent/fanhost.toml: cannot be read: No such"), "{line}");
    }
}
