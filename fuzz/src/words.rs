//! Decisions out of arbitrary bytes, and bytes out of a seed.

/// Reads an input as a sequence of decisions. At its end all answers are 0.
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub fn new(input: &'a [u8]) -> Words<'a> {
        Words { rest: input }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let number = if end <= 256 { usize::from(self.byte()) } else { usize::from(self.short()) };
        number % end
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// As many bytes as are left, at most `n`.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

/// Numbers that repeat with their seed (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.number() as u8).collect()
    }

    /// One of the inputs, changed in a few places.
    pub fn mutated(&mut self, from: &[Vec<u8>]) -> Vec<u8> {
        let mut input = match from {
            [] => Vec::new(),
            all => all[self.below(all.len())].clone(),
        };
        for _ in 0..=self.below(8) {
            self.mutate(&mut input, from);
        }
        input.truncate(1 << 20);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, all: &[Vec<u8>]) {
        const TELLING: [u8; 8] = [0, 1, 0x7f, 0x80, 0x81, 0x82, 0xfe, 0xff];
        let at = self.below(input.len());
        match (self.below(8), input.get_mut(at)) {
            (0, Some(byte)) => *byte ^= 1 << self.below(8),
            (1, Some(byte)) => *byte = self.number() as u8,
            (2, Some(byte)) => *byte = TELLING[self.below(TELLING.len())],
            (3, Some(_)) => input.truncate(at),
            (4, Some(_)) => {
                let end = (at + 1 + self.below(16)).min(input.len());
                input.drain(at..end);
            }
            (5, Some(_)) => {
                let end = (at + 1 + self.below(32)).min(input.len());
                let part = input[at..end].to_vec();
                let to = self.below(input.len());
                input.splice(to..to, part);
            }
            (6, _) if !all.is_empty() => {
                let other = &all[self.below(all.len())];
                let from = self.below(other.len());
                let end = (from + 1 + self.below(64)).min(other.len());
                input.splice(at..at, other[from.min(end)..end].to_vec());
            }
            _ => {
                let n = 1 + self.below(64);
                let fresh = self.bytes(n);
                input.splice(at..at, fresh);
            }
        }
    }
}
