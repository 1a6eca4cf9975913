//! Medians and ranges of a handful of measurements.

/// The middle of `numbers`; the mean of the two in the middle when their count is even.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let sorted = sorted(numbers);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The least and the greatest of `numbers`.
pub fn range(numbers: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let sorted = sorted(numbers);
    Some((*sorted.first()?, *sorted.last()?))
}

/// The sum of `numbers` over their count.
pub fn mean(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let numbers: Vec<f64> = numbers.into_iter().collect();
    let sum: f64 = numbers.iter().sum();
    (!numbers.is_empty()).then(|| sum / numbers.len() as f64)
}

fn sorted(numbers: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_range_and_a_mean_take_every_number() {
        assert_eq!((range([]), mean([])), (None, None));
        assert_eq!(range([3.0, 1.0, 2.0]), Some((1.0, 3.0)));
        assert_eq!(mean([3.0, 1.0, 5.0]), Some(3.0));
    }
}
