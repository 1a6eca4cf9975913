//! What a confined thread tries, and is refused.

#![expect(clippy::disallowed_methods, reason = "tests touch files")]

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use common::sys::processes::{self, Namespace};
use rustix::mount::MountFlags;
use rustix::process::{Gid, Signal, Uid};

use super::{ConfineError, enter, enter_tree};
use crate::store::fixture::is_root;

/// A user that nobody is.
const USER: u32 = 64_321;

/// Does `attempt` in a thread that is confined to `incoming` as a process of its own would be.
fn confined<T: Send>(incoming: &Path, attempt: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            let missing = enter(&[incoming.to_path_buf()]).unwrap();
            missing.iter().for_each(|line| eprintln!("{line}"));
            attempt()
        });
        thread.join().unwrap()
    })
}

fn is_denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn what_may_be_gained_is_dropped_with_what_is_held_where_that_is_allowed() {
    use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};
    if !is_root("what_may_be_gained_is_dropped") {
        return;
    }
    let kept = CapabilitySet::CHOWN | CapabilitySet::FOWNER;
    let left = std::thread::spawn(move || {
        super::keep_capabilities(kept).unwrap();
        let is_left = |it: &CapabilitySet| capability_is_in_bounding_set(*it).unwrap_or(false);
        let bounding: CapabilitySet = CapabilitySet::all().iter().filter(is_left).collect();
        (bounding, capabilities(None).unwrap().permitted)
    });
    assert_eq!(left.join().unwrap(), (kept, kept));
}

#[test]
fn a_confined_process_writes_what_it_receives_and_is_refused_the_rest() {
    if !is_root("a_confined_process_writes_what_it_receives") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["incoming", "open"] {
        fs::create_dir(path(name)).unwrap();
        chown(path(name), Some(USER), Some(USER)).unwrap();
    }
    // What everybody may read, and what only root may: the helper's configuration and keys.
    fs::write(path("fanhost.toml"), "insecure = true").unwrap();
    fs::write(path("key"), "secret").unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path("key"), Permissions::from_mode(0o600)).unwrap();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
    let process = victim.id();

    confined(&path("incoming"), || {
        let part = path("incoming").join("x.part");
        fs::write(&part, "received").unwrap();
        assert_eq!(fs::read_to_string(&part).unwrap(), "received");
        fs::remove_file(&part).unwrap();
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();

        assert!(is_denied(fs::write(path("open/x"), "")), "writes where its mode allows");
        assert!(is_denied(fs::write("/tmp/fanfare-confined", "")), "writes to /tmp");
        assert!(is_denied(fs::create_dir(path("incoming/d"))), "makes directories");
        assert!(is_denied(fs::rename(path("incoming"), path("open/y"))), "renames its directory");
        let link = std::os::unix::fs::symlink("/etc", path("incoming/link"));
        assert!(is_denied(link), "makes links");
        assert!(is_denied(fs::read(path("fanhost.toml"))), "reads the helper's configuration");
        assert!(is_denied(fs::read(path("key"))), "reads the helper's keys");
        assert!(is_denied(fs::read_dir("/")), "lists directories");
        let none = None::<&std::ffi::CStr>;
        let mounted =
            rustix::mount::mount("none", path("incoming"), "tmpfs", MountFlags::empty(), none);
        assert!(is_denied(mounted.map_err(Into::into)), "mounts");
        assert!(is_denied(processes::leave(Namespace::Users)), "makes namespaces");
        let parent = rustix::process::getpid();
        assert!(is_denied(processes::trace(parent.as_raw_pid())), "traces a process of root");
        assert!(is_denied(processes::trace(process.cast_signed())), "traces another");
        let victim = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
        let killed = rustix::process::kill_process(victim, Signal::KILL);
        assert!(is_denied(killed.map_err(Into::into)), "kills");
        assert!(is_denied(Command::new("sleep").arg("0").spawn()), "starts programs");
        let root = Uid::ROOT;
        let user = rustix::thread::set_thread_res_uid(root, root, root);
        assert!(is_denied(user.map_err(Into::into)), "becomes root");
        assert!(is_denied(TcpStream::connect((Ipv4Addr::LOCALHOST, port))), "connects by TCP");
        assert!(is_denied(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))), "listens by TCP");
    });
    assert!(victim.try_wait().unwrap().is_none(), "the other process lives");
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn root_is_not_confined_but_refused() {
    if is_root("root_is_not_confined_but_refused") {
        assert!(matches!(enter(&[]), Err(ConfineError::Root)));
    }
}

/// Does `attempt` in a thread that is confined to the tree as an unpacker would be. A thread has a
/// current directory and a root of its own once it left the mounts of its process.
fn unpacking<T: Send>(tree: &Path, attempt: impl FnOnce(Vec<String>) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            processes::leave(Namespace::Mounts).unwrap();
            std::env::set_current_dir(tree).unwrap();
            attempt(enter_tree().unwrap())
        });
        thread.join().unwrap()
    })
}

#[test]
fn an_unpacker_makes_things_in_its_tree_gives_them_away_and_reaches_nothing_else() {
    if !is_root("an_unpacker_makes_things_in_its_tree") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(directory.path().join("victim"), "untouched").unwrap();
    let victim = directory.path().join("victim");
    let lines = unpacking(&tree, |lines| {
        fs::create_dir("d").unwrap();
        fs::write("d/file", "x").unwrap();
        fs::hard_link("d/file", "again").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", "link").unwrap();
        let (user, group) = (Some(Uid::from_raw(7)), Some(Gid::from_raw(8)));
        let own = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(rustix::fs::CWD, "link", user, group, own).unwrap();
        let file = fs::File::create("file").unwrap();
        std::os::unix::fs::fchown(&file, Some(33), Some(34)).unwrap();
        file.set_permissions(Permissions::from_mode(0o640)).unwrap();

        let gone = |path: &Path| fs::symlink_metadata(path).unwrap_err().kind();
        assert_eq!(gone(&victim), ErrorKind::NotFound, "it has another root");
        assert_eq!(gone(Path::new("../victim")), ErrorKind::NotFound);
        assert_eq!(gone(Path::new("/proc/self")), ErrorKind::NotFound);
        assert!(is_denied(fs::read("d/file")), "reads");
        assert!(is_denied(fs::remove_file("d/file")), "removes");
        assert!(is_denied(fs::rename("d", "e")), "renames");
        assert!(is_denied(fs::set_permissions("d/file", Permissions::from_mode(0o777))), "by name");
        assert!(is_denied(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))), "opens sockets");
        assert!(is_denied(std::os::unix::net::UnixStream::pair()), "also local ones");
        assert!(is_denied(Command::new("/bin/true").spawn()), "starts programs");
        let none = None::<&std::ffi::CStr>;
        let flags = MountFlags::empty();
        let mounted = rustix::mount::mount("none", "d", "tmpfs", flags, none);
        assert!(is_denied(mounted.map_err(Into::into)), "mounts");
        assert!(is_denied(rustix::process::chroot("d").map_err(Into::into)), "changes its root");
        let parent = rustix::process::getpid();
        assert!(is_denied(processes::trace(parent.as_raw_pid())), "traces");
        let killed = rustix::process::kill_process(parent, Signal::USR1);
        assert!(is_denied(killed.map_err(Into::into)), "signals");
        lines
    });
    assert_eq!(lines, [""; 0], "this kernel and these rights leave nothing open");
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    let facts = fs::metadata(tree.join("file")).unwrap();
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o777), (33, 34, 0o640));
    assert_eq!(fs::symlink_metadata(tree.join("link")).unwrap().uid(), 7);
}
