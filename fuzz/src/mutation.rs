//! Mutation of inputs by a seeded generator, so that a run can be repeated.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Largest input in bytes: parsers fail on structure long before size.
const LARGEST: usize = 64 << 10;

/// Bytes and pieces that parsers treat specially.
const SPECIAL: [&[u8]; 16] = [
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\\u0000",
    b"\\ud83d",
    b"-1",
    b"1e999",
    b"\xff\xff\xff\xff",
    b"18446744073709551616",
];

/// Creates inputs from others.
pub struct Mutator {
    random: StdRng,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    /// Starts from these inputs; an empty one stands in where there are none.
    pub fn new(seed: u64, mut seeds: Vec<Vec<u8>>) -> Self {
        if seeds.is_empty() {
            seeds.push(Vec::new());
        }
        Self {
            random: StdRng::seed_from_u64(seed),
            seeds,
        }
    }

    /// Returns the next input: a seed with one to eight changes.
    pub fn next_input(&mut self) -> Vec<u8> {
        let index = self.random.random_range(0..self.seeds.len());
        let mut input = self.seeds[index].clone();
        for _ in 0..self.random.random_range(1..=8) {
            self.change(&mut input);
        }
        input.truncate(LARGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.random_range(0..=input.len());
        let length = self.random.random_range(0..=(input.len() - at).min(16));
        match self.random.random_range(0..7) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..at + length)),
            2 => {
                let piece = SPECIAL[self.random.random_range(0..SPECIAL.len())];
                input.splice(at..at, piece.iter().copied());
            }
            3 => {
                let piece = input[at..at + length].to_vec();
                let to = self.random.random_range(0..=input.len());
                input.splice(to..to, piece);
            }
            4 => {
                let other = self.random.random_range(0..self.seeds.len());
                let from = self.random.random_range(0..=self.seeds[other].len());
                let tail = self.seeds[other][from..].to_vec();
                input.truncate(at);
                input.extend(tail);
            }
            5 => {
                let random = self.random.random::<u8>();
                if let Some(byte) = input.get_mut(at) {
                    *byte = random;
                }
            }
            _ => {
                let bit = 1 << self.random.random_range(0..8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_inputs_and_another_does_not() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, vec![b"hello".to_vec(), b"world".to_vec()]);
            (0..100).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }
}
