//! Configuration files: what an administrator wrote, or an editor left of it.

use std::path::Path;

/// What is refused is refused in one line that names the file; what is taken makes a policy.
pub fn fanhost_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match receiver::config::Config::parse(text, Path::new("fanhost.toml")) {
        Ok(config) => {
            for settings in config.app.values() {
                let policy = settings.policy();
                assert_eq!(policy.pre_activate.len(), settings.pre_activate.len());
                assert_eq!(policy.health.is_some(), settings.health.is_some());
            }
        }
        Err(error) => assert_complaint(&error.to_string(), "fanhost.toml"),
    }
}

/// As [`fanhost_toml`], on the sender's side.
pub fn fanfare_toml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = sender::send::settings::Config::parse(&text, Path::new("fanfare.toml")) {
        assert_complaint(&error.to_string(), "fanfare.toml");
    }
}

fn assert_complaint(line: &str, file: &str) {
    assert!(line.starts_with(file), "{line:?} names no file");
    assert!(!line.contains('\n'), "{line:?} is more than a line");
}
