//! Whether a file may be trusted with a switch: it exists, and nobody but root or us can change it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Access;

/// Checks a program that is to be run as a hook, and the way to it.
///
/// # Errors
/// What is wrong and what to do, beginning with the path.
pub fn check_program(path: &Path) -> Result<(), String> {
    let name = path.display();
    if !path.is_absolute() {
        return Err(format!("{name} is no absolute path: give the program's whole path"));
    }
    let facts = check_file(path)?;
    if !facts.is_file() {
        return Err(format!("{name} is no file"));
    }
    rustix::fs::access(path, Access::EXEC_OK)
        .map_err(|_| format!("{name} is not executable: chmod +x {name}"))
}

/// Checks a file that decides what is run as this user, and every directory on the way to it.
///
/// # Errors
/// As [`check_program`].
pub fn check_file(path: &Path) -> Result<Metadata, String> {
    let lost = |error: io::Error| format!("{} cannot be used: {error}", path.display());
    // The name itself and what it leads to: either way could be bent.
    let real = path.canonicalize().map_err(lost)?;
    let facts = real.metadata().map_err(lost)?;
    let owners = [0, rustix::process::geteuid().as_raw()];
    check_owner(&real, &facts, &owners)?;
    for directory in path.ancestors().skip(1).chain(real.ancestors().skip(1)) {
        if directory.as_os_str().is_empty() {
            continue;
        }
        let facts = directory.metadata().map_err(lost)?;
        // In a sticky directory nobody renames or removes what is another's.
        if facts.permissions().mode() & 0o1000 == 0 {
            check_owner(directory, &facts, &owners)?;
        }
    }
    Ok(facts)
}

fn check_owner(path: &Path, facts: &Metadata, owners: &[u32]) -> Result<(), String> {
    let (name, mode) = (path.display(), facts.permissions().mode() & 0o7777);
    if mode & 0o022 != 0 {
        return Err(format!(
            "{name} can be written to by its group or others (mode {mode:04o}): chmod go-w {name}"
        ));
    }
    if !owners.contains(&facts.uid()) {
        let owner = facts.uid();
        return Err(format!("{name} belongs to user {owner}: it must belong to root"));
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "it writes the files that are checked")]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_program_that_others_can_change_or_nobody_can_run_is_refused_with_its_remedy() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("hooks");
        fs::create_dir(&directory).unwrap();
        set_mode(&directory, 0o755);
        let hook = directory.join("reload");
        let refused = |path: &Path| check_program(path).unwrap_err();
        assert!(refused(&hook).contains("cannot be used: No such file"));
        fs::write(&hook, "#!/bin/sh\n").unwrap();
        set_mode(&hook, 0o644);
        assert!(refused(&hook).ends_with(&format!("not executable: chmod +x {}", hook.display())));
        set_mode(&hook, 0o775);
        assert!(refused(&hook).contains("(mode 0775): chmod go-w"), "{}", refused(&hook));
        set_mode(&hook, 0o755);
        assert_eq!(check_program(&hook), Ok(()));
        let link = directory.join("link");
        std::os::unix::fs::symlink("reload", &link).unwrap();
        assert_eq!(check_program(&link), Ok(()));
        set_mode(&directory, 0o777);
        assert!(refused(&hook).contains("hooks can be written to by its group or others"));
        assert!(refused(&link).contains("(mode 0777)"));
        set_mode(&directory, 0o1777);
        assert_eq!(check_program(&hook), Ok(()));
        assert!(refused(Path::new("bin/true")).contains("no absolute path"));
        assert!(refused(place.path()).contains("is no file"));
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let facts = place.path().metadata().unwrap();
        assert_eq!(check_owner(place.path(), &facts, &[facts.uid()]), Ok(()));
        let line = check_owner(place.path(), &facts, &[facts.uid() + 1]).unwrap_err();
        assert!(
            line.ends_with(&format!("belongs to user {}: it must belong to root", facts.uid()))
        );
    }
}
