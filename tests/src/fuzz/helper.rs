//! What comes through the sockets of a host: requests to the helper, its replies, the verbs.

use receiver::keeper::message::{MESSAGE_BYTES_MAX, Reply, Request, receive, send};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is understood is the same once it is said again, and fits into a message.
pub fn helper(data: &[u8]) {
    let _ = repeated::<Request>(data);
    if let Some(reply) = repeated::<Reply>(data) {
        let _ = reply.answer.into_result();
    }
    if let Ok(request) = serde_json::from_slice::<receiver::verbs::Request>(data) {
        let said = serde_json::to_vec(&request).expect("plain data");
        assert_eq!(serde_json::from_slice::<receiver::verbs::Request>(&said).ok(), Some(request));
    }
}

fn repeated<T>(data: &[u8]) -> Option<T>
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let message: T = receive(data).ok()?;
    let mut said = Vec::new();
    // What was written with fewer letters than we write may be too long for us to say.
    if send(&mut said, &message).is_ok() {
        assert!(said.len() <= 4 + MESSAGE_BYTES_MAX as usize);
        assert_eq!(receive::<T>(&said[..]).ok().as_ref(), Some(&message));
    }
    Some(message)
}
