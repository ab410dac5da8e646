//! `--user`: who that is, out of the files of the machine.
//!
//! Not by `getpwnam`, which in a static binary would need shared libraries of the machine: users that come from
//! elsewhere than `/etc/passwd` (LDAP, say) are not known.

/// A user that the server can become. Never root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) id: u32,
    /// The user's own group.
    pub(crate) group: u32,
    /// All of the user's groups.
    pub(crate) groups: Vec<u32>,
}

impl User {
    /// Looks a user up by name, or else by number.
    ///
    /// # Errors
    /// What is accepted.
    pub(super) fn find(name: &str) -> Result<User, String> {
        let read = |path| {
            let bytes = std::fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
            // The field for people may be in any encoding.
            Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
        };
        // A machine without the second file has no other groups.
        User::find_in(name, &read("/etc/passwd")?, &read("/etc/group").unwrap_or_default())
    }

    fn find_in(name: &str, users: &str, groups: &str) -> Result<User, String> {
        let found = users.lines().filter_map(User::parse).collect::<Vec<_>>();
        let by_name = found.iter().find(|user| user.name == name);
        let user = by_name.or_else(|| found.iter().find(|user| user.id.to_string() == name));
        let mut user = user.cloned().ok_or("accepted is the name or the number of a user in /etc/passwd")?;
        if user.id == 0 {
            return Err("accepted is a user who is not root".to_owned());
        }
        for group in groups.lines().filter_map(|line| group_with(line, &user.name)) {
            if !user.groups.contains(&group) {
                user.groups.push(group);
            }
        }
        Ok(user)
    }

    /// A line of `/etc/passwd` (passwd(5)): name, password, number, group, and more.
    fn parse(line: &str) -> Option<User> {
        let mut fields = line.split(':');
        let (name, _, id, group) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (id, group) = (number(id)?, number(group)?);
        Some(User { name: name.to_owned(), id, group, groups: vec![group] })
    }
}

/// The number of a group in a line of `/etc/group` (group(5)), name, password, number, members, if `user` is one.
fn group_with(line: &str, user: &str) -> Option<u32> {
    let mut fields = line.split(':').skip(2);
    let (group, members) = (fields.next()?, fields.next()?);
    members.split(',').find(|member| *member == user)?;
    number(group)
}

/// A number of a user or group. The kernel takes the largest for "leave it as it is".
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\n# no user\n+::::::\nann:x:1000:100:Ann:/home/ann:/bin/sh\n\
        1000:x:1001:1001::/:\ntoor:x:0:0::/:\nbob:x:1002:100\nbroken:x:many:1:::\nlarge:x:4294967296:1::/:\nsame:x:4294967295:1::/:\nsame-group:x:1003:4294967295::/:\n";
    const GROUPS: &str = "root:x:0:\nstaff:x:50:ann,bob\nusers:x:100:ann\nannex:x:51:annex,joann\nhalf:x:52\nweb:x:33:bob,ann\nx:x:y:ann";

    #[test]
    fn a_user_is_found_by_name_then_by_number_with_all_groups() {
        let found = |name| User::find_in(name, USERS, GROUPS).map(|user| (user.id, user.group, user.groups));
        assert_eq!(found("ann"), Ok((1000, 100, vec![100, 50, 33])));
        assert_eq!(found("1000"), Ok((1001, 1001, vec![1001])), "a name of digits is a name");
        assert_eq!(found("1002"), Ok((1002, 100, vec![100, 50, 33])));
        assert_eq!(User::find_in("bob", USERS, "").map(|user| user.groups), Ok(vec![100]));
    }

    #[test]
    fn who_is_unknown_or_root_is_refused() {
        let no_lines = ["", "an", "annex", "1004", "+", "+1002", "-1", "# no user"];
        let bad_lines = ["broken", "large", "4294967296", "same", "4294967295", "same-group", "1003"];
        for name in no_lines.into_iter().chain(bad_lines) {
            let refused = User::find_in(name, USERS, GROUPS);
            assert!(refused.as_ref().is_err_and(|accepted| accepted.contains("/etc/passwd")), "{name:?}: {refused:?}");
        }
        for name in ["root", "toor", "0"] {
            let refused = User::find_in(name, USERS, GROUPS);
            assert!(refused.as_ref().is_err_and(|accepted| accepted.contains("not root")), "{name:?}: {refused:?}");
        }
    }
}
