//! What the programs are built from, judged by `deny.toml` as `cargo deny check bans licenses
//! sources` judges it, from what cargo knows without it: crates that are banned, licences that are
//! not allowed, sources that are not crates.io.
//!
//! `cargo deny` takes longer to build than all of this project, so that no run could wait for it.
//! Not here: advisories, which need the network, and duplicates, of which `deny.toml` only warns.
//! Invariant: a key of `deny.toml` that is not understood here is a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

/// Where crates.io's crates come from, in cargo's words.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// `deny.toml`, as far as it is understood.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bans {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: Warn,
    deny: Vec<Ban>,
}

/// What only warns is not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Warn {
    Warn,
    Allow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Deny,
    unknown_git: Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deny {
    Deny,
}

/// A crate that something is built from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crate {
    name: String,
    version: String,
    /// An SPDX expression; empty where it has a file instead, or nothing.
    license: String,
    /// Empty for what lies in this workspace.
    source: String,
}

impl Rules {
    /// Reads `deny.toml`.
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Every crate of the workspace's programs and tests, for each target of the graph.
    ///
    /// # Panics
    /// When cargo does not know.
    pub(crate) fn crates(&self, root: &Path) -> BTreeSet<Crate> {
        assert!(!self.graph.targets.is_empty(), "deny.toml names the targets");
        self.graph.targets.iter().flat_map(|target| crates_for(root, target)).collect()
    }

    /// What is wrong with one of them.
    pub(crate) fn objections(&self, it: &Crate) -> Vec<String> {
        let Sources { unknown_registry: Deny::Deny, unknown_git: Deny::Deny } = &self.sources;
        let mut objections = Vec::new();
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == it.name) {
            objections.push(format!("is banned: {}", ban.reason));
        }
        if !it.source.is_empty() && it.source != CRATES_IO {
            objections.push(format!("comes from {}, which is not crates.io", it.source));
        }
        match allows(&it.license, &self.licenses.allow) {
            Some(true) => {}
            Some(false) => objections.push(format!("has the licence {:?}", it.license)),
            None => objections.push(format!("has no licence in SPDX's words: {:?}", it.license)),
        }
        let it = format!("{} {}", it.name, it.version);
        objections.into_iter().map(|objection| format!("deny.toml: {it} {objection}")).collect()
    }
}

fn crates_for(root: &Path, target: &str) -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target])
        .current_dir(root)
        .output()
        .expect("cargo is what runs this");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Crate> = list(&all["packages"])
        .iter()
        .map(|package| {
            let it = Crate {
                name: text(&package["name"]),
                version: text(&package["version"]),
                license: text(&package["license"]),
                source: text(&package["source"]),
            };
            (text(&package["id"]), it)
        })
        .collect();
    let nodes = list(&all["resolve"]["nodes"]);
    nodes.iter().map(|node| packages[&text(&node["id"])].clone()).collect()
}

/// Whether an SPDX expression can be met with these licences; `None` where it is none.
fn allows(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    // The form of before SPDX: either of them.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    let is_allowed = either(&mut words, allowed)?;
    words.is_empty().then_some(is_allowed)
}

fn either(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut is_allowed = both(words, allowed)?;
    while let Some(rest) = words.strip_prefix(&["OR"]) {
        *words = rest;
        is_allowed |= both(words, allowed)?;
    }
    Some(is_allowed)
}

fn both(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut is_allowed = one(words, allowed)?;
    while let Some(rest) = words.strip_prefix(&["AND"]) {
        *words = rest;
        is_allowed &= one(words, allowed)?;
    }
    Some(is_allowed)
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    match *first {
        "(" => {
            let is_allowed = either(words, allowed)?;
            *words = words.strip_prefix(&[")"])?;
            Some(is_allowed)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        license => {
            let Some([exception, rest @ ..]) = words.strip_prefix(&["WITH"]) else {
                return Some(allowed.contains(license));
            };
            *words = rest;
            Some(allowed.contains(&format!("{license} WITH {exception}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        graph.targets = ["x86_64-unknown-linux-gnu"]
        licenses.allow = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]
        bans.multiple-versions = "warn"
        bans.deny = [{ crate = "ring", reason = "aws-lc-rs serves" }]
        sources.unknown-registry = "deny"
        sources.unknown-git = "deny"
    "#;

    #[test]
    fn an_expression_is_met_as_spdx_means_it() {
        let allowed = Rules::parse(RULES).unwrap().licenses.allow;
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("GPL-3.0/MIT", Some(true)),
            ("GPL-3.0 AND MIT", Some(false)),
            ("(GPL-3.0 OR MIT) AND ISC", Some(true)),
            ("MIT OR GPL-3.0 AND BSD-2-Clause", Some(true)),
            ("GPL-3.0 OR MIT AND BSD-2-Clause", Some(false)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("Apache-2.0", Some(false)),
            ("MIT WITH LLVM-exception", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT ISC", None),
        ] {
            assert_eq!(allows(expression, &allowed), expected, "{expression:?}");
        }
    }

    #[test]
    fn each_rule_is_objected_to_by_name() {
        let rules = Rules::parse(RULES).unwrap();
        let good = Crate {
            name: "blake3".to_owned(),
            version: "1.8.7".to_owned(),
            license: "MIT".to_owned(),
            source: CRATES_IO.to_owned(),
        };
        assert_eq!(rules.objections(&good), [""; 0]);
        assert_eq!(rules.objections(&Crate { source: String::new(), ..good.clone() }), [""; 0]);
        let banned = Crate { name: "ring".to_owned(), ..good.clone() };
        let expected = ["deny.toml: ring 1.8.7 is banned: aws-lc-rs serves"];
        assert_eq!(rules.objections(&banned), expected);
        let source = "git+https://example.com/blake3".to_owned();
        assert!(rules.objections(&Crate { source, ..good.clone() })[0].contains("not crates.io"));
        let license = "AGPL-3.0".to_owned();
        assert!(rules.objections(&Crate { license, ..good.clone() })[0].contains("AGPL-3.0"));
        assert!(rules.objections(&Crate { license: String::new(), ..good })[0].contains("SPDX"));
    }

    #[test]
    fn a_rule_that_is_not_understood_is_refused() {
        let strange = format!("{RULES}\nbans.wildcards = \"deny\"\n");
        let error = Rules::parse(&strange).unwrap_err().to_string();
        assert!(error.contains("wildcards"), "{error}");
    }
}
