// SPDX-License-Identifier: GPL-2.0-only

//! The line protocol between a guest (`tests/lab/guest/bin/lab`) and the lab: one request line, one answer line.
//!
//! Answers are `ok`, `ok TEXT` or `error: REASON`.

/// What a guest asks of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The guest is up and about to run its script.
    Up,
    /// The script has ended with this status.
    Done(i32),
    /// The guest stands at a barrier; answered `open` once all hosts have, `shut` until then.
    Barrier(String),
    /// A command for the fabric's control socket, passed on as it is.
    Fabric(String),
    /// Cut the power of a host.
    Kill(usize),
    /// Boot a killed host again, or one that has switched itself off.
    Boot(usize),
    /// This guest is about to switch itself off.
    Leave,
    /// A figure to record under a name.
    Result(String, String),
    /// A line to show.
    Log(String),
}

impl Request {
    /// Parses one line. A guest is not trusted to send a well-formed one.
    pub fn parse(line: &str, hosts: usize) -> Result<Self, String> {
        let line = line.trim();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let host = || match rest.parse::<usize>() {
            Ok(host) if (1..=hosts).contains(&host) => Ok(host),
            _ => Err(format!(
                "'{verb}' wants a host from 1 to {hosts}, not '{rest}'"
            )),
        };
        let words = || {
            if rest.is_empty() {
                Err(format!("'{verb}' wants something after it: see 'lab help'"))
            } else {
                Ok(rest.to_owned())
            }
        };
        match verb {
            "up" => Ok(Self::Up),
            "done" => rest
                .parse()
                .map(Self::Done)
                .map_err(|_| format!("'done' wants an exit status, not '{rest}'")),
            "barrier" => words().map(Self::Barrier),
            "fabric" => words().map(Self::Fabric),
            "kill" => host().map(Self::Kill),
            "boot" => host().map(Self::Boot),
            "leave" => Ok(Self::Leave),
            "log" => words().map(Self::Log),
            "result" => match rest.split_once(' ') {
                Some((name, value)) => Ok(Self::Result(name.to_owned(), value.trim().to_owned())),
                None => Err("'result' wants a name and a value".to_owned()),
            },
            _ => Err(format!(
                "there is no command '{}': see 'lab help'",
                verb.chars().take(40).collect::<String>()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn requests_parse() {
        assert_eq!(Request::parse("up\n", 2), Ok(Request::Up));
        assert_eq!(Request::parse("done 3", 2), Ok(Request::Done(3)));
        assert_eq!(Request::parse("kill 2", 2), Ok(Request::Kill(2)));
        assert_eq!(Request::parse("leave", 2), Ok(Request::Leave));
        assert_eq!(
            Request::parse("fabric fault 0 corrupt=1%", 2),
            Ok(Request::Fabric("fault 0 corrupt=1%".into()))
        );
        assert_eq!(
            Request::parse("result ping_ms 1.9 ms", 2),
            Ok(Request::Result("ping_ms".into(), "1.9 ms".into()))
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for line in [
            "",
            "kill 3",
            "kill x",
            "boot 0",
            "barrier",
            "done",
            "result speed",
            "format c:",
        ] {
            let reason = Request::parse(line, 2).unwrap_err();
            assert!(
                !reason.is_empty() && !reason.contains('\n'),
                "{line}: {reason}"
            );
        }
    }
}
