//! Python's strings: what is white space, a line, a digit, and how letters change.

/// `str.isspace` of one character.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `str.splitlines(keepends)`.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|character| {
            matches!(
                character,
                '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                    ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
            )
        });
        let Some(end) = end else {
            lines.push(rest);
            break;
        };
        let (line, after) = rest.split_at(end);
        let mark = match after.starts_with("\r\n") {
            true => 2,
            false => after.chars().next().map_or(0, char::len_utf8),
        };
        let kept = if keep_ends { rest.get(..end + mark).unwrap_or(line) } else { line };
        lines.push(kept);
        rest = after.get(mark..).unwrap_or_default();
    }
    lines
}

/// `str.title`: every run of letters that have cases begins with a large one.
pub(super) fn title(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        let cased = character.is_uppercase() || character.is_lowercase() || is_title(character);
        if inside {
            result.extend(character.to_lowercase());
        } else {
            push_title(character, &mut result);
        }
        inside = cased;
    }
    result
}

/// Letters of two, of which the first is large.
fn is_title(character: char) -> bool {
    matches!(character, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ')
}

fn push_title(character: char, result: &mut String) {
    let title = match character {
        'Ǆ' | 'ǅ' | 'ǆ' => 'ǅ',
        'Ǉ' | 'ǈ' | 'ǉ' => 'ǈ',
        'Ǌ' | 'ǋ' | 'ǌ' => 'ǋ',
        'Ǳ' | 'ǲ' | 'ǳ' => 'ǲ',
        // Georgian letters have large forms for whole words alone.
        'ა'..='ჿ' => character,
        _ => {
            // What becomes several letters begins with a large one: ß, ﬁ.
            let mut upper = character.to_uppercase();
            result.extend(upper.next());
            result.extend(upper.flat_map(char::to_lowercase));
            return;
        }
    };
    result.push(title);
}

/// `str.swapcase`.
pub(super) fn swapped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_uppercase() {
            true => result.extend(character.to_lowercase()),
            false => result.extend(character.to_uppercase()),
        }
    }
    result
}

/// The zeros of Unicode's decimal digits; nine more digits follow each.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// `str.isdecimal` of one character.
pub(super) fn is_decimal(character: char) -> bool {
    let code = u32::from(character);
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_behave_as_in_python() {
        assert_eq!(title("they're BILL's x_y 3rd ǆß ﬁx"), "They'Re Bill'S X_Y 3Rd ǅß Fix");
        assert_eq!(lines("a\n\nb\r\nc\u{b}d\u{2028}", false), ["a", "", "b", "c", "d"]);
        assert_eq!(lines("a\r\nb", true), ["a\r\n", "b"]);
        assert_eq!(split("\u{1c}a\u{85}b ").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(swapped("aBß"), "AbSS");
        assert!(is_decimal('٣') && is_decimal('7') && !is_decimal('²') && !is_decimal('Ⅷ'));
    }
}
