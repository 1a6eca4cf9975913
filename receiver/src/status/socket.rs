//! The board over a UNIX socket in the store: whoever connects gets one JSON object.
//!
//! Invariant: a reader who does not read, or thousands of them, cost the daemon one connection's
//! memory at a time and none of its sockets' attention.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tracing::warn;

use super::{Snapshot, StatusBoard};
use crate::place::{Place, is_nobody};

/// Name of the socket in the store; no app can have it, because of its first character.
pub const SOCKET: &str = "@status.sock";
/// A reader that takes longer than this is left.
const PATIENCE: Duration = Duration::from_secs(2);
/// A snapshot of eight sessions has a few KiB.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Answers everybody who connects, from the daemon's start until this is dropped; at `listener`, or
/// without one at a socket that is made in the store.
pub async fn serve(board: StatusBoard, listener: Option<std::os::unix::net::UnixListener>) {
    let store = board.opened().await.store;
    let listener = listener.map_or_else(|| bind(&store), Ok);
    let served = match listener {
        Ok(listener) => serve_at(listener, &board).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        warn!("fanhost status will not work: {}: {error}", store.join(SOCKET).display());
    }
}

/// Makes the socket in the store, in the place of a former daemon's.
///
/// # Errors
/// When the store cannot be written to.
pub fn bind(store: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let place = Place::of(store, SOCKET)?;
    // The store's lock is held, so what lies there is a former daemon's.
    match fs::remove_file(&place.path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&place.path)?;
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve_at(
    listener: std::os::unix::net::UnixListener,
    board: &StatusBoard,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let Some(snapshot) = board.snapshot() else { continue };
        let answer = serde_json::to_vec(&snapshot).expect("words and numbers serialise");
        // A reader who has gone away, or does not read, has had its chance.
        let _ = tokio::time::timeout(PATIENCE, stream.write_all(&answer)).await;
    }
}

/// Asks the daemon of `store`; nothing when none is running there.
///
/// # Errors
/// When a daemon is there and cannot be asked or understood.
pub fn ask(store: &Path) -> io::Result<Option<Snapshot>> {
    // A store that is not there has no daemon either.
    let connected = Place::of(store, SOCKET).and_then(|place| UnixStream::connect(&place.path));
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    stream.by_ref().take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map(Some).map_err(|error| {
        io::Error::new(ErrorKind::InvalidData, format!("it speaks another version: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{daemon, session};
    use super::*;
    use tokio::runtime::Builder;

    fn asked(store: &Path) -> Option<Snapshot> {
        let board = StatusBoard::default();
        board.open(daemon(&store.to_string_lossy()));
        board.set_sessions(vec![session("1")]);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let store = store.to_owned();
        runtime.block_on(async {
            let server = tokio::spawn(serve(board, None));
            let mut answer = None;
            for _ in 0..200 {
                let store = store.clone();
                let asked = tokio::task::spawn_blocking(move || ask(&store).unwrap());
                answer = asked.await.unwrap();
                if answer.is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            server.abort();
            answer
        })
    }

    #[test]
    fn a_running_daemon_is_asked_over_its_socket() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(ask(store.path()).unwrap(), None, "nobody there yet");
        let snapshot = asked(store.path()).unwrap();
        assert_eq!(snapshot.daemon.host, "web-1");
        assert_eq!(snapshot.sessions, [session("1")]);
        let mode = fs::metadata(store.path().join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(ask(store.path()).unwrap(), None, "its socket is left, it is not");
        assert!(asked(store.path()).is_some(), "the next daemon takes the place");
    }

    #[test]
    fn a_store_with_a_long_path_has_a_socket_too() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("long".repeat(40));
        fs::create_dir(&store).unwrap();
        assert!(asked(&store).is_some());
    }

    #[test]
    fn a_store_that_is_not_there_has_no_daemon() {
        assert_eq!(ask(Path::new("/nonexistent/store")).unwrap(), None);
    }
}
