//! `--user` and `--chroot`: what the server gives up once it is bound.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::cli::Error;
use crate::cli::user::User;

/// What is left of the machine afterwards.
pub(super) struct Confinement {
    user: Option<User>,
    /// Without symbolic links.
    root: Option<PathBuf>,
}

impl Confinement {
    /// Nothing is given up yet.
    ///
    /// # Errors
    /// Where the server would stay root, who can leave any root directory (chroot(2)).
    pub(super) fn new(user: Option<User>, root: Option<PathBuf>) -> Result<Confinement, Error> {
        if root.is_some() && user.is_none() {
            return Err(Error::Usage("--chroot needs --user: it does not hold root".to_owned()));
        }
        let root = root.map(|root| root.canonicalize().map_err(|error| format!("{}: {error}", root.display())));
        Ok(Confinement { user, root: root.transpose()? })
    }

    /// What the path of a folder will be, which is read later.
    ///
    /// # Errors
    /// Where it will be out of reach.
    pub(super) fn path_within(&self, folder: PathBuf) -> Result<PathBuf, Error> {
        let Some(root) = &self.root else { return Ok(folder) };
        let inside = |folder: PathBuf| Some(Path::new("/").join(folder.strip_prefix(root).ok()?));
        folder.canonicalize().ok().and_then(inside).ok_or_else(|| {
            let (folder, root) = (folder.display(), root.display());
            Error::Usage(format!("--html {folder}: accepted with --chroot is a folder in {root}, named from outside"))
        })
    }

    /// Gives up for good what only root may. The order matters: each step needs a right that a later one takes.
    ///
    /// # Errors
    /// A sentence for the terminal. What has been given up by then stays so: the server has to end.
    pub(super) fn enter(self) -> Result<(), String> {
        let Some(user) = &self.user else { return Ok(()) };
        check_threads()?;
        if let Some(root) = &self.root {
            let told = |error| format!("cannot make {} the root directory: {}", root.display(), explained(&error));
            std::os::unix::fs::chroot(root).and_then(|()| std::env::set_current_dir("/")).map_err(told)?;
        }
        become_user(user).map_err(|error| format!("cannot become {}: {}", user.name, explained(&error)))
    }
}

fn become_user(user: &User) -> io::Result<()> {
    let (id, group) = (Uid::from_raw(user.id), Gid::from_raw(user.group));
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(group, group, group)?;
    // With the last of these user IDs that is root's, all capabilities go (capabilities(7)).
    set_thread_res_uid(id, id, id)?;
    // Nor does a program with the set-user-ID bit bring any back.
    set_no_new_privs(true)?;
    match set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT) {
        Err(_) => Ok(()),
        Ok(()) => Err(io::Error::other("root comes back; are the securebits set?")),
    }
}

/// To the kernel, each thread has its own user: with another one there, it would stay root.
fn check_threads() -> Result<(), String> {
    // Where this cannot be seen, there is none either: nothing in `serve` starts one.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match status.lines().find_map(|line| line.strip_prefix("Threads:")).map(str::trim) {
        None | Some("1") => Ok(()),
        Some(count) => Err(format!("cannot give up root: the process has {count} threads")),
    }
}

fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{error}: only root may, so start as root"),
        _ => error.to_string(),
    }
}
