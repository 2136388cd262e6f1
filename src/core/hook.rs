//! Hooks: whether a registration of our callback URL is to be set.

/// What is to be done about one hook of one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookStep {
    /// It is as it should be.
    Keep,
    /// It is missing, old, or carries other credentials than ours: set it.
    Set,
    /// It is somebody else's: report it and leave it alone.
    LeaveForeign,
}

/// Our side of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// Our address as it is registered now.
    pub url: &'a str,
    /// Digest of our address and credentials.
    pub fingerprint: &'a str,
    /// Every address that ever was ours.
    pub own_urls: &'a [String],
    /// Whether to replace somebody else's hook.
    pub takeover: bool,
}

/// Compares the address that the platform lists with ours; `set_with` is the digest of the
/// credentials that we last set it with, as far as we know.
pub fn hook_step(found: Option<&str>, set_with: Option<&str>, ours: Ours<'_>) -> HookStep {
    match found {
        // The platform never tells the credentials: what we set is all we can compare.
        Some(url) if url == ours.url && set_with == Some(ours.fingerprint) => HookStep::Keep,
        Some(url) if url == ours.url => HookStep::Set,
        Some(url) if ours.own_urls.iter().any(|own| own == url) => HookStep::Set,
        Some(_) if !ours.takeover => HookStep::LeaveForeign,
        Some(_) | None => HookStep::Set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_set_where_it_is_missing_old_or_has_other_credentials_and_a_foreign_one_is_left() {
        let own_urls = ["https://new/".to_owned(), "https://old/".to_owned()];
        let ours =
            Ours { url: "https://new/", fingerprint: "f", own_urls: &own_urls, takeover: false };
        let check = |found, set_with, takeover, step| {
            let ours = Ours { takeover, ..ours };
            assert_eq!(hook_step(found, set_with, ours), step, "{found:?} {set_with:?}");
        };
        check(None, None, false, HookStep::Set);
        check(None, Some("f"), false, HookStep::Set);
        check(Some("https://new/"), Some("f"), false, HookStep::Keep);
        check(Some("https://new/"), Some("other"), false, HookStep::Set);
        check(Some("https://new/"), None, false, HookStep::Set);
        check(Some("https://old/"), Some("f"), false, HookStep::Set);
        check(Some("https://theirs/"), Some("f"), false, HookStep::LeaveForeign);
        check(Some("https://theirs/"), Some("f"), true, HookStep::Set);
    }
}
