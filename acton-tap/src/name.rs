//! Interface names.

use crate::error::Error;

/// Bytes of the longest name: `IFNAMSIZ` of linux/if.h less the closing NUL.
const LONGEST: usize = libc::IFNAMSIZ - 1;

/// Checks a name as the kernel does (`dev_valid_name` of net/core/dev.c).
pub(crate) fn check(name: &str) -> Result<(), Error> {
    // The kernel's isspace() knows Latin-1 and so takes 0xa0 for a space, also within UTF-8.
    let space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b || byte == 0xa0;
    let problem = if name.is_empty() {
        "is empty: 1 to 15 bytes are needed"
    } else if name.len() > LONGEST {
        "is too long: 15 bytes at most"
    } else if name == "." || name == ".." {
        "names a directory"
    } else if name.contains(['/', ':']) {
        "holds a '/' or ':'"
    } else if name.contains('\0') {
        "holds a NUL"
    } else if name.bytes().any(space) {
        "holds white space, or a letter whose UTF-8 the kernel takes for it"
    } else {
        return Ok(());
    };
    Err(Error::Name { name: name.to_owned(), problem })
}

/// Checks a name that may hold one `%d`, where the kernel puts the lowest free number.
pub(crate) fn check_template(name: &str) -> Result<(), Error> {
    check(name)?;
    if name.replacen("%d", "", 1).contains('%') {
        let problem = "holds a '%' that is not its only \"%d\"";
        return Err(Error::Name { name: name.to_owned(), problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_kernel_takes() {
        for name in ["a", "tap%d", "acton0", "fifteen-bytes-0", "br-1.42", "tüp"] {
            check_template(name).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let refused = [
            ("", "empty"),
            ("sixteen-bytes-00", "too long"),
            ("achtzehn-bytés-00", "too long"),
            (".", "directory"),
            ("..", "directory"),
            ("a/b", "'/'"),
            ("eth0:1", "':'"),
            ("a b", "white space"),
            ("a\tb", "white space"),
            ("voilà", "white space"),
            ("a\0", "NUL"),
            ("tap%s", "%d"),
            ("tap%d%d", "%d"),
            ("100%", "%d"),
        ];
        for (name, word) in refused {
            let message = check_template(name).unwrap_err().to_string();
            assert!(message.contains(word), "{name:?}: {message}");
        }
    }
}
