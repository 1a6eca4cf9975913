//! What the daemon is to be: flags over environment over `/etc/fanfare/fanhost.toml` over defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::id::{AppName, HostName};
use common::net::parse_group;
use common::seal::HostKeys;

use super::args::{HelperArgs, PlaceArgs, RunArgs};
use crate::activation;
use crate::config::{self, AppSettings, Config};
use crate::daemon::Options;
use crate::exit::{Complaint, Exit};
use crate::helper;
use crate::hooks::check_file;
use crate::keys::{KnownKeys, SealingFault};
use crate::pipeline::Manners;
use crate::store::{AppConfig, Owner, Policy, default_root};

/// Where the store lies unless somebody says otherwise.
pub const DEFAULT_STORE: &str = "/var/lib/fanfare";
/// Where the helper listens.
pub const DEFAULT_SOCKET: &str = "/run/fanfare/helper.sock";
/// Who asks it.
pub const DEFAULT_USER: &str = "fanhost";
/// The group of senders that say nothing else.
pub const DEFAULT_GROUP: &str = "239.192.70.70:7070";

/// Reads the configuration file that is named, or the usual one if it exists.
///
/// # Errors
/// The file's fault, with its line.
pub fn load(place: &PlaceArgs) -> Result<Config, Complaint> {
    let config = match &place.config {
        Some(path) => Config::load(path),
        None => Config::load_default(),
    };
    config.map_err(|error| Complaint::new(Exit::Configuration, error))
}

/// The configuration file that is read, if there is one.
pub fn file(place: &PlaceArgs) -> Option<PathBuf> {
    let default = || Some(PathBuf::from(config::DEFAULT_PATH)).filter(|path| path.exists());
    place.config.clone().or_else(default)
}

/// Where the helper listens, if there is to be one.
pub fn helper_socket(flag: Option<&Path>, config: &Config) -> Option<PathBuf> {
    flag.map(Path::to_path_buf).or_else(|| config.helper.clone())
}

/// What the helper is to do.
///
/// # Errors
/// What the command line or the file lacks, or what does not fit together.
pub fn resolve_helper(
    args: &HelperArgs,
    config: &Config,
    machine_name: impl FnOnce() -> String,
) -> Result<helper::Options, Complaint> {
    let store = store(&args.place, config);
    let keys = keys(&args.place, config)?;
    let apps = apps(&args.apps, &args.place, config, &store, &keys)?;
    // The receiving process is not believed, so what it says of seals is nothing to go by.
    if !is_insecure(args.insecure, config) {
        expect_release_keys(&apps, &args.place)?;
    }
    keys.notices().iter().for_each(|line| tracing::warn!("{line}"));
    let policies = policies(&apps, config);
    if let Some((app, _)) = policies.iter().find(|(_, policy)| policy.asks_the_network()) {
        let line = format!(
            "[app.{app}.health] http: the helper, which asks, has no network; give a command that \
             needs none, or one that leaves it, as docs/OPERATIONS.md shows"
        );
        return Err(Complaint::new(Exit::Configuration, line));
    }
    let user = args.user.as_ref().or(config.user.as_ref());
    let tenant = helper::find_user(user.map_or(DEFAULT_USER, String::as_str));
    Ok(helper::Options {
        socket: helper_socket(args.helper.as_deref(), config)
            .unwrap_or_else(|| DEFAULT_SOCKET.into()),
        apps,
        policies,
        host: host(None, config, machine_name)?,
        store,
        tenant: tenant.map_err(|line| Complaint::new(Exit::Configuration, line))?,
    })
}

/// What `fanhost restore` brings back.
#[derive(Debug)]
pub struct Restore {
    /// The store.
    pub store: PathBuf,
    /// The configured apps.
    pub apps: Vec<AppConfig>,
    /// The user that receives, where that is another process.
    pub tenant: Option<Owner>,
}

/// What is to be brought back: every app of the file.
///
/// # Errors
/// What the file lacks, or what does not fit together.
pub fn resolve_restore(place: &PlaceArgs, config: &Config) -> Result<Restore, Complaint> {
    let store = store(place, config);
    let user = config.user.as_deref().unwrap_or(DEFAULT_USER);
    let tenant = config.helper.as_ref().map(|_| helper::find_user(user)).transpose();
    let tenant = tenant.map_err(|line| Complaint::new(Exit::Configuration, line))?;
    // What is here was believed when it was accepted: a boot asks no key.
    let apps = apps(&[], place, config, &store, &KnownKeys::default())?;
    Ok(Restore { apps, store, tenant })
}

/// Where the store lies.
pub fn store(place: &PlaceArgs, config: &Config) -> PathBuf {
    let store = place.store.as_ref().or(config.store.as_ref());
    store.cloned().unwrap_or_else(|| DEFAULT_STORE.into())
}

/// The keys that are believed.
///
/// # Errors
/// The one that cannot be used.
pub fn keys(place: &PlaceArgs, config: &Config) -> Result<KnownKeys, Complaint> {
    KnownKeys::load(place.keys.as_deref(), config)
        .map_err(|line| Complaint::new(Exit::Configuration, line))
}

/// What holds for `app`: what the file says of it, or nothing.
pub fn app(app: &AppName, config: &Config, store: &Path, keys: &KnownKeys) -> AppConfig {
    let settings = config.app.get(app).cloned().unwrap_or_default();
    let root = settings.root.unwrap_or_else(|| default_root(store, app));
    let default = AppConfig::new(app.clone(), root);
    AppConfig {
        policy: Policy {
            keep: settings.keep.unwrap_or(default.policy.keep),
            drain_after: settings.drain_after.unwrap_or(default.policy.drain_after),
        },
        keep_image: settings.keep_image.unwrap_or(default.keep_image),
        kinds: settings.kinds.map_or(default.kinds, |kinds| kinds.into_iter().collect()),
        switch: settings.switch.unwrap_or(default.switch),
        trust: keys.trust(app),
        allow: settings.allow.map(|allow| (allow.epoch, allow.sequence)),
        ..default
    }
}

/// Checks what hooks would run, and who could change that: their programs, and the file that names
/// them.
///
/// # Errors
/// The first path that may not be trusted, and what to do.
pub fn check_hooks(
    place: &PlaceArgs,
    policies: &BTreeMap<AppName, activation::Policy>,
) -> Result<(), Complaint> {
    let refuse = |line| Complaint::new(Exit::Configuration, line);
    let mut has_hooks = false;
    for (app, policy) in policies {
        has_hooks |= policy.programs().next().is_some();
        policy
            .check_programs()
            .map_err(|reason| refuse(format!("[app.{app}] a hook is refused: {reason}")))?;
    }
    if has_hooks {
        check_file(config_path(place)).map_err(|reason| {
            refuse(format!("the configuration names hooks, so nobody else may change it: {reason}"))
        })?;
    }
    Ok(())
}

/// What is done around the switches of `apps`.
pub fn policies(apps: &[AppConfig], config: &Config) -> BTreeMap<AppName, activation::Policy> {
    let plain = AppSettings::default();
    let settings = |app: &AppName| config.app.get(app).unwrap_or(&plain);
    apps.iter().map(|app| (app.app.clone(), settings(&app.app).policy())).collect()
}

/// This host's name: what a flag or the file says, or the machine's.
///
/// # Errors
/// When the machine's is no name for a host.
pub fn host(
    named: Option<&HostName>,
    config: &Config,
    machine_name: impl FnOnce() -> String,
) -> Result<HostName, Complaint> {
    let named = named.or(config.host.as_ref()).cloned();
    named.map_or_else(|| host_of_machine(&machine_name()), Ok)
}

/// What the daemon is to do; `machine_name` is asked for only when nobody named the host.
///
/// # Errors
/// What the command line or the file lacks, or what does not fit together.
pub fn resolve(
    args: &RunArgs,
    config: &Config,
    machine_name: impl FnOnce() -> String,
) -> Result<Options, Complaint> {
    let group = group(args, config)?;
    check_source(args.source, group)?;
    let store = store(&args.place, config);
    let keys = keys(&args.place, config)?;
    let apps = apps(&args.apps, &args.place, config, &store, &keys)?;
    let sealing = sealing(args, config, &keys, &apps)?;
    keys.notices().iter().for_each(|line| tracing::warn!("{line}"));
    Ok(Options {
        interface: args.interface.clone().or_else(|| config.interface.clone()),
        group,
        policies: policies(&apps, config),
        apps,
        store,
        host: host(args.host.as_ref(), config, machine_name)?,
        once: args.once,
        keys: sealing,
        source: args.source,
        manners: manners(args, config),
    })
}

fn manners(args: &RunArgs, config: &Config) -> Manners {
    let default = Manners::default();
    let workers = args.workers.or(config.workers).and_then(NonZeroUsize::new);
    Manners {
        workers: workers.unwrap_or(default.workers),
        io_class: args.io_class.or(config.io_class).unwrap_or(default.io_class),
    }
}

/// What opens datagrams; nothing, where everybody is to be believed by name.
fn sealing(
    args: &RunArgs,
    config: &Config,
    keys: &KnownKeys,
    apps: &[AppConfig],
) -> Result<Option<Arc<HostKeys>>, Complaint> {
    if is_insecure(args.insecure, config) {
        return Ok(None);
    }
    match keys.sealing() {
        Ok(sealing) => {
            expect_release_keys(apps, &args.place)?;
            Ok(Some(Arc::new(sealing)))
        }
        Err(SealingFault::Missing(reason)) => Err(nobody_believed("sender", &reason, &args.place)),
        // Whoever has keys wants them used: what is wrong with them is to be mended.
        Err(SealingFault::Unusable(line)) => Err(Complaint::new(Exit::Configuration, line)),
    }
}

/// Whether everybody is to be believed, by name.
fn is_insecure(flag: bool, config: &Config) -> bool {
    flag || config.insecure.unwrap_or(false)
}

/// Refuses an app of which anybody's releases would be taken.
fn expect_release_keys(apps: &[AppConfig], place: &PlaceArgs) -> Result<(), Complaint> {
    match apps.iter().find(|app| app.trust.is_none()) {
        Some(app) => {
            let reason = format!("there is no release.pub for {}", app.app);
            Err(nobody_believed("release", &reason, place))
        }
        None => Ok(()),
    }
}

fn nobody_believed(what: &str, reason: &str, place: &PlaceArgs) -> Complaint {
    let line = format!(
        "no {what} could be believed: {reason}; fanfare keygen makes keys; or give --insecure, or \
         insecure = true in {}, if any sender on this network may change what this host serves",
        config_path(place).display()
    );
    Complaint::new(Exit::Configuration, line)
}

fn group(args: &RunArgs, config: &Config) -> Result<SocketAddr, Complaint> {
    match (&args.group, &config.group) {
        (Some(text), _) => parse_group(text).map_err(Complaint::usage),
        (None, Some(text)) => parse_group(text).map_err(|error| {
            let path = config_path(&args.place);
            Complaint::new(Exit::Configuration, format!("{}: group: {error}", path.display()))
        }),
        (None, None) => Ok(parse_group(DEFAULT_GROUP).expect("the default group is one")),
    }
}

fn config_path(place: &PlaceArgs) -> &Path {
    place.config.as_deref().unwrap_or_else(|| Path::new(config::DEFAULT_PATH))
}

fn check_source(source: Option<IpAddr>, group: SocketAddr) -> Result<(), Complaint> {
    match source {
        Some(source) if source.is_ipv4() != group.is_ipv4() => Err(Complaint::usage(format!(
            "--source {source} and --group {group} are of two families: give both as IPv4 or IPv6"
        ))),
        _ => Ok(()),
    }
}

/// The apps that are named by flags, else those of the file; settings are the file's.
fn apps(
    flags: &[AppName],
    place: &PlaceArgs,
    config: &Config,
    store: &Path,
    keys: &KnownKeys,
) -> Result<Vec<AppConfig>, Complaint> {
    let named: BTreeSet<&AppName> = match flags.is_empty() {
        false => flags.iter().collect(),
        true => config.app.keys().collect(),
    };
    if named.is_empty() {
        return Err(Complaint::new(
            Exit::Configuration,
            format!(
                "no app to receive: give --app NAME, or an [app.NAME] table in {}",
                config_path(place).display()
            ),
        ));
    }
    let apps: Vec<AppConfig> =
        named.into_iter().map(|name| app(name, config, store, keys)).collect();
    check_roots(&apps)?;
    Ok(apps)
}

/// Two apps in one place would take `current` from each other.
fn check_roots(apps: &[AppConfig]) -> Result<(), Complaint> {
    let mut seen: BTreeMap<&Path, &AppName> = BTreeMap::new();
    for app in apps {
        if let Some(other) = seen.insert(&app.root, &app.app) {
            let (name, root) = (&app.app, app.root.display());
            let line = format!("[app.{other}] and [app.{name}] have the same root {root}");
            return Err(Complaint::new(Exit::Configuration, line));
        }
    }
    Ok(())
}

/// The machine's name as a host's name: what a name cannot have becomes `-`.
fn host_of_machine(machine: &str) -> Result<HostName, Complaint> {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let letters = machine.trim().chars().take(63);
    let name: String =
        letters.map(|letter| if is_allowed(letter) { letter } else { '-' }).collect();
    let has_letters = name.chars().any(|letter| letter.is_ascii_alphanumeric());
    // The kernel's word for a machine that nobody has named.
    let is_named = has_letters && machine != "(none)";
    name.parse().ok().filter(|_| is_named).ok_or_else(|| {
        Complaint::new(
            Exit::Configuration,
            format!("this machine's name {machine:?} does not tell it apart: give --host NAME"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Verb};
    use crate::pipeline::IoClass;
    use clap::Parser;
    use std::time::Duration;

    fn resolved(arguments: &[&str], file: &str) -> Result<Options, Complaint> {
        let line = [&["fanhost", "run", "--insecure"], arguments].concat();
        let cli = Cli::try_parse_from(line).unwrap();
        let Verb::Run(args) = cli.verb else { panic!("run") };
        let config = Config::parse(file, Path::new("fanhost.toml")).unwrap();
        resolve(&args, &config, || "web-1.example".to_owned())
    }

    fn refused(arguments: &[&str], file: &str) -> (Exit, String) {
        let complaint = resolved(arguments, file).unwrap_err();
        (complaint.exit, complaint.to_string())
    }

    #[test]
    fn what_nobody_says_has_the_documented_default() {
        let options = resolved(&["--app", "shop"], "").unwrap();
        assert_eq!(options.group, SocketAddr::from(([239, 192, 70, 70], 7070)));
        assert_eq!(options.store, Path::new("/var/lib/fanfare"));
        assert_eq!(options.host.as_str(), "web-1.example");
        let [shop] = &options.apps[..] else { panic!("one app") };
        assert_eq!(shop.root, Path::new("/var/lib/fanfare/shop/root"));
        let policy = Policy { keep: 5, drain_after: Duration::from_secs(600) };
        assert_eq!((shop.policy, shop.keep_image), (policy, false));
        assert!(options.keys.is_none() && !options.once);
        assert_eq!(options.manners, Manners::default());
    }

    #[test]
    fn a_flag_wins_over_the_file_and_keeps_its_settings_of_the_app() {
        let file = "store = \"/data\"\nhost = \"file\"\ninsecure = true\n\
            [app.shop]\nroot = \"/srv/shop\"\nkeep = 7\ndrain_after = \"90s\"\n[app.blog]\n";
        let options = resolved(&["--host", "flag", "--app", "shop"], file).unwrap();
        assert_eq!(options.host.as_str(), "flag");
        assert_eq!(options.apps.len(), 1, "flags name the apps");
        assert_eq!(options.apps[0].root, Path::new("/srv/shop"));
        assert_eq!(options.apps[0].policy.keep, 7);
        assert_eq!(options.apps[0].policy.drain_after, Duration::from_secs(90));
        assert!(options.keys.is_none());
        let manners = |arguments: &[&str]| {
            resolved(arguments, &format!("workers = 3\n{file}")).unwrap().manners
        };
        assert_eq!(manners(&[]).workers.get(), 3);
        let flags = manners(&["--workers", "5", "--io-class", "normal"]);
        assert_eq!((flags.workers.get(), flags.io_class), (5, IoClass::Normal));
        let options = resolved(&["--store", "/elsewhere"], file).unwrap();
        assert_eq!(options.apps.len(), 2);
        assert_eq!(options.apps[0].root, Path::new("/elsewhere/blog/root"));
    }

    #[test]
    fn a_host_that_could_believe_nobody_is_not_started() {
        let start = |file: &str| {
            let cli = Cli::try_parse_from(["fanhost", "run", "--app", "shop"]).unwrap();
            let Verb::Run(args) = cli.verb else { panic!("run") };
            let config = Config::parse(file, Path::new("fanhost.toml")).unwrap();
            resolve(&args, &config, || "a".to_owned())
        };
        let complaint = start("insecure = false").unwrap_err();
        assert_eq!(complaint.exit, Exit::Configuration);
        assert!(complaint.to_string().contains("or give --insecure, or insecure = true"));
        assert!(start("insecure = true").is_ok());
    }

    #[test]
    fn a_helper_that_would_believe_any_manifest_is_not_started() {
        let start = |arguments: &[&str], file: &str| {
            let line = [&["fanhost", "helper", "--user", "1000", "--app", "shop"], arguments];
            let Verb::Helper(args) = Cli::try_parse_from(line.concat()).unwrap().verb else {
                panic!("helper")
            };
            let config = Config::parse(file, Path::new("fanhost.toml")).unwrap();
            resolve_helper(&args, &config, || "a".to_owned())
        };
        let complaint = start(&[], "").unwrap_err();
        assert_eq!(complaint.exit, Exit::Configuration);
        let begin = "no release could be believed: there is no release.pub for shop; fanfare \
                     keygen makes keys; or give --insecure, or insecure = true in /etc/";
        assert!(complaint.to_string().starts_with(begin), "{complaint}");
        assert!(start(&[], "[trust]\nrelease_keys = []").is_ok(), "nobody is believed");
        for (arguments, file) in [(&["--insecure"][..], ""), (&[], "insecure = true")] {
            assert!(start(arguments, file).is_ok(), "{arguments:?} {file}");
        }
    }

    #[test]
    fn two_apps_in_one_place_are_refused() {
        let file = "[app.blog]\nroot = \"/srv/www\"\n[app.shop]\nroot = \"/srv/www\"\n";
        let (exit, line) = refused(&[], file);
        assert_eq!(exit, Exit::Configuration);
        assert_eq!(line, "[app.blog] and [app.shop] have the same root /srv/www");
    }

    #[test]
    fn a_host_without_apps_is_a_fault_of_its_configuration() {
        let (exit, line) = refused(&[], "");
        assert_eq!(exit, Exit::Configuration);
        assert!(line.starts_with("no app to receive: give --app NAME"), "{line}");
    }

    #[test]
    fn a_wrong_group_is_the_flags_fault_or_the_files() {
        let (exit, line) = refused(&["--app", "shop", "--group", "192.0.2.1:7070"], "");
        assert_eq!(exit, Exit::Usage);
        assert!(line.starts_with("192.0.2.1:7070 is not a multicast address"), "{line}");
        let (exit, line) = refused(&["--app", "shop"], "group = \"192.0.2.1:7070\"");
        assert_eq!(exit, Exit::Configuration);
        assert!(line.starts_with("/etc/fanfare/fanhost.toml: group: 192.0.2.1:7070"), "{line}");
        let (exit, _) = refused(&["--app", "shop", "--source", "::1"], "");
        assert_eq!(exit, Exit::Usage);
    }

    #[test]
    fn a_machines_name_becomes_a_hosts_name_or_is_refused() {
        let name = |machine: &str| host_of_machine(machine).map(|name| name.to_string());
        assert_eq!(name("web-1.example").as_deref(), Ok("web-1.example"));
        assert_eq!(name("müller pc").as_deref(), Ok("m-ller-pc"));
        assert_eq!(name(&"x".repeat(80)).unwrap().len(), 63);
        for nameless in ["", "(none)", "..", "--", "  "] {
            let complaint = host_of_machine(nameless).unwrap_err();
            assert_eq!(complaint.exit, Exit::Configuration);
            assert!(complaint.to_string().ends_with("give --host NAME"), "{complaint}");
        }
    }
}
