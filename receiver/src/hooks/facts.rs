//! What a hook is told of the release: JSON on its standard input, the same in its environment.

use std::ffi::OsString;
use std::path::PathBuf;

use common::id::{AppName, HostName, ImageKind, Label, ReleaseId};
use serde::Serialize;

use super::Point;

/// Version of the JSON's form.
const SCHEMA: u32 = 1;

/// Why a release is switched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A sender asked for it.
    Send,
    /// This host's administrator did.
    Administrator,
    /// He goes back to a release before.
    Rollback,
    /// The release before it was found bad.
    Unhealthy,
    /// The daemon starts, and what it began before its end is done again.
    Restart,
}

impl Cause {
    /// Whether somebody on this host asked: he is there to see what becomes of it.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Administrator | Self::Rollback)
    }

    /// Its name in FANFARE_CAUSE.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Administrator => "administrator",
            Self::Rollback => "rollback",
            Self::Unhealthy => "unhealthy",
            Self::Restart => "restart",
        }
    }
}

/// The release that a switch leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Previous {
    /// What people call it.
    pub label: Label,
    /// Its identity.
    pub release: ReleaseId,
    /// Where it lies.
    pub path: PathBuf,
}

/// All that a hook is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// This host.
    pub host: HostName,
    /// Why.
    pub cause: Cause,
    /// The app.
    pub app: AppName,
    /// What people call the release.
    pub label: Label,
    /// Its identity.
    pub release: ReleaseId,
    /// Epoch of its sequence.
    pub epoch: u32,
    /// Its sequence.
    pub sequence: u64,
    /// When it was packed, Unix seconds.
    pub created: u64,
    /// What its image is.
    pub kind: ImageKind,
    /// Where it lies for as long as it is on this host.
    pub path: PathBuf,
    /// The path that services follow.
    pub current: PathBuf,
    /// What was current before, if anything was.
    pub previous: Option<Previous>,
}

#[derive(Serialize)]
struct Input<'a> {
    schema: u32,
    hook: Point,
    #[serde(flatten)]
    facts: &'a Facts,
}

impl Facts {
    /// The facts as one JSON object with a line break.
    pub fn to_json(&self, hook: Point) -> Vec<u8> {
        let input = Input { schema: SCHEMA, hook, facts: self };
        let mut text = serde_json::to_vec(&input).expect("words, numbers and paths serialise");
        text.push(b'\n');
        text
    }

    /// The facts as variables; those of a previous release are empty where there is none.
    pub fn environment(&self, hook: Point) -> Vec<(&'static str, OsString)> {
        let previous = self.previous.as_ref();
        let path = |path: &PathBuf| path.clone().into_os_string();
        let text = |text: String| OsString::from(text);
        vec![
            ("FANFARE_HOOK", hook.as_str().into()),
            ("FANFARE_CAUSE", self.cause.as_str().into()),
            ("FANFARE_HOST", self.host.as_str().into()),
            ("FANFARE_APP", self.app.as_str().into()),
            ("FANFARE_LABEL", self.label.as_str().into()),
            ("FANFARE_RELEASE", text(self.release.to_string())),
            ("FANFARE_EPOCH", text(self.epoch.to_string())),
            ("FANFARE_SEQUENCE", text(self.sequence.to_string())),
            ("FANFARE_CREATED", text(self.created.to_string())),
            ("FANFARE_KIND", self.kind.as_str().into()),
            ("FANFARE_PATH", path(&self.path)),
            ("FANFARE_CURRENT", path(&self.current)),
            (
                "FANFARE_PREVIOUS_LABEL",
                previous.map_or_else(OsString::new, |it| it.label.as_str().into()),
            ),
            (
                "FANFARE_PREVIOUS_RELEASE",
                text(previous.map_or_else(String::new, |it| it.release.to_string())),
            ),
            ("FANFARE_PREVIOUS_PATH", previous.map_or_else(OsString::new, |it| path(&it.path))),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use common::digest::Digest;

    pub(in crate::hooks) fn facts() -> Facts {
        Facts {
            host: "web-1".parse().unwrap(),
            cause: Cause::Send,
            app: "shop".parse().unwrap(),
            label: "2.0".parse().unwrap(),
            release: ReleaseId(Digest::of(b"2.0")),
            epoch: 0,
            sequence: 17,
            created: 1_700_000_000,
            kind: ImageKind::Tar,
            path: "/srv/shop/releases/2.0-4711".into(),
            current: "/srv/shop/current".into(),
            previous: None,
        }
    }

    #[test]
    fn a_script_reads_the_facts_as_json_and_as_variables() {
        let mut facts = facts();
        let value: serde_json::Value =
            serde_json::from_slice(&facts.to_json(Point::PreActivate)).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["hook"], "pre-activate");
        assert_eq!(value["cause"], "send");
        assert_eq!(value["sequence"], 17);
        assert_eq!(value["previous"], serde_json::Value::Null);
        let variable = |facts: &Facts, name: &str| {
            let all = facts.environment(Point::PostActivate);
            all.into_iter().find(|(key, _)| *key == name).unwrap().1
        };
        assert_eq!(variable(&facts, "FANFARE_HOOK"), "post-activate");
        assert_eq!(variable(&facts, "FANFARE_PATH"), "/srv/shop/releases/2.0-4711");
        assert_eq!(variable(&facts, "FANFARE_PREVIOUS_PATH"), "");
        facts.previous = Some(Previous {
            label: "1.0".parse().unwrap(),
            release: ReleaseId(Digest::of(b"1.0")),
            path: "/srv/shop/releases/1.0-4710".into(),
        });
        assert_eq!(variable(&facts, "FANFARE_PREVIOUS_PATH"), "/srv/shop/releases/1.0-4710");
        assert_eq!(variable(&facts, "FANFARE_PREVIOUS_LABEL"), "1.0");
    }
}
