//! Every fixture, token by token, against transformers' answers.

use crate::interpreter::Tensor;
use crate::session::{Session, Token};
use half::{bf16, f16};
use stablemate_fixtures::{Case, Dtype};
use stablemate_graph::ElementType;
use stablemate_models::{CacheElement, Output};
use std::sync::{Arc, Mutex};

/// Runs `check` on every case, on as many threads as there are processors. Those with packed weights
/// run through the product alone.
fn for_every_case(check: impl Fn(&Case) -> Result<(), String> + Sync) {
    let mut all = Case::all();
    all.retain(|case| {
        case.expected.tensors.iter().all(|tensor| tensor.dtype != Dtype::Uint8)
            && std::env::var("CASES").map_or(true, |part| case.name().contains(&part))
    });
    let (cases, failures) = (Mutex::new(all), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(case) = cases.lock().unwrap().pop() else { return };
            if let Err(message) = check(&case) {
                failures.lock().unwrap().push(format!("{}: {message}", case.name()));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The largest difference; infinite if there is something that is not a number.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, |a, b| if b.is_nan() { f64::INFINITY } else { a.max(b) })
}

fn require_near(what: &str, a: &[f32], b: &[f32], bound: f64) -> Result<(), String> {
    let distance = distance(a, b);
    if distance <= bound {
        return Ok(());
    }
    Err(format!("{what} are off by {distance:e}; {bound:e} is allowed"))
}

/// The first of the largest.
fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).reduce(|a, b| if logits[b] > logits[a] { b } else { a });
    best.unwrap() as u32
}

/// The logits after the last of `ids`, which follow the prompt. A sequence that outgrows its cache is
/// computed again.
fn next_logits(session: &mut Session, table: &[i32], prompt: &[u32], ids: &[u32]) -> Vec<f32> {
    let last = prompt.len() + ids.len() - 1;
    if session.decoder.recomputed_beyond == Some(last) {
        let all = Token::prompt(&[prompt, ids].concat(), 0);
        return session.logits(table, &all, last);
    }
    session.logits(table, &[Token::generated(ids[ids.len() - 1], last, 0)], 0)
}

#[test]
fn greedy_tokens_and_logits_are_those_of_the_reference() {
    for_every_case(|case| {
        let expected = &case.expected;
        let (prompt, count) = (&expected.prompt_ids, expected.token_ids.len());
        let mut session = Session::new(case);
        let table = session.sequence(prompt.len() + count);
        let mut logits = session.logits(&table, &Token::prompt(prompt, 0), prompt.len() - 1);
        require_near("logits", &logits, &expected.prompt_logits, expected.tolerance)?;
        let mut ids = vec![argmax(&logits)];
        while ids.len() < count {
            logits = next_logits(&mut session, &table, prompt, &ids);
            ids.push(argmax(&logits));
        }
        if ids != expected.token_ids {
            return Err(format!("{ids:?} instead of {:?}", expected.token_ids));
        }
        require_near("final logits", &logits, &expected.final_logits, expected.tolerance)
    });
}

#[test]
fn greedy_tokens_survive_a_cache_of_half_precision() {
    for_every_case(|case| {
        let (prompt, expected) = (&case.expected.prompt_ids, &case.expected.token_ids);
        let mut session = Session::with_cache(case, CacheElement::F16);
        let table = session.sequence(prompt.len() + expected.len());
        let logits = session.logits(&table, &Token::prompt(prompt, 0), prompt.len() - 1);
        let mut ids = vec![argmax(&logits)];
        while ids.len() < expected.len() {
            ids.push(argmax(&next_logits(&mut session, &table, prompt, &ids)));
        }
        if ids == *expected { Ok(()) } else { Err(format!("{ids:?} instead of {expected:?}")) }
    });
}

#[test]
fn chunks_and_padding_change_nothing() {
    for_every_case(|case| {
        let prompt = Token::prompt(&case.expected.prompt_ids, 0);
        let mut session = Session::new(case);
        let table = session.sequence(prompt.len() + 1);
        let whole = session.logits(&table, &prompt, prompt.len() - 1);
        let next = Token::generated(argmax(&whole), prompt.len(), 0);
        let whole_next = session.logits(&table, &[next], 0);

        let table = session.sequence(prompt.len() + 1);
        let mut logits = Vec::new();
        for chunk in prompt.chunks(5) {
            // Padding before, among and after the tokens, but for recurrent state: after them only.
            let mut tokens = vec![Token::PADDING; 8];
            let ordered = session.decoder.has_sequence_state();
            let places = if ordered { [0, 1, 2, 3, 4] } else { [1, 2, 4, 5, 6] };
            for (token, place) in chunk.iter().zip(places) {
                tokens[place] = *token;
            }
            logits = session.logits(&table, &tokens, places[chunk.len() - 1]);
            // A step of nothing but padding.
            let nothing = session.logits(&table, &[Token::PADDING; 3], 1);
            if !nothing.iter().all(|logit| logit.is_finite()) {
                return Err("padding has logits that are not finite".to_string());
            }
        }
        require_near("logits", &logits, &whole, 1e-5)?;
        let logits = session.logits(&table, &[next, Token::PADDING], 0);
        require_near("the next token's logits", &logits, &whole_next, 1e-5)
    });
}

#[test]
fn smaller_caches_stay_near() {
    // Of the largest logit.
    for (element, bound) in [(CacheElement::F16, 8e-3), (CacheElement::Q8, 12e-2)] {
        for_every_case(|case| {
            let expected = &case.expected;
            let prompt = Token::prompt(&expected.prompt_ids, 0);
            let mut session = Session::with_cache(case, element);
            let table = session.sequence(prompt.len() + 1);
            // In two steps, so that the second one reads what the first one wrote.
            let (first, second) = prompt.split_at(prompt.len() / 2);
            if !first.is_empty() {
                session.logits(&table, first, 0);
            }
            let logits = session.logits(&table, second, second.len() - 1);
            let largest = distance(&expected.prompt_logits, &vec![0.0; logits.len()]);

            require_near("logits", &logits, &expected.prompt_logits, bound * largest)
        });
    }
}

#[test]
fn rows_of_padding_change_nothing() {
    for_every_case(|case| {
        let prompt = Token::prompt(&case.expected.prompt_ids, 0);
        let mut session = Session::new(case);
        let table = session.sequence(prompt.len());
        let last = prompt.len() - 1;
        let alone = session.logits(&table, &prompt, last);
        let rows = [usize::MAX, last, usize::MAX];
        let padded = session.step(Output::Logits, &[&table], &prompt, &rows);
        let padded: Vec<&[f32]> = padded.floats().chunks(alone.len()).collect();
        require_near("logits", padded[1], &alone, 0.0)
    });
}

#[test]
fn sequences_of_one_step_do_not_see_each_other() {
    for_every_case(|case| {
        let first = Token::prompt(&case.expected.prompt_ids, 0);
        // Another prompt of another length; ids of no special token.
        let other: Vec<u32> = case.expected.token_ids.iter().copied().skip(3).take(18).collect();
        let second = Token::prompt(&other, 1);
        let mut session = Session::new(case);

        let alone = |session: &mut Session, prompt: &[Token]| -> Vec<Vec<f32>> {
            let prompt: Vec<Token> = prompt.iter().map(|t| Token { sequence: 0, ..*t }).collect();
            let table = session.sequence(prompt.len() + 2);
            let mut all = vec![session.logits(&table, &prompt, prompt.len() - 1)];
            for n in 0..2 {
                let token = Token::generated(argmax(&all[n]), prompt.len() + n, 0);
                all.push(session.logits(&table, &[token], 0));
            }
            all
        };
        let expected =
            [alone(&mut Session::new(case), &first), alone(&mut Session::new(case), &second)];

        let tables = [session.sequence(first.len() + 2), session.sequence(second.len() + 2)];
        let tables = [&tables[0][..], &tables[1][..]];
        let mut tokens: Vec<Token> = Vec::new();
        if session.decoder.has_sequence_state() {
            // The tokens of a sequence stand together: recurrent kernels rely on it.
            tokens.extend(second.iter().chain(&first));
        } else {
            for n in 0..first.len().max(second.len()) {
                tokens.extend(second.get(n));
                tokens.extend(first.get(n));
            }
        }
        let last = |sequence| tokens.iter().rposition(|t| t.sequence == sequence).unwrap();
        let rows = [last(0), last(1)];
        let mut logits = session.step(Output::Logits, &tables, &tokens, &rows);
        for n in 0..3 {
            let halves: Vec<&[f32]> = logits.floats().chunks(expected[0][0].len()).collect();
            require_near("the first's logits", halves[0], &expected[0][n], 1e-5)?;
            require_near("the second's logits", halves[1], &expected[1][n], 1e-5)?;
            let ids = [argmax(halves[0]), argmax(halves[1])];
            // In the other order than before: rows are found by number, not by place.
            let tokens = [
                Token::generated(ids[1], second.len() + n, 1),
                Token::generated(ids[0], first.len() + n, 0),
            ];
            if n < 2 {
                logits = session.step(Output::Logits, &tables, &tokens, &[1, 0]);
            }
        }
        Ok(())
    });
}

/// The number of the head's parameter.
fn head_of(session: &Session) -> usize {
    let params = &session.decoder.params;
    let name = &params.entry(session.decoder.head).name;
    params.entries().iter().position(|entry| entry.name == *name).unwrap()
}

#[test]
fn the_argmax_entry_point_returns_the_first_of_the_largest_logits() {
    for_every_case(|case| {
        let prompt = Token::prompt(&case.expected.prompt_ids, 0);
        let mut session = Session::new(case);
        let table = session.sequence(prompt.len());
        let rows: Vec<usize> = (0..prompt.len()).collect();
        let check = |session: &mut Session| -> Result<Vec<i32>, String> {
            let ids = session.step(Output::Argmax, &[&table], &prompt, &rows);
            let logits = session.step(Output::Logits, &[&table], &prompt, &rows);
            let lines = logits.floats().chunks(logits.sizes[1]);
            let expected: Vec<i32> = lines.map(|logits| argmax(logits) as i32).collect();
            if ids.integers() == expected {
                return Ok(expected);
            }
            Err(format!("{:?} instead of {expected:?}", ids.integers()))
        };
        let ids = check(&mut session)?;

        // The row of the last prompt token's winner, once more further down and further up.
        let (head, best) = (head_of(&session), ids[ids.len() - 1] as usize);
        let table = Tensor::clone(&session.parameters[head]);
        let unused = |id: usize| !case.expected.prompt_ids.contains(&(id as u32)) && id != best;
        let mut twins = (0..best).filter(|id| unused(*id)).take(1).collect::<Vec<_>>();
        twins.extend((best..table.sizes[0]).rfind(|id| unused(*id)));
        let mut rows = (0..table.sizes[0] as i32).collect::<Vec<_>>();
        twins.iter().for_each(|twin| rows[*twin] = best as i32);
        let width = table.sizes[1];
        let places: Vec<usize> = rows
            .iter()
            .flat_map(|row| *row as usize * width..(*row as usize + 1) * width)
            .collect();
        session.parameters[head] = Arc::new(table.pick(&table.sizes, &places));
        let ids = check(&mut session)?;
        let first = twins.iter().copied().chain([best]).min().unwrap();
        if ids[ids.len() - 1] != first as i32 {
            return Err(format!("{} instead of {first}, the first of equals", ids[ids.len() - 1]));
        }
        Ok(())
    });
}

#[test]
fn vectors_times_the_head_are_the_logits() {
    for_every_case(|case| {
        let prompt = Token::prompt(&case.expected.prompt_ids, 0);
        let mut session = Session::new(case);
        let table = session.sequence(prompt.len());
        let rows: Vec<usize> = (0..prompt.len()).rev().collect();
        let vectors = session.step(Output::Vectors, &[&table], &prompt, &rows);
        let logits = session.step(Output::Logits, &[&table], &prompt, &rows);
        let head = head_of(&session);
        let head = &session.parameters[head];
        let weights: Vec<f32> = match head.element {
            ElementType::F32 => head.floats().to_vec(),
            ElementType::F16 => {
                head.integers().iter().map(|x| f16::from_bits(*x as u16).to_f32()).collect()
            }
            _ => head.integers().iter().map(|x| bf16::from_bits(*x as u16).to_f32()).collect(),
        };
        let (width, vocabulary) = (vectors.sizes[1], logits.sizes[1]);
        for (row, vector) in vectors.floats().chunks(width).enumerate() {
            for (id, weights) in weights.chunks(width).enumerate() {
                let product: f32 = vector.iter().zip(weights).map(|(a, b)| a * b).sum();
                let scaled = product * session.decoder.logit_scale.unwrap_or(1.0);
                let capped = match session.decoder.logit_softcap {
                    Some(cap) => (scaled / cap).tanh() * cap,
                    None => scaled,
                };
                let logit = logits.floats()[row * vocabulary + id];
                if (capped - logit).abs() > 1e-4 * (1.0 + logit.abs()) {
                    return Err(format!("row {row}, token {id}: {capped} instead of {logit}"));
                }
            }
        }
        Ok(())
    });
}
