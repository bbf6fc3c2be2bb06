//! Sequences of inputs, the steps that they are cut into, and the recurrences in f64.

use stablemate_kernels::{
    Convolution, DeltaRule, DeltaRuleOperands, Isa, KernelError, Kernels, Scan, ScanOperands,
    StateAddresses,
};

/// Numbers that look random (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// The logarithm of a decay: to all of the state, nearly all, a part, or nothing.
    fn decay(&mut self) -> f32 {
        let scale = [0.0, 0.01, 1.0, 1.0, 100.0][self.below(5)];
        -scale * self.float().abs()
    }
}

/// A kernel and its sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Convolve(Convolution),
    DeltaRule(DeltaRule),
    Scan(Scan),
}

impl Shape {
    /// Values of a state.
    pub fn state(&self) -> usize {
        match *self {
            Self::Convolve(Convolution { channels, taps }) => channels * (taps - 1),
            Self::DeltaRule(DeltaRule { key_heads, group, key_width, value_width, .. }) => {
                key_heads * group * key_width * value_width
            }
            Self::Scan(Scan { heads, width, states, .. }) => heads * width * states,
        }
    }

    /// Values of a token's result.
    pub fn width(&self) -> usize {
        match *self {
            Self::Convolve(Convolution { channels, .. }) => channels,
            Self::DeltaRule(DeltaRule { key_heads, group, value_width, .. }) => {
                key_heads * group * value_width
            }
            Self::Scan(Scan { heads, width, .. }) => heads * width,
        }
    }

    /// The operands of a token, made of numbers.
    fn token(&self, numbers: &mut Numbers) -> Vec<Vec<f32>> {
        let mut some = |count: usize, scale: f32| -> Vec<f32> {
            (0..count).map(|_| scale * numbers.float()).collect()
        };
        match *self {
            Self::Convolve(Convolution { channels, .. }) => vec![some(channels, 2.0)],
            Self::DeltaRule(DeltaRule {
                key_heads,
                group,
                key_width,
                value_width,
                per_channel,
            }) => {
                let heads = key_heads * group;
                let scale = 1.5 / (key_width as f32).sqrt();
                let mut operands = vec![
                    some(key_heads * key_width, scale),
                    some(key_heads * key_width, scale),
                    some(heads * value_width, 2.0),
                ];
                let beta = some(heads, 1.0).into_iter().map(f32::abs).collect();
                let decays = heads * if per_channel { key_width } else { 1 };
                operands.push((0..decays).map(|_| numbers.decay()).collect());
                operands.push(beta);
                operands
            }
            Self::Scan(Scan { heads, width, groups, states, .. }) => vec![
                some(heads * width, 2.0),
                some(heads, 1.0).into_iter().map(f32::abs).collect(),
                some(groups * states, 1.0),
                some(groups * states, 1.0),
            ],
        }
    }

    /// The operand that all tokens share, if there is one.
    fn shared(&self, numbers: &mut Numbers) -> Vec<f32> {
        match *self {
            Self::Convolve(Convolution { channels, taps }) => {
                (0..channels * taps).map(|_| numbers.float()).collect()
            }
            Self::DeltaRule(_) => Vec::new(),
            Self::Scan(Scan { heads, states, per_state, .. }) => {
                let rates = heads * if per_state { states } else { 1 };
                (0..rates).map(|_| 3.0 * numbers.decay()).collect()
            }
        }
    }

    /// Calls the kernel with the operands `[T, …]` and the shared one.
    pub fn call(
        &self,
        kernels: &Kernels,
        pool: &mut [f32],
        operands: &[Vec<f32>],
        shared: &[f32],
        addresses: &StateAddresses<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        match self {
            Self::Convolve(convolution) => {
                kernels.convolve(convolution, pool, &operands[0], shared, addresses, out)
            }
            Self::DeltaRule(rule) => {
                let [query, key, value, decay, beta] = operands else { panic!("five operands") };
                let operands = DeltaRuleOperands { query, key, value, decay, beta };
                kernels.delta_rule(rule, pool, &operands, addresses, out)
            }
            Self::Scan(scan) => {
                let [x, dt, b, c] = operands else { panic!("four operands") };
                let operands = ScanOperands { x, dt, a: shared, b, c };
                kernels.scan(scan, pool, &operands, addresses, out)
            }
        }
    }

    /// One token in f64: its result, and the state after it.
    fn reference(&self, state: &mut [f64], token: &[Vec<f32>], shared: &[f32]) -> Vec<f64> {
        match self {
            Self::Convolve(convolution) => convolved(convolution, state, &token[0], shared),
            Self::DeltaRule(rule) => delta_rule(rule, state, token),
            Self::Scan(scan) => scanned(scan, state, token, shared),
        }
    }
}

fn convolved(
    Convolution { channels, taps }: &Convolution,
    tail: &mut [f64],
    x: &[f32],
    weight: &[f32],
) -> Vec<f64> {
    let all: Vec<f64> = tail.iter().copied().chain(x.iter().map(|x| f64::from(*x))).collect();
    tail.copy_from_slice(&all[*channels..]);
    let weight = |channel: usize, tap: usize| f64::from(weight[channel * taps + tap]);
    let input = |channel: usize, tap: usize| all[tap * channels + channel];
    let sum = |channel| (0..*taps).map(|tap| weight(channel, tap) * input(channel, tap)).sum();
    (0..*channels).map(sum).collect()
}

fn delta_rule(rule: &DeltaRule, state: &mut [f64], token: &[Vec<f32>]) -> Vec<f64> {
    let DeltaRule { key_heads, group, key_width, value_width, per_channel } = *rule;
    let [query, key, value, decay, beta] = token else { panic!("five operands") };
    let mut out = Vec::new();
    for head in 0..key_heads * group {
        let of_key = |x: &[f32], n: usize| f64::from(x[head / group * key_width + n]);
        let decay = |n: usize| {
            f64::from(if per_channel { decay[head * key_width + n] } else { decay[head] }).exp()
        };
        let state = &mut state[head * key_width * value_width..][..key_width * value_width];
        for column in 0..value_width {
            let at = |n: usize| n * value_width + column;
            (0..key_width).for_each(|n| state[at(n)] *= decay(n));
            let found: f64 = (0..key_width).map(|n| state[at(n)] * of_key(key, n)).sum();
            let value = f64::from(value[head * value_width + column]);
            let change = f64::from(beta[head]) * (value - found);
            (0..key_width).for_each(|n| state[at(n)] += of_key(key, n) * change);
            out.push((0..key_width).map(|n| state[at(n)] * of_key(query, n)).sum());
        }
    }
    out
}

fn scanned(scan: &Scan, state: &mut [f64], token: &[Vec<f32>], a: &[f32]) -> Vec<f64> {
    let Scan { heads, width, groups, states, per_state } = *scan;
    let [x, dt, b, c] = token else { panic!("four operands") };
    let mut out = Vec::new();
    for row in 0..heads * width {
        let head = row / width;
        let dt = f64::from(dt[head]);
        let of_group = |x: &[f32], n: usize| f64::from(x[head / (heads / groups) * states + n]);
        let rate = |n: usize| f64::from(if per_state { a[head * states + n] } else { a[head] });
        let state = &mut state[row * states..][..states];
        for (n, s) in state.iter_mut().enumerate() {
            *s = (dt * rate(n)).exp() * *s + dt * f64::from(x[row]) * of_group(b, n);
        }
        out.push(state.iter().enumerate().map(|(n, s)| s * of_group(c, n)).sum());
    }
    out
}

/// Sequences of inputs.
pub struct Sequences {
    pub shape: Shape,
    /// `[sequence][position][operand]`.
    pub tokens: Vec<Vec<Vec<Vec<f32>>>>,
    pub shared: Vec<f32>,
}

/// A token of a step: its sequence and position; none for padding.
pub type Token = Option<(usize, usize)>;

/// The results of some steps.
pub struct Results {
    /// `[sequence][position]`: the token's result.
    pub out: Vec<Vec<Vec<f32>>>,
    /// Of all slots.
    pub pool: Vec<f32>,
}

impl Sequences {
    pub fn new(shape: Shape, lengths: &[usize], numbers: &mut Numbers) -> Self {
        let shared = shape.shared(numbers);
        let mut sequence = |length: &usize| (0..*length).map(|_| shape.token(numbers)).collect();
        let tokens = lengths.iter().map(&mut sequence).collect();
        Self { shape, tokens, shared }
    }

    /// The slot of a sequence. Slot 0 and odd slots belong to none.
    pub fn slot(&self, sequence: usize) -> usize {
        2 * (self.tokens.len() - sequence)
    }

    fn slots(&self) -> usize {
        2 * self.tokens.len() + 2
    }

    /// The state of a sequence in a pool.
    pub fn state<'p>(&self, pool: &'p [f32], sequence: usize) -> &'p [f32] {
        let width = self.shape.state();
        &pool[self.slot(sequence) * width..][..width]
    }

    /// Runs these steps over a pool full of NaNs.
    pub fn run(&self, kernels: &Kernels, steps: &[Vec<Token>]) -> Results {
        let mut results = Results {
            out: vec![Vec::new(); self.tokens.len()],
            pool: vec![f32::NAN; self.slots() * self.shape.state()],
        };
        for (number, step) in steps.iter().enumerate() {
            self.step(kernels, number, step, &mut results);
        }
        for slot in (0..self.slots()).filter(|slot| slot % 2 == 1 || *slot == 0) {
            let width = self.shape.state();
            let untouched = results.pool[slot * width..][..width].iter().all(|x| x.is_nan());
            assert!(untouched, "slot {slot} is nobody's");
        }
        results
    }

    fn step(&self, kernels: &Kernels, number: usize, step: &[Token], results: &mut Results) {
        // A sequence's row changes from step to step; the last row is unused.
        let count = self.tokens.len();
        let row = |sequence: usize| (sequence + number) % count;
        let mut slots = vec![0; count + 1];
        for sequence in 0..count {
            slots[row(sequence)] = self.slot(sequence) as i32;
        }
        let positions: Vec<i32> =
            step.iter().map(|token| token.map_or(-1, |(_, position)| position as i32)).collect();
        let sequences: Vec<i32> = step
            .iter()
            .map(|token| token.map_or(0, |(sequence, _)| row(sequence) as i32))
            .collect();
        let padding: Vec<Vec<f32>> = self.shape.token(&mut Numbers(1));
        let padding: Vec<Vec<f32>> =
            padding.iter().map(|operand| vec![f32::NAN; operand.len()]).collect();
        let operands: Vec<Vec<f32>> = (0..padding.len())
            .map(|operand| {
                let of = |token: &Token| match token {
                    Some((sequence, position)) => &self.tokens[*sequence][*position][operand],
                    None => &padding[operand],
                };
                step.iter().flat_map(of).copied().collect()
            })
            .collect();
        let addresses =
            StateAddresses { positions: &positions, sequences: &sequences, slots: &slots };
        let width = self.shape.width();
        let mut out = vec![f32::NAN; step.len() * width];
        let pool = &mut results.pool;
        let done = self.shape.call(kernels, pool, &operands, &self.shared, &addresses, &mut out);
        done.unwrap_or_else(|error| panic!("{error}"));
        for (token, out) in step.iter().zip(out.chunks_exact(width)) {
            match token {
                Some((sequence, position)) => {
                    assert_eq!(results.out[*sequence].len(), *position, "tokens in order");
                    results.out[*sequence].push(out.to_vec());
                }
                None => assert!(out.iter().all(|x| x.to_bits() == 0), "padding is 0"),
            }
        }
    }

    /// Each sequence's results and its state at the end, in f64.
    pub fn reference(&self) -> Vec<(Vec<Vec<f64>>, Vec<f64>)> {
        let of = |tokens: &Vec<Vec<Vec<f32>>>| {
            let mut state = vec![0.0; self.shape.state()];
            let mut token =
                |token: &Vec<Vec<f32>>| self.shape.reference(&mut state, token, &self.shared);
            let out = tokens.iter().map(&mut token).collect();
            (out, state)
        };
        self.tokens.iter().map(of).collect()
    }

    /// A sequence by itself, `chunk` tokens at a time.
    pub fn alone(&self, sequence: usize, chunk: usize) -> Vec<Vec<Token>> {
        let positions: Vec<usize> = (0..self.tokens[sequence].len()).collect();
        let token = |position: &usize| Some((sequence, *position));
        positions.chunks(chunk).map(|chunk| chunk.iter().map(token).collect()).collect()
    }

    /// All sequences, cut anywhere, together in steps, with padding anywhere.
    pub fn mixed(&self, numbers: &mut Numbers) -> Vec<Vec<Token>> {
        let mut done = vec![0; self.tokens.len()];
        let mut steps = Vec::new();
        while self.tokens.iter().zip(&done).any(|(tokens, done)| *done < tokens.len()) {
            let mut step: Vec<Token> = vec![None; numbers.below(3)];
            let first = numbers.below(done.len());
            for n in 0..done.len() {
                let sequence = (first + n) % done.len();
                let left = self.tokens[sequence].len() - done[sequence];
                let most = [0, 1, 2, 3, 7, 40][numbers.below(6)];
                for _ in 0..left.min(most) {
                    step.push(Some((sequence, done[sequence])));
                    done[sequence] += 1;
                }
                if numbers.below(4) == 0 {
                    step.push(None);
                }
            }
            steps.push(step);
        }
        steps
    }
}

/// The instruction sets of this machine.
pub fn instruction_sets() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available())
}
