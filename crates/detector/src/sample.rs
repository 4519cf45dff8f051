//! Random subsets.

/// At most `most` of the numbers below n, ascending.
pub(crate) fn some_of(n: usize, most: usize, seed: u64) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..n).collect();
    if n > most {
        let mut state = seed;
        for index in 0..most {
            let left = (n - index) as u64;
            numbers.swap(index, index + (next_random(&mut state) % left) as usize);
        }
        numbers.truncate(most);
        numbers.sort_unstable();
    }
    numbers
}

/// SplitMix64 (Steele et al. 2014, <https://doi.org/10.1145/2660193.2660195>).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_subset_is_of_different_numbers_each_as_likely() {
        let mut counts = [0_u32; 20];
        for seed in 0..2000 {
            let some = some_of(20, 5, seed);
            assert!(some.len() == 5 && some.is_sorted_by(|a, b| a < b));
            for number in some {
                counts[number] += 1;
            }
        }
        // 500 each, with a standard deviation of 19.
        assert!(counts.iter().all(|count| (400..600).contains(count)));
    }
}
