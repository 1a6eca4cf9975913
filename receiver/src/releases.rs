//! What the store holds, why, and in what condition: as tables for people or as JSON for scripts.
//!
//! Not here: reading the store.

use std::fmt::Write;

use common::units::ByteSize;
use serde::Serialize;

use crate::columns::aligned;
use crate::store::{
    Audit, Finding, HeldApp, Inventory, Keep, Leftover, Planned, Pruned, ReleaseFacts, Verdict,
};

/// Version of the JSON's form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Answer<'a, T> {
    schema: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// What the store holds as one JSON object with a line break.
pub fn to_json(held: &Inventory) -> String {
    json(held)
}

/// The releases as a table: one line each, newest first within an app; then what is held, and the
/// images of none.
pub fn to_table(held: &Inventory) -> String {
    let mut text = release_table(&held.releases);
    for HeldApp { app, hold } in &held.held {
        let _ = writeln!(text, "{app} is {hold}");
    }
    for image in &held.images {
        let (app, short, kind) = (&image.app, image.image.short(), image.kind);
        let bytes = ByteSize(image.bytes);
        let _ = writeln!(text, "{app}: image {short} ({kind}, {bytes}) belongs to no release");
    }
    text
}

fn release_table(releases: &[ReleaseFacts]) -> String {
    if releases.is_empty() {
        return "no releases\n".into();
    }
    let heads = ["APP", "RELEASE", "ID", "KIND", "SIZE", "SEQUENCE", "STATE", "KEPT"];
    table(heads, releases.iter().map(row))
}

fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(heads.map(String::from)).chain(rows).collect();
    aligned(&rows)
}

fn row(facts: &ReleaseFacts) -> [String; 8] {
    [
        facts.app.to_string(),
        facts.label.to_string(),
        facts.id.0.short(),
        facts.kind.to_string(),
        ByteSize(facts.bytes).to_string(),
        facts.sequence.to_string(),
        state(facts),
        why(&facts.kept),
    ]
}

fn state(facts: &ReleaseFacts) -> String {
    let place = match facts {
        ReleaseFacts { is_current: true, is_staged: true, .. } => "current",
        ReleaseFacts { is_current: true, .. } => "current, NOT MOUNTED",
        ReleaseFacts { is_staged: true, .. } => "staged",
        ReleaseFacts { has_image: true, .. } => "image only",
        _ => "incomplete",
    };
    let damage = if facts.record.damaged { ", DAMAGED" } else { "" };
    match &facts.record.verdict {
        Verdict::Good => format!("{place}{damage}, good"),
        Verdict::Bad(reason) => format!("{place}{damage}, BAD: {reason}"),
        Verdict::Unjudged => format!("{place}{damage}"),
    }
}

/// Why a release is kept, in words.
fn why(kept: &[Keep]) -> String {
    match kept {
        [] => "goes at the next prune".to_owned(),
        // That it also is a good one is no news; who would keep it without that, is.
        [Keep::Active, more @ ..] => {
            let is_news = |why: &&Keep| matches!(why, Keep::Pinned { .. } | Keep::InUse { .. });
            words(std::iter::once(&Keep::Active).chain(more.iter().filter(is_news)))
        }
        all => words(all.iter()),
    }
}

fn words<'a>(kept: impl Iterator<Item = &'a Keep>) -> String {
    kept.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why each release is kept, or that it goes, as a table.
pub fn reasons_to_table(pruned: &Pruned) -> String {
    let row = |planned: &Planned| {
        let Planned { app, label, id, kept, bytes } = planned;
        let frees = if kept.is_empty() { ByteSize(*bytes).to_string() } else { "-".into() };
        let why = match kept.is_empty() {
            true => "nothing: it goes".to_owned(),
            false => words(kept.iter()),
        };
        [app.to_string(), label.to_string(), id.0.short(), frees, why]
    };
    let mut text = match pruned.releases.is_empty() {
        true => "no releases\n".to_owned(),
        false => table(["APP", "RELEASE", "ID", "FREES", "KEPT"], pruned.releases.iter().map(row)),
    };
    for Leftover { path, bytes } in &pruned.leftovers {
        let _ = writeln!(text, "{} goes, {} freed", path.display(), ByteSize(*bytes));
    }
    text
}

/// What went, or with `is_dry` would go, in a line each.
pub fn pruned_to_lines(pruned: &Pruned, is_dry: bool) -> String {
    let mut text: String = match is_dry {
        false => pruned.lines().iter().map(|line| format!("{line}\n")).collect(),
        true => pruned.lines().iter().map(|line| format!("would be: {line}\n")).collect(),
    };
    if text.is_empty() {
        text.push_str("nothing to prune\n");
    }
    text
}

/// What went, or would go, and why the rest stays, as one JSON object with a line break.
pub fn pruned_to_json(pruned: &Pruned) -> String {
    json(pruned)
}

/// What was found of one release, in a line.
pub fn audit_to_line(audit: &Audit) -> String {
    let Audit { app, label, finding, .. } = audit;
    match finding {
        Finding::Intact { bytes } => format!("{app} {label}: intact, {}\n", ByteSize(*bytes)),
        Finding::Damaged { path } => format!("{app} {label}: DAMAGED: {}\n", path.display()),
        Finding::Gone { path } => format!("{app} {label}: GONE: {}\n", path.display()),
        Finding::Unknown => {
            format!("{app} {label}: not looked at, its archive went when its tree was active\n")
        }
    }
}

/// What was found of each release, as one JSON object with a line break.
pub fn audits_to_json(audits: &[Audit]) -> String {
    #[derive(Serialize)]
    struct Audits<'a> {
        releases: &'a [Audit],
    }
    json(&Audits { releases: audits })
}

fn json<T: Serialize>(content: &T) -> String {
    let mut text = serde_json::to_string_pretty(&Answer { schema: SCHEMA, content })
        .expect("plain facts serialise");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Held, Record, SpareImage};
    use common::digest::Digest;
    use common::id::{ImageKind, ReleaseId};

    fn held(releases: Vec<ReleaseFacts>) -> Inventory {
        Inventory { releases, ..Inventory::default() }
    }

    fn facts(label: &str, is_current: bool, is_staged: bool) -> ReleaseFacts {
        ReleaseFacts {
            app: "shop".parse().unwrap(),
            label: label.parse().unwrap(),
            id: ReleaseId(Digest::of(label.as_bytes())),
            kind: ImageKind::Erofs,
            bytes: 943_718_400,
            epoch: 0,
            sequence: 17,
            created: 1_700_000_000,
            path: "/srv/shop/releases/x".into(),
            is_current,
            is_previous: false,
            is_staged,
            is_mounted: is_staged,
            has_image: true,
            record: Record::default(),
            kept: if is_current { vec![Keep::Active, Keep::Good] } else { Vec::new() },
        }
    }

    #[test]
    fn the_table_shows_which_release_is_current() {
        let table = to_table(&held(vec![facts("v2", true, true), facts("v1", false, false)]));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0],
            "APP   RELEASE  ID            KIND   SIZE     SEQUENCE  STATE       KEPT"
        );
        assert_eq!(
            lines[1],
            "shop  v2       a32d57bd2838  erofs  900 MiB  17        current     active"
        );
        assert!(lines[2].ends_with("image only  goes at the next prune"), "{}", lines[2]);
        let mut damaged = facts("v2", true, false);
        damaged.record.damaged = true;
        assert!(to_table(&held(vec![damaged])).contains("current, NOT MOUNTED, DAMAGED  "));
        assert_eq!(to_table(&held(vec![])), "no releases\n");
        let image = SpareImage {
            app: "shop".parse().unwrap(),
            image: Digest::of(b"image"),
            kind: ImageKind::Erofs,
            bytes: 943_718_400,
        };
        let table = to_table(&Inventory { images: vec![image], ..Inventory::default() });
        let line = "shop: image 0229ff7dec8a (erofs, 900 MiB) belongs to no release";
        assert_eq!(table, format!("no releases\n{line}\n"));
    }

    #[test]
    fn who_uses_the_current_release_is_said_beside_that_it_is_active() {
        let mut facts = facts("v2", true, true);
        let how = "in use by php (process 7: run-pinned)".to_owned();
        facts.kept = vec![Keep::Active, Keep::InUse { how }, Keep::Good];
        let table = to_table(&held(vec![facts]));
        assert!(table.ends_with("active, in use by php (process 7: run-pinned)\n"), "{table}");
    }

    #[test]
    fn a_bad_release_and_an_app_that_is_held_are_said() {
        let mut bad = facts("v2", false, true);
        bad.record.verdict = Verdict::Bad("it says 503".into());
        let hold = Held {
            from: bad.id,
            label: "v2".parse().unwrap(),
            epoch: 0,
            sequence: 17,
            since: 1_700_000_000,
        };
        let held = vec![HeldApp { app: "shop".parse().unwrap(), hold }];
        let table = to_table(&Inventory { releases: vec![bad], held, ..Inventory::default() });
        assert!(table.contains("staged, BAD: it says 503  goes at the next prune\n"), "{table}");
        let line = "\nshop is held by a local rollback from v2 since 2023-11-14T22:13:20Z\n";
        assert!(table.ends_with(line), "{table}");
    }

    #[test]
    fn a_prune_is_told_line_by_line_or_explained_as_a_table() {
        let planned = |label: &str, kept: Vec<Keep>| Planned {
            app: "shop".parse().unwrap(),
            label: label.parse().unwrap(),
            id: ReleaseId(Digest::of(label.as_bytes())),
            bytes: if kept.is_empty() { 943_718_400 } else { 0 },
            kept,
        };
        let releases = vec![planned("v2", vec![Keep::Active, Keep::Good]), planned("v1", vec![])];
        let leftovers = vec![Leftover { path: "/a/b.part".into(), bytes: 1024 }];
        let pruned = Pruned { releases, leftovers, complaints: vec![] };
        let lines = "shop v1: pruned, 900 MiB freed\n/a/b.part removed, 1.00 KiB freed\n";
        assert_eq!(pruned_to_lines(&pruned, false), lines);
        assert!(pruned_to_lines(&pruned, true).starts_with("would be: shop v1: pruned, "));
        assert_eq!(pruned_to_lines(&Pruned::default(), false), "nothing to prune\n");
        let table = "\
APP   RELEASE  ID            FREES    KEPT
shop  v2       a32d57bd2838  -        active, among the last good ones
shop  v1       2a84887509a9  900 MiB  nothing: it goes
/a/b.part goes, 1.00 KiB freed
";
        assert_eq!(reasons_to_table(&pruned), table);
        let value: serde_json::Value = serde_json::from_str(&pruned_to_json(&pruned)).unwrap();
        assert_eq!(
            (&value["schema"], &value["releases"][0]["kept"][0]["why"]),
            (&1.into(), &"active".into())
        );
    }

    #[test]
    fn the_json_has_a_schema_and_base_units() {
        let value: serde_json::Value =
            serde_json::from_str(&to_json(&held(vec![facts("v2", true, true)]))).unwrap();
        assert_eq!(value["images"], serde_json::json!([]));
        assert_eq!(value["schema"], 1);
        assert_eq!(value["releases"][0]["bytes"], 943_718_400_u64);
        assert_eq!(value["releases"][0]["kind"], "erofs");
    }
}
