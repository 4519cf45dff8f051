//! Some of the sites of many images, where all are too many.

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

/// As many sites of each image.
pub struct SomeSites {
    each: usize,
    sites: usize,
}

/// At most `most` sites of `images` images that have `sites` each, and at least one of each.
pub fn some_sites(most: usize, images: usize, sites: usize) -> SomeSites {
    let each = most / images.max(1);
    SomeSites {
        each: each.clamp(1, sites.max(1)),
        sites,
    }
}

impl SomeSites {
    /// Those of an image: drawn by its number alone, ascending.
    pub fn of(&self, image: usize) -> Vec<usize> {
        if self.each >= self.sites {
            return (0..self.sites).collect();
        }
        let mut rng = ChaCha8Rng::seed_from_u64(image as u64);
        let mut drawn = index::sample(&mut rng, self.sites, self.each).into_vec();
        drawn.sort_unstable();
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_drawn_where_all_are_too_many() {
        let all = some_sites(1000, 10, 16);
        assert_eq!(all.of(3), (0..16).collect::<Vec<_>>());
        let some = some_sites(60, 10, 16);
        assert_eq!(some.of(3), some.of(3));
        assert_ne!(some.of(3), some.of(4));
        let drawn = some.of(3);
        assert!(drawn.len() == 6 && drawn.is_sorted() && drawn.iter().all(|&site| site < 16));
        assert_eq!(some_sites(3, 10, 16).of(0).len(), 1);
    }
}
