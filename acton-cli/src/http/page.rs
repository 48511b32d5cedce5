//! The page: one file, and what browsers may do with it.

use std::sync::OnceLock;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

/// The page, with its styles and its script, whole.
pub(super) const PAGE: &[u8] = include_bytes!("page.html");

/// Its content security policy: its own style and script by their hashes, and nothing else from
/// anywhere, but for what it asks this server.
pub(super) fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let hash = |tag: &str| BASE64.encode(digest(&SHA256, element(tag)).as_ref());
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            hash("style"),
            hash("script")
        )
    })
}

/// What is inside the first element of that name.
fn element(tag: &str) -> &'static [u8] {
    let page = str::from_utf8(PAGE).unwrap_or_default();
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let inside = page.split_once(&*open).and_then(|(_, rest)| rest.split_once(&*close));
    inside.map_or(&[], |(inside, _)| inside.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_style_and_one_script_and_nothing_from_elsewhere() {
        let page = str::from_utf8(PAGE).unwrap();
        for tag in ["style", "script"] {
            assert_eq!(page.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(!element(tag).is_empty(), "{tag}");
        }
        // Styles in attributes and handlers in attributes would be refused by the policy.
        for refused in [" style=\"", " onclick=", " src=", "javascript:", "@import", "url("] {
            assert!(!page.contains(refused), "{refused}");
        }
        let namespaces = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!namespaces.contains("http://") && !namespaces.contains("https://"));
        assert!(policy().contains("default-src 'none'"));
    }
}
