//! What the settings of the server's guard must be together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Origin, Problem, Settings};

/// Mistakes that no single setting can be blamed for.
pub(super) fn checks(settings: &Settings, origins: &BTreeMap<&'static str, Origin>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |key: &str, message: &str| {
        let source = origins
            .get(key)
            .map_or("configuration", |origin| origin.source.as_str());
        problems.push(Problem::new(source, key, None, message));
    };
    let guard = &settings.server.guard;
    let tls = &guard.tls;
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        wrong(
            "server.tls_cert_file",
            "the server's certificate and its key must be given together",
        );
    }
    if tls.client_ca_file.is_some() && tls.cert_file.is_none() {
        wrong(
            "server.tls_client_ca_file",
            "clients can be asked for certificates only where the server has one: server.tls_cert_file is not set",
        );
    }
    if tls.client_crl_file.is_some() && tls.client_ca_file.is_none() {
        wrong(
            "server.tls_client_crl_file",
            "certificates can be revoked only where clients have them: server.tls_client_ca_file is not set",
        );
    }
    let own = &settings.peers.credentials.tls;
    if own.cert_file.is_some() != own.key_file.is_some() {
        wrong(
            "peers.tls_cert_file",
            "a client certificate and its key must be given together",
        );
    }
    if !guard.insecure && !is_loopback(&settings.server.host) {
        if !guard.authenticates() {
            wrong(
                "server.host",
                "listens on more than this machine, and nobody has to say who he is: set server.access_file or \
                 server.tls_client_ca_file, or server.insecure: true where the network is trusted",
            );
        } else if tls.cert_file.is_none() {
            wrong(
                "server.host",
                "listens on more than this machine, and tokens would travel in the clear: set server.tls_cert_file, or \
                 server.insecure: true where something else encrypts",
            );
        }
    }
    problems
}

/// Whether a host is this machine only. A name could be anything, but for the one that every machine has for itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, load};
    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let sources = Sources {
            flags: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Sources::default()
        };
        load(&sources, 1).map_or_else(|error| error.0.iter().map(ToString::to_string).collect(), |_| vec![])
    }

    #[test]
    fn this_machine_only_is_told_from_anywhere() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "10.0.0.1", "work", "localhost.example.org", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn an_open_port_needs_authentication_and_tls_or_an_explicit_word() {
        let anywhere = ("server.host", "0.0.0.0");
        let refused = problems(&[anywhere]);
        assert!(
            refused.len() == 1 && refused[0].contains("nobody has to say who he is"),
            "{refused:?}"
        );
        let clear = problems(&[anywhere, ("server.access_file", "/a")]);
        assert!(clear.len() == 1 && clear[0].contains("in the clear"), "{clear:?}");
        assert!(problems(&[anywhere, ("server.insecure", "true")]).is_empty());
        let locked = [
            anywhere,
            ("server.access_file", "/a"),
            ("server.tls_cert_file", "/c"),
            ("server.tls_key_file", "/k"),
        ];
        assert!(problems(&locked).is_empty());
        assert!(
            problems(&[("server.access_file", "/a")]).is_empty(),
            "on this machine tokens may travel in the clear"
        );
    }

    #[test]
    fn halves_of_pairs_are_named() {
        for (key, value) in [
            ("server.tls_cert_file", "/c"),
            ("server.tls_client_ca_file", "/c"),
            ("server.tls_client_crl_file", "/c"),
            ("peers.tls_key_file", "/k"),
        ] {
            assert_eq!(problems(&[(key, value)]).len(), 1, "{key}");
        }
    }
}
