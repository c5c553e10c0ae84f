//! Paths of cgroups.

/// The directory at `depth` below the root that a path is in, or the path itself if it is not as
/// deep: `/a/b` of `/a/b/c` and of `/a/b` with depth 2. The root has depth 0. `None`: any depth.
#[must_use]
pub fn up_to_depth(path: &str, depth: Option<usize>) -> &str {
    let Some(depth) = depth else {
        return path;
    };
    let end = match depth {
        0 => path.find('/').map(|at| at + 1),
        _ => path.match_indices('/').nth(depth).map(|(at, _)| at),
    };
    path.get(..end.unwrap_or(path.len())).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_cut_at_its_depth() {
        let path = "/kubepods.slice/kubepods-besteffort.slice/pod1.slice/cri-containerd-2.scope";
        for (depth, expected) in [
            (Some(0), "/"),
            (Some(1), "/kubepods.slice"),
            (Some(2), "/kubepods.slice/kubepods-besteffort.slice"),
            (Some(4), path),
            (Some(5), path),
            (Some(usize::MAX), path),
            (None, path),
        ] {
            assert_eq!(up_to_depth(path, depth), expected);
        }
        for depth in [None, Some(0), Some(1), Some(2)] {
            assert_eq!(up_to_depth("/", depth), "/");
            assert_eq!(up_to_depth("", depth), "");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_cut_between_directories(
            directories in prop::collection::vec("[^/]{1,5}", 1..6), depth in 1usize..8
        ) {
            let path = format!("/{}", directories.join("/"));
            let whole = directories.get(..depth).unwrap_or(&directories).join("/");
            prop_assert_eq!(up_to_depth(&path, Some(depth)), format!("/{whole}"));
        }

        #[test]
        fn any_text_has_a_beginning(path in ".*", depth in 0usize..5) {
            prop_assert!(path.starts_with(up_to_depth(&path, Some(depth))));
        }
    }
}
