//! The program that a command line stands for, as people know it.
//!
//! It is the base name of the program, such as `nginx`. Of an interpreter, the base name of its script
//! follows: `python3 worker.py`, `java app.jar` (see `interpreter`). Nothing after that is ever part of the
//! name, because other arguments can contain secrets.

use std::borrow::Cow;

use super::interpreter::{base, interpreter};

/// The program of a process with these arguments, of which the last one may be a part if `is_cut`.
/// `None` if they do not tell.
pub(super) fn name(arguments: &[Cow<'_, str>], is_cut: bool) -> Option<String> {
    // Only a whole argument is a name.
    let whole = arguments.len() - usize::from(is_cut && !arguments.is_empty());
    let arguments = arguments.get(..whole)?;
    let (first, rest) = arguments.split_first()?;
    let program = if rest.is_empty() { title(first) } else { first };
    // A login shell has a dash before its name (login(1)).
    let program = base(program.strip_prefix('-').unwrap_or(program))?;
    Some(
        match interpreter(program).and_then(|known| known.script(rest)) {
            Some(script) => format!("{program} {script}"),
            None => program.to_owned(),
        },
    )
}

/// What a process has written over its arguments, up to the name of the program: `nginx` of `nginx:
/// worker process`, `redis-server` of `redis-server *:6379`. A path can contain blanks, so only what
/// follows its last slash is looked at.
fn title(argument: &str) -> &str {
    if let Some((name, _)) = argument.split_once(": ")
        && !name.contains(['/', ' '])
    {
        return name;
    }
    let start = argument.rfind('/').map_or(0, |at| at + 1);
    let end = argument
        .get(start..)
        .and_then(|name| name.find(' '))
        .map_or(argument.len(), |blank| start + blank);
    argument.get(..end).unwrap_or(argument)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(line: &str, is_cut: bool) -> Option<String> {
        let arguments: Vec<_> = line.split('|').map(Cow::from).collect();
        name(&arguments, is_cut)
    }

    /// Command lines of real programs, with `|` between the arguments.
    const REAL: [(&str, &str); 63] = [
        ("/usr/sbin/sshd|-D", "sshd"),
        ("curl|-u|user:secret|https://example.org", "curl"),
        ("-bash", "bash"),
        ("/usr/lib/systemd/systemd-resolved", "systemd-resolved"),
        ("/opt/My App/run me", "run"),
        ("/opt/My App/run me|--now", "run me"),
        // Titles that programs have written over their arguments.
        ("nginx: worker process", "nginx"),
        (
            "nginx: master process /usr/sbin/nginx -g daemon off;",
            "nginx",
        ),
        ("postgres: 16/main: walwriter ", "postgres"),
        ("postgres: app secret_db 10.0.0.7(53122) idle", "postgres"),
        (
            "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
            "sshd",
        ),
        ("sshd-session: alice [priv]", "sshd-session"),
        ("php-fpm: pool www", "php-fpm"),
        ("redis-server *:6379", "redis-server"),
        ("/usr/bin/redis-server 127.0.0.1:6379", "redis-server"),
        ("gunicorn: master [shop.wsgi]", "gunicorn"),
        ("(sd-pam)", "(sd-pam)"),
        // Python.
        ("python3|worker.py|--token|secret", "python3 worker.py"),
        (
            "/usr/bin/python3.11|/srv/app/worker.py",
            "python3.11 worker.py",
        ),
        ("/usr/bin/python3|-u|-W|ignore|main.py", "python3 main.py"),
        (
            "/usr/bin/python3|-um|http.server|8000",
            "python3 http.server",
        ),
        ("python|-mgunicorn|app:app", "python gunicorn"),
        (
            "/usr/bin/python3|/usr/bin/unattended-upgrade-shutdown|--wait-for-signal",
            "python3 unattended-upgrade-shutdown",
        ),
        ("python3|-c|print('secret')", "python3"),
        ("python3|-Xdev|-Ic|secret", "python3"),
        ("python3|-", "python3"),
        ("python3", "python3"),
        ("python3|--check-hash-based-pycs|never|a.py", "python3 a.py"),
        ("python3|--new-option|value|a.py", "python3"),
        // Node.
        ("node|/app/server.js", "node server.js"),
        (
            "/usr/local/bin/node|--max-old-space-size=4096|-r|dotenv/config|dist/main.js",
            "node main.js",
        ),
        (
            "node|--inspect|--require|./trace.js|index.js|secret",
            "node index.js",
        ),
        ("node|--env-file|secrets.env|app.js", "node"),
        ("node|-e|secret", "node"),
        // Java.
        ("java|-jar|/opt/app.jar|--password=secret", "java app.jar"),
        (
            "java|-Xmx2g|-XX:+UseG1GC|-Dkey=secret|-jar|app.jar",
            "java app.jar",
        ),
        (
            "/usr/lib/jvm/bin/java|-server|-cp|/a.jar:/b.jar|kafka.Kafka|server.properties",
            "java kafka.Kafka",
        ),
        (
            "java|--add-opens|java.base/java.lang=ALL-UNNAMED|-javaagent:a.jar=x|org.x.Main",
            "java org.x.Main",
        ),
        (
            "java|--module-path=/m|-m|org.elasticsearch.server/org.elasticsearch.bootstrap.Main",
            "java org.elasticsearch.bootstrap.Main",
        ),
        ("java|@args", "java"),
        ("java|--source|21|Main.java", "java"),
        // Shells.
        ("/bin/sh|/usr/local/bin/backup|secret", "sh backup"),
        ("bash|-euo|pipefail|/opt/run.sh", "bash run.sh"),
        ("/bin/bash|--norc|-x|job.sh", "bash job.sh"),
        ("sh|-c|curl -u user:secret example.org", "sh"),
        ("bash|-lc|secret", "bash"),
        ("bash|/dev/fd/63", "bash"),
        ("sh|+e|x.sh", "sh x.sh"),
        ("sh|--|-odd.sh", "sh"),
        ("/bin/zsh|-s", "zsh"),
        // Perl, Ruby, PHP and others.
        (
            "/usr/bin/perl|-w|-MStrict=x|/usr/sbin/munin-node",
            "perl munin-node",
        ),
        ("/usr/bin/perl|-wT|-I|lib|/srv/x.pl", "perl x.pl"),
        ("perl|-ne|secret|file", "perl"),
        ("ruby|-Ilib|-r|set|bin/rails|server", "ruby rails"),
        ("ruby3.1|-e|secret", "ruby3.1"),
        ("php|artisan|queue:work", "php artisan"),
        ("php8.2|-d|memory_limit=1G|-f|job.php", "php8.2 job.php"),
        ("php|-r|secret", "php"),
        ("php|-S|0.0.0.0:80|router.php", "php"),
        ("lua5.4|proxy.lua", "lua5.4 proxy.lua"),
        ("dotnet|/app/Shop.dll|--urls|http://*:80", "dotnet Shop.dll"),
        ("Rscript|--vanilla|fit.R", "Rscript fit.R"),
        ("tclsh|expect.tcl", "tclsh expect.tcl"),
    ];

    #[test]
    fn real_command_lines_have_the_names_that_people_know() {
        for (line, expected) in REAL {
            assert_eq!(of(line, false).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_does_not_tell_has_no_name() {
        for line in ["", "/", "|a", "-", &"x".repeat(256)] {
            assert_eq!(of(line, false), None, "{line}");
        }
    }

    #[test]
    fn a_cut_argument_is_no_name() {
        assert_eq!(of("java|-cp|/a.jar:/b", true).as_deref(), Some("java"));
        assert_eq!(
            of("java|-cp|/a.jar|org.x.Ma", true).as_deref(),
            Some("java")
        );
        assert_eq!(
            of("python3|a.py|secr", true).as_deref(),
            Some("python3 a.py")
        );
        assert_eq!(of("python", true), None);
    }

    fn argument() -> impl Strategy<Value = String> {
        let known = vec![
            "python3", "java", "node", "sh", "perl", "php", "-c", "-m", "-jar", "-e", "--", "-u",
            "-W", "-r", "-cp", "-", "/a/b.py", "a.jar",
        ];
        let known = prop::sample::select(known).prop_map(str::to_owned);
        prop_oneof![3 => known, 1 => ".{0,6}"]
    }

    proptest! {
        /// Neither code after `-c` nor anything after the script is in a name.
        #[test]
        fn secrets_are_never_in_a_name(
            before in prop::collection::vec(argument(), 0..5),
            code in prop::sample::select(vec!["python3|-c", "sh|-ec", "perl|-e", "ruby|-e", "node|-e",
                "php|-r", "curl", "java|x.Main", "python3|x.py", "sh|-x|x.sh", "node|x.js"]),
            after in prop::collection::vec(argument(), 0..5)
        ) {
            let mut arguments: Vec<Cow<'_, str>> = code.split('|').map(Cow::from).collect();
            arguments.push("SECRET".into());
            arguments.extend(after.into_iter().map(Cow::from));
            let found = name(&arguments, false);
            prop_assert!(found.is_some_and(|name| !name.contains("SECRET")));
            let _ = name(&before.into_iter().map(Cow::from).collect::<Vec<_>>(), true);
        }

        #[test]
        fn any_arguments_give_a_name_or_none(
            arguments in prop::collection::vec(argument(), 0..7), is_cut: bool
        ) {
            let arguments: Vec<_> = arguments.into_iter().map(Cow::from).collect();
            if let Some(name) = name(&arguments, is_cut) {
                prop_assert!(!name.is_empty() && name.len() <= 2 * 255 + 1);
            }
        }
    }
}
