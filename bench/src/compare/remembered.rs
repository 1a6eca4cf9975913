//! The best settings of each cell in a file, so that they need not be tried again.
#![expect(clippy::disallowed_methods, reason = "it reads and writes the file")]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::program;

/// Version of the file's form.
const SCHEMA: u32 = 1;

/// What was best, cell by cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    schema: u32,
    cells: Vec<Best>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Best {
    cell: Cell,
    /// Arguments by contestant; null where no setting finished.
    settings: BTreeMap<String, Option<String>>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { schema: SCHEMA, cells: Vec::new() }
    }
}

impl Remembered {
    /// Where it is kept when nobody says where: `target/` of the workspace.
    ///
    /// # Errors
    /// When this program does not know its own place.
    pub fn usual_path() -> anyhow::Result<PathBuf> {
        let directory = program::directory()?;
        let target = directory.parent().context("a program lies in target/PROFILE")?;
        Ok(target.join("compare-settings.json"))
    }

    /// What `path` holds; nothing where there is no such file.
    ///
    /// # Errors
    /// Names the file when it cannot be read or is of another form.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let parsed: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is no file of settings: remove it", path.display()))?;
        anyhow::ensure!(
            parsed.schema == SCHEMA,
            "{} has schema {}, not {SCHEMA}: remove it",
            path.display(),
            parsed.schema
        );
        Ok(parsed)
    }

    /// Writes it to `path`.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("settings are words")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// What was best for `name` in `cell`; `Some(None)` where no setting finished.
    pub fn get(&self, cell: &Cell, name: &str) -> Option<Option<&str>> {
        let best = self.cells.iter().find(|best| best.cell == *cell)?;
        best.settings.get(name).map(Option::as_deref)
    }

    /// Remembers the best for `name` in `cell`.
    pub fn put(&mut self, cell: &Cell, name: &str, arguments: Option<String>) {
        let index = self.cells.iter().position(|best| best.cell == *cell);
        let index = index.unwrap_or_else(|| {
            self.cells.push(Best { cell: cell.clone(), settings: BTreeMap::new() });
            self.cells.len() - 1
        });
        self.cells[index].settings.insert(name.to_owned(), arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(hosts: usize) -> Cell {
        Cell { hosts, file_bytes: 9, loss_per_mille: 0, has_offload: true, rate_limit: None }
    }

    #[test]
    fn settings_come_back_from_the_file_cell_by_cell() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings.json");
        assert_eq!(Remembered::load(&path).unwrap(), Remembered::default());
        let mut settings = Remembered::default();
        settings.put(&cell(8), "uftp", Some("-R 1".to_owned()));
        settings.put(&cell(8), "uftp", Some("-R 2".to_owned()));
        settings.put(&cell(32), "udpcast", None);
        settings.save(&path).unwrap();
        let loaded = Remembered::load(&path).unwrap();
        assert_eq!(loaded.get(&cell(8), "uftp"), Some(Some("-R 2")));
        assert_eq!(loaded.get(&cell(32), "udpcast"), Some(None));
        assert_eq!(loaded.get(&cell(8), "udpcast"), None);
        assert_eq!(loaded.get(&cell(1), "uftp"), None);
    }

    #[test]
    fn a_file_of_another_form_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings.json");
        for text in ["{}", "{\"schema\": 2, \"cells\": []}"] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", Remembered::load(&path).unwrap_err());
            assert!(error.contains("settings.json") && error.contains("remove it"), "{error}");
        }
    }
}
