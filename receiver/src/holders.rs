//! `fanhost holders`: who still uses a release, as a table for people or as JSON for scripts.
//!
//! Not here: finding out, which the store does.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::count::counted;
use common::id::{AppName, Label, ReleaseId};
use serde::Serialize;

use crate::columns::aligned;
use crate::store::{Hold, Holder, ReleaseFacts, holders};

/// Version of the JSON's form.
const SCHEMA: u32 = 1;

/// Releases with those who use them.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    /// Processes that could not be looked into.
    unseen: usize,
    releases: Vec<Held>,
}

#[derive(Debug, Serialize)]
struct Held {
    app: AppName,
    label: Label,
    id: ReleaseId,
    path: PathBuf,
    holders: Vec<Holder>,
}

/// Leaves those releases that are asked for.
///
/// # Errors
/// When there is none of that name.
pub fn select(
    releases: &mut Vec<ReleaseFacts>,
    app: Option<&AppName>,
    release: Option<&str>,
) -> Result<(), String> {
    let Some(app) = app else { return Ok(()) };
    releases.retain(|facts| facts.app == *app);
    if releases.is_empty() {
        return Err(format!("no release of {app} lies in this store"));
    }
    let Some(release) = release else { return Ok(()) };
    let is_meant = |facts: &ReleaseFacts| {
        facts.label.as_str() == release || facts.id.to_string().starts_with(release)
    };
    if !releases.iter().any(is_meant) {
        let labels: Vec<&str> = releases.iter().map(|facts| facts.label.as_str()).collect();
        return Err(format!("{app} has no release {release} (there are: {})", labels.join(", ")));
    }
    releases.retain(is_meant);
    Ok(())
}

impl Report {
    /// Looks who uses these releases now.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn of(releases: Vec<ReleaseFacts>) -> io::Result<Self> {
        let paths: Vec<&Path> = releases.iter().map(|facts| facts.path.as_path()).collect();
        let census = holders(&paths)?;
        let held = releases.into_iter().zip(census.holders).map(|(facts, holders)| Held {
            app: facts.app,
            label: facts.label,
            id: facts.id,
            path: facts.path,
            holders,
        });
        Ok(Self { schema: SCHEMA, unseen: census.unseen, releases: held.collect() })
    }

    /// As one JSON object with a line break.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain facts serialise");
        text.push('\n');
        text
    }

    /// As a table: one line for each holder.
    pub fn to_table(&self) -> String {
        let heads = ["APP", "RELEASE", "PID", "AGE", "UNIT", "COMMAND", "HOLDS"].map(String::from);
        let mut rows = vec![heads];
        for held in &self.releases {
            rows.extend(held.holders.iter().map(|holder| row(held, holder)));
        }
        let mut text = match (rows.len(), self.releases.as_slice()) {
            (1, []) => "no releases\n".to_owned(),
            (1, [only]) => format!("nobody uses {} {}\n", only.app, only.label),
            (1, all) => format!("nobody uses any of {} releases\n", all.len()),
            _ => aligned(&rows),
        };
        if self.unseen > 0 {
            let processes = counted(self.unseen as u64, "process");
            let _ = writeln!(text, "{processes} could not be looked into: run this as root");
        }
        text
    }
}

fn row(held: &Held, holder: &Holder) -> [String; 7] {
    let none = || "-".to_owned();
    let age = |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let holds: Vec<String> = holder.holds.iter().map(Hold::to_string).collect();
    [
        held.app.to_string(),
        held.label.to_string(),
        holder.pid.map_or_else(none, |pid| pid.to_string()),
        holder.age_seconds.map_or_else(none, age),
        holder.unit.clone().unwrap_or_else(none),
        holder.short_command(),
        holds.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::How;
    use common::digest::Digest;

    fn report(unseen: usize) -> Report {
        let hold = |how, count| Hold { how, count, path: "/srv/shop/releases/v1-x/a".into() };
        let php = Holder {
            pid: Some(4711),
            command: "php import.php".into(),
            unit: Some("cron.service".into()),
            age_seconds: Some(7260),
            holds: vec![hold(How::Cwd, 1), hold(How::File, 3)],
        };
        let mount = Holder {
            pid: None,
            command: "[mount]".into(),
            unit: None,
            age_seconds: None,
            holds: vec![hold(How::Mount, 1)],
        };
        let held = Held {
            app: "shop".parse().unwrap(),
            label: "v1".parse().unwrap(),
            id: ReleaseId(Digest::of(b"v1")),
            path: "/srv/shop/releases/v1-x".into(),
            holders: vec![php, mount],
        };
        Report { schema: SCHEMA, unseen, releases: vec![held] }
    }

    #[test]
    fn the_table_has_a_line_for_each_holder() {
        let table = report(1).to_table();
        let expected = "\
APP   RELEASE  PID   AGE    UNIT          COMMAND         HOLDS
shop  v1       4711  2h 1m  cron.service  php import.php  current directory, 3 files
shop  v1       -     -      -             [mount]         mounted at /srv/shop/releases/v1-x/a
1 process could not be looked into: run this as root
";
        assert_eq!(table, expected);
        let mut free = report(0);
        free.releases[0].holders.clear();
        assert_eq!(free.to_table(), "nobody uses shop v1\n");
    }

    #[test]
    fn the_json_has_words_for_the_ways_and_base_units() {
        let value: serde_json::Value = serde_json::from_str(&report(0).to_json()).unwrap();
        let holder = &value["releases"][0]["holders"][0];
        assert_eq!((&value["schema"], &holder["age_seconds"]), (&1.into(), &7260.into()));
        assert_eq!(holder["holds"][1]["how"], "file");
        assert_eq!(holder["holds"][1]["count"], 3);
    }
}
