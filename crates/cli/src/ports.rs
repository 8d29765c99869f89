//! Free ports for child processes.
//!
//! A child is told its port before it binds it, so a port can only be *likely* free. Two things make it very likely. Ports
//! are taken from below the range from which the kernel serves outgoing connections: otherwise a client connection of
//! ours could sit on the port of a killed service just when it is restarted. And all ports of one mesh are held by
//! listeners until the last is chosen, so that they differ; the start is random, so that meshes side by side do not race
//! for the same ones.

use crate::error::Error;
use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// The ports that are handed out: Linux serves outgoing connections from 32,768 up by default.
const RANGE: Range<u16> = 20_000..32_000;

/// `count` different ports on 127.0.0.1 on which nothing listens now.
///
/// # Errors
/// [`Error::Ports`] when the whole range was tried.
pub fn free(count: usize) -> Result<Vec<u16>, Error> {
    let [low, high, ..] = *uuid::Uuid::new_v4().as_bytes();
    free_from(RANGE, u16::from_be_bytes([low, high]), count)
}

/// The same from a given start: the search is a plain walk, so that a test can tell what it does.
fn free_from(Range { start, end }: Range<u16>, seed: u16, count: usize) -> Result<Vec<u16>, Error> {
    let span = end - start;
    let mut held = Vec::with_capacity(count);
    let mut ports = Vec::with_capacity(count);
    for offset in 0..span {
        if ports.len() == count {
            break;
        }
        let port = start + ((seed % span) + offset) % span;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push(listener);
            ports.push(port);
        }
    }
    if ports.len() < count {
        return Err(Error::Ports(format!(
            "{count} asked for, {} found between {start} and {end}",
            ports.len()
        )));
    }
    Ok(ports)
}

/// Whether something accepts connections on 127.0.0.1 at this port.
#[must_use]
pub fn in_use(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_differ_and_are_free() {
        // A child that a test beside this one has just forked holds the listeners until it runs its program: so not at the first try only.
        let are_free = (0..20).any(|_| {
            let ports = free(12).unwrap();
            assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 12);
            assert!(ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
            ports.into_iter().all(|port| !in_use(port))
        });
        assert!(are_free);
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let first = free_from(RANGE, 77, 1).unwrap()[0];
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let next = free_from(RANGE, 77, 1).unwrap()[0];
        assert_ne!(first, next);
        assert!(in_use(first));
    }

    #[test]
    fn the_walk_wraps_at_the_end_of_the_range() {
        let ports = free_from(RANGE, RANGE.end - RANGE.start - 1, 3).unwrap();
        assert!(ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
    }

    #[test]
    fn more_than_there_are_is_an_error() {
        // Above the range that the tests beside this one take their ports from: it would hold all of that for a moment.
        let few = RANGE.end..RANGE.end + 5;
        assert!(matches!(free_from(few, 0, 6), Err(Error::Ports(_))));
    }
}
