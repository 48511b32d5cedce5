//! Files of keys, and invites.

use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, SecretFile};
use crate::doctor::finding::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = facts
        .bad_invites
        .iter()
        .map(|why| {
            Finding::failed(Code::Invite, why.clone())
                .wanted("an invite as the server printed it, whole and on one line")
                .advice("make a new one on the server: acton invite")
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::skipped(Code::Invite, "none was given"));
    }
    let wrong: Vec<_> = facts.files.iter().filter_map(file).collect();
    if !wrong.is_empty() {
        findings.extend(wrong);
    } else if facts.files.len() < 2 {
        findings
            .push(Finding::skipped(Code::Keys, "there is no file of keys, as far as can be seen"));
    } else if facts.files.iter().any(|file| file.content.is_none()) {
        let what = "modes are right; this user may not read the keys themselves";
        findings.push(Finding::unknown(Code::Keys, what));
    } else {
        // The first one is the directory.
        let names = facts.files[1..].iter().filter_map(|file| file.path.file_name());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        let finding = Finding::ok(Code::Keys, format!("{}: right", names.join(", ")));
        findings.push(finding.about(facts.files[0].path.display().to_string()));
    }
    findings
}

/// What is wrong with a file, if anything is.
fn file(file: &SecretFile) -> Option<Finding> {
    let SecretFile { path, mode, forbidden, owner, user, content } = file;
    let shown = path.display();
    let quoted = shell_word(&shown.to_string());
    let failed = |what: String| Some(Finding::failed(Code::Keys, what).about(shown.to_string()));
    if mode & forbidden != 0 {
        let bits = if *forbidden == 0o022 { "go-w" } else { "go-rwx" };
        return failed(format!("open to others, mode {mode:03o}"))
            .map(|it| it.wanted("nobody else").fix(format!("chmod {bits} {quoted}")));
    }
    if *owner != 0 && owner != user {
        return failed(format!("belongs to user {owner}"))
            .map(|it| it.wanted(format!("user {user} or root")))
            .map(|it| it.fix(format!("chown {user} {quoted}")));
    }
    match content {
        Some(Err(why)) => failed(why.clone())
            .map(|it| it.advice("restore it, or move it away to have a new one made")),
        _ => None,
    }
}

/// A word as a shell takes it.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_private_and_its_owners() {
        let mut it = SecretFile {
            path: "/etc/it's".into(),
            mode: 0o640,
            forbidden: 0o077,
            owner: 0,
            user: 7,
            content: Some(Ok(())),
        };
        let finding = file(&it).unwrap();
        assert_eq!(finding.fix.as_deref(), Some(r"chmod go-rwx '/etc/it'\''s'"));
        it.mode = 0o600;
        assert_eq!(file(&it), None);
        it.owner = 8;
        assert_eq!(file(&it).unwrap().fix.as_deref(), Some(r"chown 7 '/etc/it'\''s'"));
        it.owner = 7;
        it.content = Some(Err("holds no key".into()));
        assert_eq!(file(&it).unwrap().measured, "holds no key");
    }
}
