//! A runner without a model, for tests: its arithmetic can be done by hand, it goes through a paged
//! cache like a real one, and it refuses steps that a real one would answer wrongly.

use crate::{Room, Runner, StepInput};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a [`Fake`] is like.
#[derive(Clone, Debug)]
pub struct FakeSettings {
    /// `V`.
    pub vocabulary: usize,
    /// The longest sequence.
    pub context: usize,
    /// Tokens of a block.
    pub block_length: usize,
    /// The most tokens of a step.
    pub step_tokens: usize,
    /// `D`.
    pub width: usize,
    /// What [`Runner::reuses_prefixes`] says.
    pub reuses_prefixes: bool,
    /// What [`Runner::keeps_state`] says.
    pub keeps_state: bool,
    /// What [`Runner::recomputed_beyond`] says; a sequence whose tokens are of both sides is refused.
    pub recomputed_beyond: Option<usize>,
    /// How long a step takes.
    pub step_delay: Duration,
    /// How much longer each of its tokens makes it.
    pub token_delay: Duration,
    /// Steps that fail; the first is 1.
    pub fail_at: BTreeSet<usize>,
    /// Steps that panic.
    pub panic_at: BTreeSet<usize>,
    /// Copies of state that fail; the first is 1.
    pub fail_copies: BTreeSet<usize>,
}

impl Default for FakeSettings {
    /// 50 tokens, a context of 40 in blocks of 4, steps of 8 tokens without delay.
    fn default() -> Self {
        Self {
            vocabulary: 50,
            context: 40,
            block_length: 4,
            step_tokens: 8,
            width: 3,
            reuses_prefixes: true,
            keeps_state: false,
            recomputed_beyond: None,
            step_delay: Duration::ZERO,
            token_delay: Duration::ZERO,
            fail_at: BTreeSet::new(),
            panic_at: BTreeSet::new(),
            fail_copies: BTreeSet::new(),
        }
    }
}

/// Why a step of a [`Fake`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FakeError {
    /// It was told to.
    #[error("step {0} was told to fail")]
    Told(usize),
    /// A copy of state was told to.
    #[error("copy {0} was told to fail")]
    ToldCopy(usize),
    /// The step is wrong: a real runner would have computed nonsense.
    #[error("misuse: {0}")]
    Misuse(String),
}

/// What a [`Fake`] was asked for; shared with it.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    count: usize,
    steps: Vec<usize>,
    lengths: Vec<u32>,
    copies: Vec<(u32, u32)>,
    misuses: Vec<String>,
    room: Option<Room>,
}

impl Journal {
    /// Tokens of each step so far.
    pub fn steps(&self) -> Vec<usize> {
        self.lock().steps.clone()
    }

    /// Lengths of sequences as they came with the tokens of all steps.
    pub fn lengths(&self) -> Vec<u32> {
        self.lock().lengths.clone()
    }

    /// Slots that state was to be copied from and to so far.
    pub fn copies(&self) -> Vec<(u32, u32)> {
        self.lock().copies.clone()
    }

    /// Forgets steps and lengths. Steps are counted on.
    pub fn clear(&self) {
        let mut entries = self.lock();
        entries.steps.clear();
        entries.lengths.clear();
    }

    /// What was wrong with steps; empty, if all is well.
    pub fn misuses(&self) -> Vec<String> {
        self.lock().misuses.clone()
    }

    /// The room that was reserved.
    pub fn room(&self) -> Option<Room> {
        self.lock().room
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Logits = Box<dyn Fn(&[u32]) -> Vec<f32> + Send>;

/// The runner. Logits are a function of a sequence's tokens as they are found in its cache. If it
/// keeps state, that of a sequence is all its tokens since position 0: a running hash without
/// collisions, so that a wrong slot, a wrong copy, or a token left out or processed twice shows.
pub struct Fake {
    settings: FakeSettings,
    logits: Logits,
    /// Token and position by block and place in it.
    cache: HashMap<(u32, usize), (u32, u32, bool)>,
    /// Tokens by slot.
    states: HashMap<u32, Vec<u32>>,
    room: Room,
    journal: Journal,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What [`Fake::new`] continues tokens with: their sum plus their number, modulo the vocabulary.
pub fn next_token(tokens: &[u32], vocabulary: usize) -> u32 {
    let sum: u64 = tokens.iter().map(|token| u64::from(*token)).sum();
    ((sum + tokens.len() as u64) % vocabulary as u64) as u32
}

/// What [`Fake::new`] continues a prompt with if the largest logit is chosen.
pub fn by_hand(prompt: &[u32], count: usize, vocabulary: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        tokens.push(next_token(&tokens, vocabulary));
    }
    tokens.split_off(prompt.len())
}

/// The vector of the last of some tokens: its element `n` is their sum times `n + 1`, plus their
/// number, modulo 97.
pub fn vector(tokens: &[u32], width: usize) -> Vec<f32> {
    let sum: u64 = tokens.iter().map(|token| u64::from(*token)).sum();
    let element = |n: usize| (sum * (n as u64 + 1) + tokens.len() as u64) % 97;
    (0..width).map(|n| element(n) as f32).collect()
}

impl Fake {
    /// Continues tokens with [`next_token`], whose logit is 1 among zeros.
    pub fn new(settings: FakeSettings) -> Self {
        let vocabulary = settings.vocabulary;
        Self::scripted(settings, move |tokens| next_token(tokens, vocabulary))
    }

    /// Continues tokens with what a function makes of them, whose logit is 1 among zeros.
    pub fn scripted<F>(settings: FakeSettings, next: F) -> Self
    where
        F: Fn(&[u32]) -> u32 + Send + 'static,
    {
        let vocabulary = settings.vocabulary;
        Self::with_logits(settings, move |tokens| {
            let next = next(tokens) as usize;
            (0..vocabulary).map(|n| if n == next { 1.0 } else { 0.0 }).collect()
        })
    }

    /// Gives the logits, `[V]`, that a function makes of tokens.
    pub fn with_logits<F>(settings: FakeSettings, logits: F) -> Self
    where
        F: Fn(&[u32]) -> Vec<f32> + Send + 'static,
    {
        let room = Room { sequences: 0, tokens: 0, blocks: 0, slots: 0 };
        let (cache, states, journal) = (HashMap::new(), HashMap::new(), Journal::default());
        Self { settings, logits: Box::new(logits), cache, states, room, journal }
    }

    /// What it is asked for, also after it was given away.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Checks the step, writes its tokens into the cache, and returns the tokens up to each row.
    fn run(&mut self, step: &StepInput<'_>) -> Result<Vec<Vec<u32>>, FakeError> {
        let number = {
            let mut entries = self.journal.lock();
            entries.steps.push(step.tokens.len());
            entries.lengths.extend(step.lengths);
            entries.count += 1;
            entries.count
        };
        std::thread::sleep(
            self.settings.step_delay + self.settings.token_delay * step.tokens.len() as u32,
        );
        assert!(!self.settings.panic_at.contains(&number), "step {number} was told to panic");
        if self.settings.fail_at.contains(&number) {
            return Err(FakeError::Told(number));
        }
        let result = self.check(step).and_then(|()| self.write(step)).and_then(|()| {
            self.read_all(step)?;
            let rows = step.rows.iter().map(|row| self.read(step, *row as usize));
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            if self.settings.keeps_state { self.advance(step, &rows) } else { Ok(rows) }
        });
        result.map_err(|message| self.misuse(message))
    }

    fn misuse(&self, message: String) -> FakeError {
        self.journal.lock().misuses.push(message.clone());
        FakeError::Misuse(message)
    }

    /// Takes the tokens of a step into the states of their sequences, and returns the states at its
    /// rows, which must be what the cache holds.
    fn advance(
        &mut self,
        step: &StepInput<'_>,
        rows: &[Vec<u32>],
    ) -> Result<Vec<Vec<u32>>, String> {
        let mut states = Vec::new();
        for (n, &token) in step.tokens.iter().enumerate() {
            let (slot, position) = (step.slots[step.sequences[n] as usize], step.positions[n]);
            let state = self.states.entry(slot).or_default();
            if position == 0 {
                state.clear();
            }
            if state.len() != position as usize {
                let count = state.len();
                return Err(format!("{position} follows {count} tokens in slot {slot}: {step:?}"));
            }
            state.push(token);
            if step.rows.get(states.len()) == Some(&(n as u32)) {
                states.push(state.clone());
            }
        }
        if states == rows {
            Ok(states)
        } else {
            Err(format!("states {states:?} beside the cache's {rows:?}: {step:?}"))
        }
    }

    fn check(&self, step: &StepInput<'_>) -> Result<(), String> {
        let StepInput { tokens, positions, sequences, lengths, block_tables, slots, rows } = *step;
        let count = tokens.len();
        let ensure = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(format!("{what}: {step:?} in {:?}", self.room)) }
        };
        ensure(count > 0 && count <= self.settings.step_tokens, "tokens of a step")?;
        let same = [positions.len(), sequences.len(), lengths.len()] == [count; 3];
        ensure(same, "one position, sequence and length per token")?;
        ensure(block_tables.len() <= self.room.sequences, "sequences within the room")?;
        let most = self.room.tokens.div_ceil(self.settings.block_length);
        ensure(block_tables.iter().all(|table| table.len() <= most), "tables within the room")?;
        let mut blocks = block_tables.iter().flatten().map(|block| *block as usize);
        ensure(blocks.all(|block| block >= 1 && block <= self.room.blocks), "blocks in the room")?;
        ensure(slots.len() == block_tables.len(), "a slot per sequence")?;
        if self.settings.keeps_state {
            let inside = |slot: &u32| *slot > 0 && *slot as usize <= self.room.slots;
            ensure(slots.iter().all(inside), "slots within the room")?;
            let different: BTreeSet<u32> = slots.iter().copied().collect();
            ensure(different.len() == slots.len(), "a slot of its own per sequence")?;
        }
        ensure(rows.iter().all(|row| (*row as usize) < count), "rows within the step")?;
        ensure(rows.is_sorted_by(|a, b| a < b), "rows in order")?;
        for n in 0..count {
            let (position, length) = (positions[n] as usize, lengths[n] as usize);
            ensure((tokens[n] as usize) < self.settings.vocabulary, "known tokens")?;
            ensure((sequences[n] as usize) < block_tables.len(), "a table per sequence")?;
            let fits = position < length && length <= self.settings.context;
            ensure(fits, "positions before lengths within the context")?;
        }
        Ok(())
    }

    fn write(&mut self, step: &StepInput<'_>) -> Result<(), String> {
        let mut written = HashMap::new();
        for (n, &token) in step.tokens.iter().enumerate() {
            let position = step.positions[n];
            let place = self.place(step, step.sequences[n], position)?;
            if let Some(other) = written.insert(place, n) {
                return Err(format!("tokens {other} and {n} are both written to {place:?}"));
            }
            let long = self.is_long(step.lengths[n]);
            self.cache.insert(place, (token, position, long));
        }
        Ok(())
    }

    /// Reads what each sequence of a step is made of: rows or not, all of it must be there.
    fn read_all(&self, step: &StepInput<'_>) -> Result<(), String> {
        let mut last: HashMap<u32, usize> = HashMap::new();
        for (n, &sequence) in step.sequences.iter().enumerate() {
            if let Some(previous) = last.insert(sequence, n)
                && (previous + 1 != n || step.positions[n] != step.positions[previous] + 1)
            {
                return Err(format!("tokens of sequence {sequence} are not consecutive: {step:?}"));
            }
        }
        last.values().try_for_each(|n| self.read(step, *n).map(drop))
    }

    /// Whether a sequence of this length is beyond what stays right when it grows.
    fn is_long(&self, length: u32) -> bool {
        self.settings.recomputed_beyond.is_some_and(|most| length as usize > most)
    }

    /// The tokens of a sequence up to one of a step, as the cache has them.
    fn read(&self, step: &StepInput<'_>, n: usize) -> Result<Vec<u32>, String> {
        let long = self.is_long(step.lengths[n]);
        let read = |position| {
            let place = self.place(step, step.sequences[n], position)?;
            match self.cache.get(&place) {
                Some((_, _, other)) if *other != long => {
                    Err(format!("position {position} is of another length: {step:?}"))
                }
                Some((token, there, _)) if *there == position => Ok(*token),
                Some((_, there, _)) => {
                    Err(format!("position {position} is wanted of {place:?}, {there} is there"))
                }
                None => Err(format!("{place:?} is read, but was never written")),
            }
        };
        (0..=step.positions[n]).map(read).collect()
    }

    fn place(
        &self,
        step: &StepInput<'_>,
        sequence: u32,
        position: u32,
    ) -> Result<(u32, usize), String> {
        let length = self.settings.block_length;
        let page = position as usize / length;
        let block = step.block_tables[sequence as usize].get(page);
        let block = block.ok_or_else(|| format!("sequence {sequence} has no block {page}"))?;
        Ok((*block, position as usize % length))
    }
}

impl Runner for Fake {
    type Error = FakeError;

    fn vocabulary(&self) -> usize {
        self.settings.vocabulary
    }

    fn context(&self) -> usize {
        self.settings.context
    }

    fn block_length(&self) -> usize {
        self.settings.block_length
    }

    fn step_tokens(&self) -> usize {
        self.settings.step_tokens
    }

    fn reuses_prefixes(&self) -> bool {
        self.settings.reuses_prefixes
    }

    fn recomputed_beyond(&self) -> Option<usize> {
        self.settings.recomputed_beyond
    }

    fn keeps_state(&self) -> bool {
        self.settings.keeps_state
    }

    fn width(&self) -> usize {
        self.settings.width
    }

    fn reserve(&mut self, room: Room) -> Result<(), FakeError> {
        self.room = Room {
            sequences: self.room.sequences.max(room.sequences),
            tokens: self.room.tokens.max(room.tokens),
            blocks: self.room.blocks.max(room.blocks),
            slots: self.room.slots.max(room.slots),
        };
        self.journal.lock().room = Some(self.room);
        Ok(())
    }

    fn copy_state(&mut self, from: u32, to: u32) -> Result<(), FakeError> {
        let number = {
            let mut entries = self.journal.lock();
            entries.copies.push((from, to));
            entries.copies.len()
        };
        if self.settings.fail_copies.contains(&number) {
            return Err(FakeError::ToldCopy(number));
        }
        let state = self.states.get(&from).cloned();
        match state.filter(|_| self.settings.keeps_state && to > 0) {
            Some(state) if to as usize <= self.room.slots => {
                self.states.insert(to, state);
                Ok(())
            }
            _ => Err(self.misuse(format!("slot {from} is copied to {to} in {:?}", self.room))),
        }
    }

    fn step(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, FakeError> {
        let rows = self.run(step)?;
        Ok(rows.iter().flat_map(|tokens| (self.logits)(tokens)).collect())
    }

    fn vectors(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, FakeError> {
        let rows = self.run(step)?;
        Ok(rows.iter().flat_map(|tokens| vector(tokens, self.settings.width)).collect())
    }
}
