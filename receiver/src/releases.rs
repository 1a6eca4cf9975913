//! `fanhost releases`: what the store holds, as a table for people or as JSON for scripts.
//!
//! Not here: reading the store.

use std::fmt::Write;

use common::units::ByteSize;
use serde::Serialize;

use crate::columns::aligned;
use crate::store::{Inventory, ReleaseFacts};

/// Version of the JSON's form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Listing<'a> {
    schema: u32,
    #[serde(flatten)]
    held: &'a Inventory,
}

/// What the store holds as one JSON object with a line break.
pub fn to_json(held: &Inventory) -> String {
    let listing = Listing { schema: SCHEMA, held };
    let mut text = serde_json::to_string_pretty(&listing).expect("plain facts serialise");
    text.push('\n');
    text
}

/// The releases as a table: one line each, newest first within an app; then the images of none.
pub fn to_table(held: &Inventory) -> String {
    let mut text = release_table(&held.releases);
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
    let heads = ["APP", "RELEASE", "ID", "KIND", "SIZE", "SEQUENCE", "STATE"].map(String::from);
    let rows: Vec<_> = std::iter::once(heads).chain(releases.iter().map(row)).collect();
    aligned(&rows)
}

fn row(facts: &ReleaseFacts) -> [String; 7] {
    [
        facts.app.to_string(),
        facts.label.to_string(),
        facts.id.0.short(),
        facts.kind.to_string(),
        ByteSize(facts.bytes).to_string(),
        facts.sequence.to_string(),
        state(facts).into(),
    ]
}

fn state(facts: &ReleaseFacts) -> &'static str {
    match facts {
        ReleaseFacts { is_current: true, is_staged: true, .. } => "current",
        ReleaseFacts { is_current: true, .. } => "current, NOT MOUNTED",
        ReleaseFacts { is_previous: true, is_staged: true, .. } => "previous",
        ReleaseFacts { is_staged: true, .. } => "staged",
        ReleaseFacts { has_image: true, .. } => "image only",
        _ => "incomplete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Record, SpareImage};
    use common::digest::Digest;
    use common::id::{ImageKind, ReleaseId};

    fn held(releases: Vec<ReleaseFacts>) -> Inventory {
        Inventory { releases, images: Vec::new() }
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
        }
    }

    #[test]
    fn the_table_shows_which_release_is_current() {
        let table = to_table(&held(vec![facts("v2", true, true), facts("v1", false, false)]));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "APP   RELEASE  ID            KIND   SIZE     SEQUENCE  STATE");
        assert_eq!(lines[1], "shop  v2       a32d57bd2838  erofs  900 MiB  17        current");
        assert!(lines[2].ends_with("image only"));
        assert!(to_table(&held(vec![facts("v2", true, false)])).contains("NOT MOUNTED"));
        assert_eq!(to_table(&held(vec![])), "no releases\n");
        let image = SpareImage {
            app: "shop".parse().unwrap(),
            image: Digest::of(b"image"),
            kind: ImageKind::Erofs,
            bytes: 943_718_400,
        };
        let table = to_table(&Inventory { releases: vec![], images: vec![image] });
        let line = "shop: image 0229ff7dec8a (erofs, 900 MiB) belongs to no release";
        assert_eq!(table, format!("no releases\n{line}\n"));
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
