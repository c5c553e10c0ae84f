//! Shortens names to a width.

use unicode_width::UnicodeWidthStr;

/// Where to leave out characters of a name that is too wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ellipsis {
    /// At the end: names of programs differ at the beginning.
    End,
    /// In the middle: the paths of two pods differ at the end, and the beginning says that they are
    /// pods.
    Middle,
}

/// Shortens `name` to `width` columns of a terminal. `mark` replaces the characters left out, and
/// must be narrower than `width`.
pub(super) fn shorten(name: &str, width: usize, place: Ellipsis, mark: &str) -> String {
    if name.width() <= width {
        return name.to_owned();
    }
    let room = width.saturating_sub(mark.width());
    let head = match place {
        Ellipsis::End => room,
        // Paths differ mostly at the end.
        Ellipsis::Middle => room / 3,
    };
    let start = longest(name.chars(), head, |text, c| text.push(c));
    let end = longest(name.chars().rev(), room - head, |text, c| text.insert(0, c));
    format!("{start}{mark}{end}")
}

/// The longest run of `chars` that fits into `width`.
fn longest(
    chars: impl Iterator<Item = char>,
    width: usize,
    add: impl Fn(&mut String, char),
) -> String {
    let mut fits = String::new();
    for c in chars {
        let mut more = fits.clone();
        add(&mut more, c);
        // Measure the whole text: some characters change the width of their neighbours.
        if more.width() > width {
            break;
        }
        fits = more;
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_pods_stay_distinguishable() {
        let pod = |id: &str| {
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{id}.slice/\
                 cri-containerd-{id}{id}.scope"
            )
        };
        let short = |id| shorten(&pod(id), 40, Ellipsis::Middle, "…");
        assert_ne!(short("3f9a"), short("77b0"));
        assert!(short("3f9a").starts_with("/kubepods"), "{}", short("3f9a"));
    }

    #[test]
    fn only_names_that_do_not_fit_are_shortened() {
        assert_eq!(shorten("four", 4, Ellipsis::End, "…"), "four");
        assert_eq!(shorten("fiver", 4, Ellipsis::End, "…"), "fiv…");
        assert_eq!(shorten("fiver", 4, Ellipsis::End, ".."), "fi..");
        assert_eq!(shorten("abcdefghij", 7, Ellipsis::Middle, "…"), "ab…ghij");
    }

    proptest! {
        #[test]
        fn no_name_is_wider(name in ".{0,60}", width in 3usize..80) {
            for place in [Ellipsis::End, Ellipsis::Middle] {
                let short = shorten(&name, width, place, "…");
                prop_assert!(short.width() <= width, "{short:?}");
            }
        }
    }
}
