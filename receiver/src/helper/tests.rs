//! Who may ask the helper, and what he gets.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use common::bundle::Manifest;
use common::id::ImageKind;
use common::net::StopFlag;
use rustix::process::{Gid, Uid};

use super::{expect_roots_own, serve};
use crate::activation::Activator;
use crate::helper::Options;
use crate::keeper::message::{Answer, Reply, Request, receive, send};
use crate::keeper::{Keeper, Remote, socket};
use crate::status;
use crate::store::fixture::{Place, Release, TENANT, is_root, shop};
use crate::store::{Offer, Store, SystemWorld};

/// Runs `ask` as `user` beside a helper that listens at the socket it is given.
fn beside_a_helper(name: &str, user: u32, ask: impl FnOnce(&Path) + Send) {
    if !is_root(name) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let place = Place::new(directory.path());
    let path = directory.path().join("helper.sock");
    let apps = vec![place.config()];
    let store = Store::open_for(Arc::new(SystemWorld), &place.store, apps.clone(), Some(TENANT));
    let store = Arc::new(store.unwrap());
    let host = "web-1".parse().unwrap();
    let options = Options {
        socket: path.clone(),
        store: place.store,
        apps,
        policies: BTreeMap::new(),
        host,
        tenant: TENANT,
    };
    let host = options.host.clone();
    let activator = Activator::new(store, host, &options.apps, &options.policies);
    let listener = socket::bind(&path, TENANT).unwrap();
    listener.set_nonblocking(true).unwrap();
    let stop = StopFlag::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&activator, &options, &listener, &stop).unwrap());
        let asked = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(TENANT.group));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            ask(&path);
        });
        let asked = asked.join();
        stop.raise();
        asked.unwrap();
    });
}

#[test]
fn the_receiving_user_is_answered_and_given_the_socket_of_status() {
    beside_a_helper("the_receiving_user_is_answered", TENANT.user, |path| {
        let remote = Remote::connect(path).unwrap();
        assert_eq!(remote.apps(), [shop()]);
        assert_eq!(remote.directories(), [remote.store().join("shop/incoming")]);
        assert!(!remote.capabilities().kinds.is_empty());
        assert_eq!(remote.take_complaints(), [""; 0]);
        let listener = UnixListener::from(remote.listener().unwrap());
        let bound = listener.local_addr().unwrap();
        assert_eq!(bound.as_pathname(), Some(&*remote.store().join(status::SOCKET)));
        let line = remote.prune(&"blog".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(line, "blog is no app of this host (there are: shop)");
    });
}

#[test]
fn space_is_set_aside_for_as_long_as_the_connection_is_open_that_asked_for_it() {
    beside_a_helper("space_is_set_aside", TENANT.user, |path| {
        let remote = Remote::connect(path).unwrap();
        let release = Release::raw(1);
        let image = release.preamble.manifest.image.digest;
        let free = remote.holdings(&shop(), &release.id(), &image).unwrap().free_bytes;
        let share = free / 10 * 6;
        let [one, two] = [1, 2].map(|sequence| {
            let data = Release::raw(sequence).image;
            let change = |manifest: &mut Manifest| manifest.image.bytes = share;
            let release = Release::changed(ImageKind::Raw, sequence, data, change);
            Offer { data_bytes: share, ..release.offer() }
        });
        let claim = remote.reserve(&shop(), &one).unwrap();
        let Err(error) = remote.reserve(&shop(), &two) else { panic!("both were promised") };
        assert!(error.to_string().contains(" of it promised to other transfers"), "{error}");
        drop(claim);
        let _claim = remote.reserve(&shop(), &two).unwrap();
    });
}

#[test]
fn another_user_of_the_same_group_is_not_answered() {
    beside_a_helper("another_user_of_the_same_group", TENANT.user + 1, |path| {
        let stream = UnixStream::connect(path).unwrap();
        // It may be gone before it is asked, or before it answers.
        let _ = send(&stream, &Request::Hello);
        assert!(receive::<Reply>(&stream).is_err());
    });
}

#[test]
fn a_request_that_is_not_understood_is_left_and_the_next_one_answered() {
    beside_a_helper("a_request_that_is_not_understood", TENANT.user, |path| {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x05{...}", b"\0"] {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(receive::<Reply>(&stream).is_err(), "{bytes:?}");
        }
        let stream = UnixStream::connect(path).unwrap();
        send(&stream, &Request::Hello).unwrap();
        let reply: Reply = receive(&stream).unwrap();
        assert!(matches!(reply.answer, Answer::Host(_)), "{reply:?}");
    });
}

#[test]
fn only_root_may_have_written_the_configuration() {
    if !is_root("only_root_may_have_written_the_configuration") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fanhost.toml");
    fs::write(&file, "").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    expect_roots_own(&file).unwrap();
    mode(&file, 0o664);
    let line = expect_roots_own(&file).unwrap_err().to_string();
    assert!(line.contains("can be changed by others than root"), "{line}");
    mode(&file, 0o644);
    mode(directory.path(), 0o777);
    let line = expect_roots_own(&file).unwrap_err().to_string();
    assert!(line.contains(&format!("chmod go-w {}", directory.path().display())), "{line}");
    mode(directory.path(), 0o755);
    std::os::unix::fs::chown(&file, Some(TENANT.user), None).unwrap();
    assert!(expect_roots_own(&file).is_err());
    assert!(expect_roots_own(Path::new("/nonexistent/fanhost.toml")).is_err());
}
