//! One GET by hand: connect, ask, read the status line. No redirects, no TLS, no name look-ups.
//!
//! Invariant: it takes its timeout at most, and reads a few KiB at most, whoever answers.
#![expect(clippy::disallowed_methods, reason = "a probe takes time, which is measured here")]

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::limits::ANSWER_BYTES_MAX;
use super::{Ending, Point, Ran};

/// Where a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    address: SocketAddr,
    path: String,
}

impl FromStr for HttpTarget {
    type Err = String;

    /// `http://ADDRESS[:PORT][/PATH]`; a name would be looked up somewhere else.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "{text:?} is no http://ADDRESS[:PORT]/PATH: give an IP address or localhost, and \
                 https by a command such as curl"
            )
        };
        let rest = text.strip_prefix("http://").ok_or_else(form)?;
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        let address = match place.strip_prefix("localhost") {
            Some("") => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80)),
            Some(port) => format!("127.0.0.1{port}").parse().ok(),
            None => place.parse().ok().or_else(|| {
                let bare = place.trim_start_matches('[').trim_end_matches(']');
                bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 80))
            }),
        };
        let address = address.filter(|_| is_plain).ok_or_else(form)?;
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Ok(Self { address, path })
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// Asks `target` and expects `status`; `host` is what the Host header says.
pub fn get(target: &HttpTarget, host: Option<&str>, status: u16, timeout: Duration) -> Ran {
    let begin = Instant::now();
    let (ending, output) = match ask(target, host, begin + timeout) {
        Ok(answer) => match status_of(&answer) {
            Some(answered) if answered == status => (Ending::Exited(0), text_of(&answer)),
            Some(answered) => (Ending::Answered(answered), text_of(&answer)),
            None => (Ending::NoAnswer, format!("{target} does not speak HTTP")),
        },
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            (Ending::TimedOut, format!("{target} did not answer in time"))
        }
        Err(error) => (Ending::NoAnswer, format!("{target}: {error}")),
    };
    Ran { point: Point::Health, ending, took: begin.elapsed(), output }
}

fn ask(target: &HttpTarget, host: Option<&str>, until: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&target.address, left(until)?)?;
    let address = target.address.to_string();
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: fanhost\r\nConnection: close\r\n\r\n",
        target.path,
        host.unwrap_or(&address)
    );
    stream.set_write_timeout(Some(left(until)?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left(until)?))?;
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Its first words are what counts.
            Err(_) if status_of(&answer).is_some() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The number in a whole status line.
fn status_of(answer: &[u8]) -> Option<u16> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&answer[..end]).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?.get(1..)?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// The status line and the beginning of the body.
fn text_of(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or_default();
    match text.split_once("\r\n\r\n") {
        Some((_, body)) if !body.trim().is_empty() => format!("{line}\n{body}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Answers one question with `answer`, and keeps the connection open for a while.
    fn serve(answer: &'static str, pause: Duration) -> (HttpTarget, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health?deep=1", listener.local_addr().unwrap());
        let server = thread::Builder::new().spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 1024];
            let count = stream.read(&mut question).unwrap();
            thread::sleep(pause);
            // The prober may have gone.
            let _ = stream.write_all(answer.as_bytes());
            String::from_utf8_lossy(&question[..count]).into_owned()
        });
        (url.parse().unwrap(), server.unwrap())
    }

    fn asked(answer: &'static str) -> (Ran, String) {
        let (target, server) = serve(answer, Duration::ZERO);
        let ran = get(&target, Some("shop.example"), 200, Duration::from_secs(5));
        (ran, server.join().unwrap())
    }

    #[test]
    fn the_expected_status_is_health_and_another_is_told_with_its_words() {
        let (ran, question) = asked("HTTP/1.1 200 OK\r\nX: y\r\n\r\nfine\n");
        assert!(ran.is_success(), "{ran}");
        assert!(question.starts_with("GET /health?deep=1 HTTP/1.0\r\nHost: shop.example\r\n"));
        let (ran, _) = asked("HTTP/1.0 503 Busy\r\n\r\nno database\n");
        assert_eq!(ran.ending, Ending::Answered(503));
        assert_eq!(ran.to_string(), "health was answered with status 503: no database");
        assert_eq!(asked("SSH-2.0-OpenSSH\r\n").0.ending, Ending::NoAnswer);
        assert_eq!(asked("").0.ending, Ending::NoAnswer);
    }

    #[test]
    fn who_does_not_answer_takes_the_timeout_and_no_longer() {
        let (target, server) = serve("HTTP/1.1 200 OK\r\n\r\n", Duration::from_secs(1));
        let begin = Instant::now();
        let ran = get(&target, None, 200, Duration::from_millis(200));
        assert_eq!(ran.ending, Ending::TimedOut);
        assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
        server.join().unwrap();
        let ran = get(&target, None, 200, Duration::from_secs(1));
        assert_eq!(ran.ending, Ending::NoAnswer, "nobody listens any more: {ran}");
    }

    #[test]
    fn an_endless_answer_is_read_in_part() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target: HttpTarget =
            format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = thread::Builder::new().spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut written = 0;
            let _ = stream.write_all(b"HTTP/1.1 500 No\r\n\r\n");
            while stream.write_all(&[b'x'; 4096]).is_ok() {
                written += 4096;
            }
            written
        });
        let ran = get(&target, None, 200, Duration::from_secs(5));
        assert_eq!(ran.ending, Ending::Answered(500));
        assert!(ran.output.len() < 8192, "{}", ran.output.len());
        assert!(server.unwrap().join().unwrap() > 0);
    }

    #[test]
    fn an_address_and_a_path_make_a_target_and_names_do_not() {
        let shown = |text: &str| text.parse::<HttpTarget>().map(|it| it.to_string());
        assert_eq!(shown("http://127.0.0.1:8080/up").as_deref(), Ok("http://127.0.0.1:8080/up"));
        assert_eq!(shown("http://localhost").as_deref(), Ok("http://127.0.0.1:80/"));
        assert_eq!(shown("http://localhost:81/x").as_deref(), Ok("http://127.0.0.1:81/x"));
        assert_eq!(shown("http://[::1]/x").as_deref(), Ok("http://[::1]:80/x"));
        assert_eq!(shown("http://192.0.2.1/x").as_deref(), Ok("http://192.0.2.1:80/x"));
        for wrong in ["https://127.0.0.1/", "http://shop.example/", "127.0.0.1", "http://::1:x/"] {
            assert!(shown(wrong).unwrap_err().contains("is no http://ADDRESS"), "{wrong}");
        }
        assert!(shown("http://127.0.0.1/a b").is_err());
        assert!(shown("http://127.0.0.1/a\r\nX: y").is_err());
    }
}
