//! Medians and rates.

use serde::Serialize;

/// Median, smallest and largest of some measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// None of nothing. The median of an even number is the mean of the middle two.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = if values.len() % 2 == 1 {
            upper
        } else {
            f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper)
        };
        Some(Self { median, min, max })
    }

    /// The ratio of two medians; none to nothing or zero.
    pub(super) fn ratio(own: Option<Self>, reference: Option<Self>) -> Option<f64> {
        let (own, reference) = own.zip(reference)?;
        (reference.median > 0.0).then(|| rounded(own.median / reference.median))
    }
}

/// To three decimals: more would only pretend.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A rate; none where no time has passed.
#[expect(clippy::cast_precision_loss, reason = "a count of executions is far below 2^52")]
pub(super) fn per_second(count: usize, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| rounded(count as f64 / seconds))
}

/// The shortest time over which a rate is worth anything, in seconds.
const SHORTEST: f64 = 1.0;

/// Executions closed a second, from `skip` seconds after the first was closed until the last was: what a contender does once it is
/// under way. `closed` are the times at which they closed, in seconds by the server's clock, in any order. None when there is less than
/// a second left.
pub(super) fn rate_after(skip: f64, closed: &[f64]) -> Option<f64> {
    let first = closed.iter().copied().min_by(f64::total_cmp)?;
    let last = closed.iter().copied().max_by(f64::total_cmp)?;
    let from = first + skip;
    let seconds = last - from;
    if seconds < SHORTEST {
        return None;
    }
    per_second(closed.iter().filter(|time| **time > from).count(), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        let odd = spread(&[3.0, 1.0, 9.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 9.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(spread(&[7.0]).unwrap().median, 7.0);
    }

    #[test]
    fn a_ratio_needs_both_and_something_to_divide_by() {
        let of = |value| Spread::of([value]);
        assert_eq!(Spread::ratio(of(9.0), of(10.0)), Some(0.9));
        assert_eq!(Spread::ratio(of(9.0), None), None);
        assert_eq!(Spread::ratio(None, of(9.0)), None);
        assert_eq!(Spread::ratio(of(9.0), of(0.0)), None);
        assert_eq!(per_second(5, 0.0), None);
        assert_eq!(per_second(500, 2.0), Some(250.0));
    }

    #[test]
    fn the_rate_under_way_leaves_out_the_beginning() {
        // One a second for two seconds, then ten a second for three, in any order.
        let mut closed: Vec<f64> = [100.0, 101.0, 102.0].into();
        closed.extend((1..=30).map(|tenth| 102.0 + f64::from(tenth) / 10.0));
        closed.reverse();
        assert_eq!(rate_after(2.0, &closed), Some(10.0));
        assert_eq!(rate_after(2.0, &[]), None);
        assert_eq!(rate_after(2.0, &[5.0, 6.0, 7.5]), None, "half a second is no basis");
    }
}
