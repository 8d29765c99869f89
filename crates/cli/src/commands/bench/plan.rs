//! What is measured, and in which order.

use serde::Serialize;

/// Terminations in flight at once of the naive loop.
pub(super) const LOOP_CONCURRENCY: u32 = 200;

/// What the executions of a workload have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shape {
    /// Without parents, idle: of a type that nobody works on.
    Flat,
    /// A snowball that is still spawning when the stop begins.
    Tree,
}

/// A kind of contender, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// TerminateWorkflowExecution with the ids known, at each concurrency of the ladder (flat only).
    Raw,
    /// The server's own batch operation, by query.
    Batch,
    /// List and terminate, 200 at a time, until a list is empty.
    Loop,
    /// The source told to stop and the root terminated; the server's cascade does the rest (tree only).
    Root,
    /// A cancellation by the canceler service, as its defaults are.
    Quell,
}

/// A way to stop a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    /// TerminateWorkflowExecution with the ids known, so many at a time.
    Raw(u32),
    /// See [`Kind::Batch`].
    Batch,
    /// See [`Kind::Loop`].
    Loop,
    /// See [`Kind::Root`].
    Root,
    /// See [`Kind::Quell`].
    Quell,
}

impl Contender {
    /// Its name in tables and JSON.
    pub(super) fn name(self) -> String {
        match self {
            Self::Raw(concurrency) => format!("raw@{concurrency}"),
            Self::Batch => "batch".to_owned(),
            Self::Loop => format!("loop@{LOOP_CONCURRENCY}"),
            Self::Root => "root".to_owned(),
            Self::Quell => "quell".to_owned(),
        }
    }
}

/// The contenders of a shape; kinds that make no sense for it are left out.
fn contenders(shape: Shape, kinds: &[Kind], ladder: &[u32]) -> Vec<Contender> {
    let of_kind = |kind: &Kind| match (kind, shape) {
        (Kind::Raw, Shape::Flat) => ladder.iter().copied().map(Contender::Raw).collect(),
        (Kind::Raw, Shape::Tree) | (Kind::Root, Shape::Flat) => Vec::new(),
        (Kind::Batch, _) => vec![Contender::Batch],
        (Kind::Loop, _) => vec![Contender::Loop],
        (Kind::Root, Shape::Tree) => vec![Contender::Root],
        (Kind::Quell, _) => vec![Contender::Quell],
    };
    kinds.iter().flat_map(of_kind).collect()
}

/// The order of one round. The server's tables grow from one measurement to the next, so each round begins elsewhere, as far from
/// the others as the number of rounds allows: whoever is last in one round is not in the next.
fn rotated<T: Copy>(items: &[T], round: usize, rounds: usize) -> Vec<T> {
    let mut order = items.to_vec();
    if !order.is_empty() {
        let offset = if rounds < order.len() {
            round * order.len() / rounds.max(1)
        } else {
            round
        };
        let offset = offset % order.len();
        order.rotate_left(offset);
    }
    order
}

/// One measurement to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    /// Counted from 1.
    pub(super) round: u32,
    pub(super) shape: Shape,
    /// Executions open when the stop begins.
    pub(super) size: u32,
    pub(super) contender: Contender,
}

/// What the caller chose.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) shapes: Vec<Shape>,
    pub(super) sizes: Vec<u32>,
    pub(super) kinds: Vec<Kind>,
    pub(super) ladder: Vec<u32>,
    pub(super) rounds: u32,
}

impl Choice {
    /// All measurements in their order: round by round, and in each round every shape and size with all of its contenders.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let rounds = usize::try_from(self.rounds).unwrap_or(usize::MAX);
        let mut cells = Vec::new();
        for (index, round) in (1..=self.rounds).enumerate() {
            for &shape in &self.shapes {
                let contenders = rotated(&contenders(shape, &self.kinds, &self.ladder), index, rounds);
                for &size in &self.sizes {
                    cells.extend(contenders.iter().map(|&contender| Cell {
                        round,
                        shape,
                        size,
                        contender,
                    }));
                }
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ALL: [Kind; 5] = [Kind::Raw, Kind::Batch, Kind::Loop, Kind::Root, Kind::Quell];

    #[test]
    fn a_shape_has_the_contenders_that_make_sense_for_it() {
        let flat = contenders(Shape::Flat, &ALL, &[4, 16]).into_iter().map(Contender::name);
        assert_eq!(
            flat.collect::<Vec<_>>(),
            ["raw@4", "raw@16", "batch", "loop@200", "quell"]
        );
        let tree = contenders(Shape::Tree, &ALL, &[4, 16]).into_iter().map(Contender::name);
        assert_eq!(tree.collect::<Vec<_>>(), ["batch", "loop@200", "root", "quell"]);
        assert!(contenders(Shape::Tree, &[Kind::Raw], &[4]).is_empty());
    }

    #[test]
    fn each_round_ends_with_another_as_long_as_there_are_others() {
        for items in 1..12_usize {
            let list: Vec<usize> = (0..items).collect();
            for rounds in 1..12_usize {
                let orders: Vec<_> = (0..rounds).map(|round| rotated(&list, round, rounds)).collect();
                let last: BTreeSet<_> = orders.iter().filter_map(|order| order.last()).collect();
                assert_eq!(last.len(), rounds.min(items), "{items} in {rounds} rounds: {orders:?}");
                for mut order in orders {
                    order.sort_unstable();
                    assert_eq!(order, list);
                }
            }
        }
        assert!(rotated::<u8>(&[], 1, 2).is_empty());
    }

    #[test]
    fn rounds_are_outermost() {
        let choice = Choice {
            shapes: vec![Shape::Flat, Shape::Tree],
            sizes: vec![10, 20],
            kinds: vec![Kind::Batch, Kind::Quell],
            ladder: vec![4],
            rounds: 2,
        };
        let cells = choice.cells();
        assert_eq!(cells.len(), 16);
        assert!(cells.is_sorted_by_key(|cell| cell.round));
        assert_eq!(cells[0].contender, Contender::Batch);
        assert_eq!(
            cells[8].contender,
            Contender::Quell,
            "the second round begins with another"
        );
    }
}
