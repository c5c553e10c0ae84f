//! Checks the filters by who: names of processes, users and units.

use crate::error::Error;
use crate::host::{Cgroups, UNIT_TYPES, is_manager, is_unit, user_id};
use crate::kernel::{Automaton, MAX_UIDS, TaskFilter, TooComplex, UnitPattern};
use crate::text::{Glob, shown};

use super::Targets;
use super::targets::need_cgroups;

/// The filter in the kernel for what was asked for.
///
/// # Errors
///
/// [`Error::Usage`] for a user who does not exist, and for what is no name of a unit;
/// [`Error::Failed`] on a host without cgroup v2, if units are asked for.
pub(super) fn task_filter(targets: &Targets) -> Result<TaskFilter, Error> {
    let uids = uids(&targets.uids)?;
    let names = automaton("--comm", &targets.comms, Automaton::of_names)?;
    let units: Result<Vec<UnitPattern>, Error> =
        targets.units.iter().map(|name| unit(name)).collect();
    let units = automaton("--unit", &units?, Automaton::of_units)?;
    if units.is_some() {
        need_cgroups("--unit")?;
    }
    Ok(TaskFilter { names, uids, units })
}

/// One line for each unit of `--unit` to which none of these cgroups belongs: it may start later, or its
/// name is wrong.
pub(super) fn describe_absent_units(targets: &Targets, cgroups: &Cgroups) -> Vec<String> {
    let runs = |unit: &Automaton| {
        let mut paths = cgroups.iter().map(|(_, path)| path);
        paths.any(|path| unit.matches(path.as_bytes()))
    };
    let mut lines = Vec::new();
    for name in &targets.units {
        // Names were checked before, so there are no errors.
        let automaton = unit(name).map(|pattern| Automaton::of_units(&[pattern]));
        if let Ok(Ok(automaton)) = automaton
            && !runs(&automaton)
        {
            lines.push(format!(
                "netatop: --unit {}: no such unit runs now; it is measured when it starts",
                shown(name)
            ));
        }
    }
    lines
}

/// The automaton of these patterns; `None` if there are none.
fn automaton<T>(
    option: &str,
    patterns: &[T],
    build: impl FnOnce(&[T]) -> Result<Automaton, TooComplex>,
) -> Result<Option<Automaton>, Error> {
    if patterns.is_empty() {
        return Ok(None);
    }
    build(patterns).map(Some).map_err(|TooComplex| {
        Error::Usage(format!(
            "the patterns of {option} are too complex: use fewer of them, or fewer ? behind a *"
        ))
    })
}

/// The numbers of users.
fn uids(names: &[String]) -> Result<Vec<u32>, Error> {
    let find = |name: &String| {
        user_id(name).ok_or_else(|| Error::Usage(format!("there is no user {}", shown(name))))
    };
    let mut uids: Vec<u32> = names.iter().map(find).collect::<Result<_, _>>()?;
    uids.sort_unstable();
    uids.dedup();
    if uids.len() > MAX_UIDS {
        return Err(Error::Usage(format!(
            "--uid can name at most {MAX_UIDS} users"
        )));
    }
    Ok(uids)
}

/// A unit as the column `unit` has it, or a pattern of such names. A name without type is that of a
/// service, as for systemctl(1).
fn unit(text: &str) -> Result<UnitPattern, Error> {
    let refused = |why: String| Error::Usage(format!("--unit {}: {why}", shown(text)));
    if text.starts_with('/') {
        return Err(refused("a path; use --cgroup, or only the name".to_owned()));
    }
    let (manager, name) = match text.split_once('/') {
        Some((manager, name)) => (Some(manager), name),
        None => (None, text),
    };
    let part = |text: &str| -> Result<(Glob, Option<String>), String> {
        let glob = Glob::parse_without_escapes(text)?;
        let Some(name) = glob.literal() else {
            return Ok((glob, None));
        };
        let name = with_type(&String::from_utf8_lossy(&name));
        check(&name)?;
        Ok((literal(&name)?, Some(name)))
    };
    let (name, _) = part(name).map_err(refused)?;
    let manager = match manager.map(part).transpose().map_err(refused)? {
        Some((_, Some(unit))) if !is_manager(&unit) => {
            return Err(refused(format!(
                "{} has no units; example: user@1000.service/pipewire.service",
                shown(&unit)
            )));
        }
        manager => manager.map(|(glob, _)| glob),
    };
    Ok(UnitPattern { manager, name })
}

/// The name with the type that it means.
fn with_type(name: &str) -> String {
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    match kind {
        Some(kind) if UNIT_TYPES.contains(&kind) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

/// Says what is wrong with a name that no unit with processes can have.
fn check(name: &str) -> Result<(), String> {
    if name.ends_with(".slice") {
        return Err("a slice is not a unit of processes; use --cgroup with its path".to_owned());
    }
    if is_unit(name) {
        return Ok(());
    }
    match name.split_once("@.") {
        Some((template, kind)) if is_unit(&format!("{template}@x.{kind}")) => Err(format!(
            "a template has no processes; all of its instances are '{template}@*.{kind}'"
        )),
        _ => Err("not the name of a unit; examples: nginx, getty@tty1.service".to_owned()),
    }
}

/// The pattern of only this name, in which no character of a unit's name is special.
fn literal(name: &str) -> Result<Glob, String> {
    Glob::parse_without_escapes(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selects(text: &str, path: &str) -> bool {
        let unit = unit(text).expect("a unit");
        let automaton = Automaton::of_units(&[unit]).expect("small enough");
        automaton.matches(path.as_bytes())
    }

    #[test]
    fn a_name_without_type_is_a_service() {
        for (text, path) in [
            ("nginx", "/system.slice/nginx.service"),
            ("nginx.service", "/system.slice/nginx.service"),
            ("session-3.scope", "/user.slice/session-3.scope"),
            ("getty@tty1", "/system.slice/getty@tty1.service"),
            ("php8.2-fpm", "/system.slice/php8.2-fpm.service"),
            ("ngin[x]*", "/system.slice/nginx.service"),
            (r"a\x2db", r"/system.slice/a\x2db.service"),
            (
                "user@7/mail",
                "/user.slice/user@7.service/app.slice/mail.service",
            ),
            ("user@*/mail", "/user.slice/user@7.service/mail.service"),
        ] {
            assert!(selects(text, path), "{text} {path}");
        }
        assert!(!selects("mail", "/user.slice/user@7.service/mail.service"));
    }

    #[test]
    fn what_is_no_unit_is_refused_with_what_to_type() {
        for (text, why) in [
            ("", "not empty"),
            ("a b", "not the name of a unit"),
            ("nginx.service/", "not empty"),
            ("nginx.service/worker", "has no units"),
            ("user@7.service/a/b", "not the name of a unit"),
            ("/system.slice/nginx.service", "--cgroup"),
            ("system.slice", "--cgroup"),
            ("getty@.service", "'getty@*.service'"),
            ("@tty1.service", "not the name of a unit"),
            ("nginx[", "not closed"),
            ("ä", "not the name of a unit"),
        ] {
            let error = unit(text).expect_err(text);
            assert_eq!(error.status(), 2, "{text}");
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert_eq!(error.to_string().lines().count(), 1, "{text}: {error}");
        }
    }

    #[test]
    fn users_are_names_or_numbers() {
        let uids =
            |names: &[&str]| uids(&names.iter().map(|name| (*name).into()).collect::<Vec<_>>());
        assert_eq!(uids(&["root", "0", "54321"]).expect("users"), [0, 54321]);
        for name in ["", "-1", "+1", "4294967295", "no-such-user", "1.5"] {
            assert_eq!(uids(&[name]).expect_err(name).status(), 2);
        }
        let many: Vec<String> = (0..65).map(|uid| uid.to_string()).collect();
        assert_eq!(super::uids(&many).expect_err("too many").status(), 2);
    }

    proptest! {
        #[test]
        fn any_text_is_a_unit_or_refused_in_one_line(text in r"(.|[a-z@./\[\]*\\-]){0,20}") {
            if let Err(error) = unit(&text) {
                prop_assert_eq!(error.to_string().lines().count(), 1, "{}", error);
            }
        }
    }
}
