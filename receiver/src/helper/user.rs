//! The user that receives, by name or number.

use std::fs;

use crate::store::Owner;

/// Where users are listed; `sysusers.d` adds its own there.
const USERS: &str = "/etc/passwd";

/// The user called `name`, or with that number, which is then its group's as well.
///
/// # Errors
/// When there is none.
pub fn find_user(name: &str) -> Result<Owner, String> {
    if let Ok(number) = name.parse() {
        return Ok(Owner { user: number, group: number });
    }
    let list = fs::read_to_string(USERS).map_err(|error| format!("{USERS}: {error}"))?;
    find_in(&list, name)
        .ok_or_else(|| format!("there is no user {name} in {USERS}: make it, or give --user"))
}

fn find_in(list: &str, name: &str) -> Option<Owner> {
    // name:password:user:group:…
    let mut users = list.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = users.find(|fields| fields.first() == Some(&name))?;
    Some(Owner { user: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_or_numbers() {
        let list =
            "root:x:0:0:root:/root:/bin/bash\nfanhost:x:990:980::/:/usr/sbin/nologin\nbad:x\n";
        assert_eq!(find_in(list, "fanhost"), Some(Owner { user: 990, group: 980 }));
        assert_eq!(find_in(list, "fan"), None);
        assert_eq!(find_in(list, "bad"), None);
        assert_eq!(find_user("990"), Ok(Owner { user: 990, group: 990 }));
        assert!(find_user("nobody here").unwrap_err().contains("there is no user"));
    }
}
