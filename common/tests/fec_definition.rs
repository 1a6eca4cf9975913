//! Goal: the erasure code on the wire is the one that PROTOCOL 3.7 defines, whatever library makes
//! it. Method: the definition, written down naively with field arithmetic of its own, against what
//! the encoder makes of blocks of both shapes.

use common::fec::Encoder;

const BASIS: [u16; 16] = [
    0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012, 0x6C98, 0x10D8, 0x6A72, 0xB900,
    0xFDB8, 0xFB34, 0xFF38, 0x991E,
];
const POLYNOMIAL: u32 = 0x1002D;
const SYMBOL_BYTES: usize = 64;

/// Field arithmetic on elements, and the way from words to elements.
struct Field {
    log: Vec<u32>,
    exp: Vec<u16>,
}

impl Field {
    fn new() -> Self {
        let (mut log, mut exp) = (vec![0; 65536], vec![0; 2 * 65535]);
        let mut state = 1u32;
        for power in 0..65535u32 {
            log[state as usize] = power;
            exp[power as usize] = state as u16;
            exp[power as usize + 65535] = state as u16;
            state <<= 1;
            if state > 0xFFFF {
                state ^= POLYNOMIAL;
            }
        }
        Self { log, exp }
    }

    fn times(&self, a: u16, b: u16) -> u16 {
        if a == 0 || b == 0 {
            return 0;
        }
        self.exp[(self.log[usize::from(a)] + self.log[usize::from(b)]) as usize]
    }

    fn over(&self, a: u16, b: u16) -> u16 {
        assert_ne!(b, 0);
        self.times(a, self.exp[(65535 - self.log[usize::from(b)]) as usize])
    }
}

/// The element that a word stands for.
fn element(word: usize) -> u16 {
    BASIS.iter().enumerate().filter(|(bit, _)| word >> bit & 1 == 1).fold(0, |sum, (_, b)| sum ^ b)
}

/// The elements at one position of all symbols.
fn elements(symbols: &[u8], position: usize) -> Vec<u16> {
    let word =
        |symbol: &[u8]| usize::from(symbol[position]) | usize::from(symbol[32 + position]) << 8;
    symbols.chunks_exact(SYMBOL_BYTES).map(|symbol| element(word(symbol))).collect()
}

/// First case: the unknown y_0 … y_(m−1) that make all m sums vanish.
fn by_vanishing_sums(field: &Field, source: &[u16], m: usize) -> Vec<u16> {
    let mut rows: Vec<Vec<u16>> = Vec::new();
    let mut powers = vec![1u16; m + source.len()];
    for _ in 0..m {
        let known = source.iter().zip(&powers[m..]).map(|(y, power)| field.times(*y, *power));
        let sum = known.fold(0, |sum, term| sum ^ term);
        rows.push(powers[..m].iter().copied().chain([sum]).collect());
        for (x, power) in powers.iter_mut().enumerate() {
            *power = field.times(*power, element(x));
        }
    }
    eliminate(field, rows)
}

/// Solves the linear equations `rows`, coefficients first, right side last.
fn eliminate(field: &Field, mut rows: Vec<Vec<u16>>) -> Vec<u16> {
    let m = rows.len();
    for column in 0..m {
        let pivot = (column..m).find(|row| rows[*row][column] != 0).expect("independent");
        rows.swap(column, pivot);
        let scale = rows[column][column];
        let head: Vec<u16> = rows[column].iter().map(|cell| field.over(*cell, scale)).collect();
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if index != column && factor != 0 {
                for (cell, above) in row.iter_mut().zip(&head) {
                    *cell ^= field.times(factor, *above);
                }
            }
        }
        rows[column] = head;
    }
    rows.iter().map(|row| row[m]).collect()
}

/// Second case: the polynomial through the source symbols, read off further on.
fn by_interpolation(field: &Field, source: &[u16], m: usize, r: usize) -> Vec<u16> {
    let at = |target: usize| {
        let term = |i: usize| {
            let others = (0..m).filter(|other| *other != i);
            others.fold(source[i], |product, other| {
                let top = element(target) ^ element(other);
                field.over(field.times(product, top), element(i) ^ element(other))
            })
        };
        (0..source.len()).fold(0, |sum, i| sum ^ term(i))
    };
    (m..m + r).map(at).collect()
}

fn defined(field: &Field, source: &[u16], r: usize) -> Vec<u16> {
    let k = source.len();
    let (k2, r2) = (k.next_power_of_two(), r.next_power_of_two());
    if k2 > r2 || (k2 == r2 && k <= r) {
        let mut repair = by_vanishing_sums(field, source, r2);
        repair.truncate(r);
        repair
    } else {
        by_interpolation(field, source, k2, r)
    }
}

#[test]
fn the_code_is_the_one_that_the_protocol_defines() {
    let (field, mut encoder) = (Field::new(), Encoder::default());
    for (k, r) in [
        (1, 1),
        (3, 4),
        (4, 3),
        (5, 3),
        (13, 4),
        (6, 16),
        (1, 256),
        (64, 256),
        (140, 256),
        (257, 256),
        (1024, 256),
    ] {
        let source: Vec<u8> =
            (0..k * SYMBOL_BYTES).map(|byte| (byte * byte / 7 + byte * 31) as u8).collect();
        let mut repair = vec![0; r * SYMBOL_BYTES];
        encoder.encode(&source, SYMBOL_BYTES, &mut repair).expect("small counts");
        for position in [0, 31] {
            let expected = defined(&field, &elements(&source, position), r);
            assert_eq!(elements(&repair, position), expected, "k = {k}, r = {r}");
        }
    }
}
