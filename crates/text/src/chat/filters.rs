//! Filters and tests where Jinja2 accepts or returns what the engine's own do not.

use super::{code, percent, python, refusal, words};
use minijinja::value::{FunctionArgs, FunctionResult, Kwargs, Rest, StringInput, ValueKind};
use minijinja::{Environment, Error, State, Value};

/// Replaces the engine's filters and tests by those of Jinja2.
pub(super) fn add(environment: &mut Environment<'static>) {
    for name in ["default", "d"] {
        add_filter(environment, name, default);
    }
    for name in ["length", "count"] {
        add_filter(environment, name, length);
    }
    for name in ["escape", "e"] {
        add_filter(environment, name, escape);
    }
    environment.add_filter("first", first);
    environment.add_filter("indent", indent);
    environment.add_filter("join", join);
    environment.add_filter("list", list);
    environment.add_filter("trim", trim);
    environment.add_filter(code::ADD, sum);
    environment.add_filter(code::ITERABLE, iterable);
    environment
        .add_filter(code::PERCENT, |format: &str, value: &Value| percent::format(format, value));
    // They give what Jinja2's do not.
    for name in ["pprint", "lines", "chain", "zip", "bool"] {
        environment.remove_filter(name);
    }
    environment.add_filter("float", float);
    environment.add_filter("int", int);
    environment.add_filter("replace", replace);
    environment.add_filter("string", |value: &Value| python::text(value));
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |text: &str| words::split(text).count());
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    // Python's strings and dictionaries have a length and subscripts, too.
    environment.add_test("sequence", |value: &Value| {
        let kinds = [ValueKind::Seq, ValueKind::String, ValueKind::Map, ValueKind::Undefined];
        kinds.contains(&value.kind())
    });
    environment.add_test("iterable", |value: &Value| {
        let kinds = [
            ValueKind::Seq,
            ValueKind::String,
            ValueKind::Map,
            ValueKind::Iterable,
            ValueKind::Undefined,
        ];
        kinds.contains(&value.kind())
    });
}

fn add_filter<F, Rv, Args>(environment: &mut Environment<'static>, name: &'static str, filter: F)
where
    F: minijinja::functions::Function<Rv, Args>,
    Rv: FunctionResult,
    Args: for<'a> FunctionArgs<'a>,
{
    environment.add_filter(name, filter);
}

/// The arguments of a filter, in the order of `names`, however they were given.
pub(super) fn arguments<const N: usize>(
    names: [&str; N],
    positional: &Rest<Value>,
    named: &Kwargs,
) -> Result<[Option<Value>; N], Error> {
    if positional.len() > N {
        return Err(refusal(format!("too many arguments; there are {}", names.join(", "))));
    }
    let mut arguments = [const { None }; N];
    for ((index, name), argument) in names.into_iter().enumerate().zip(&mut arguments) {
        let by_name: Option<Value> = if named.has(name) { Some(named.get(name)?) } else { None };
        *argument = by_name.or_else(|| positional.get(index).cloned());
    }
    named.assert_all_used()?;
    Ok(arguments)
}

/// `default(default_value='', boolean=false)`.
fn default(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default, boolean] = arguments(["default_value", "boolean"], &positional, &named)?;
    let unless_true = boolean.is_some_and(|boolean| boolean.is_true());
    let replaced = value.is_undefined() || (unless_true && !value.is_true());
    Ok(if replaced { default.unwrap_or_else(|| Value::from("")) } else { value.clone() })
}

fn length(value: &Value) -> Result<usize, Error> {
    match value.len() {
        Some(length) => Ok(length),
        None if value.is_undefined() => Ok(0),
        None => Err(refusal(format!("a value of type {} has no length", value.kind()))),
    }
}

fn escape(value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let mut escaped = String::new();
    for character in python::text(value)?.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            _ => escaped.push(character),
        }
    }
    Ok(Value::from_safe_string(escaped))
}

fn first(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Ok(Value::UNDEFINED);
    }
    Ok(value.try_iter()?.next().unwrap_or_default())
}

/// `indent(width=4, first=false, blank=false)`.
fn indent(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [width, first, blank] = arguments(["width", "first", "blank"], &positional, &named)?;
    let indention = match &width {
        None => " ".repeat(4),
        Some(width) if width.as_str().is_some() => python::text(width)?,
        Some(width) => match usize::try_from(width.clone()) {
            Ok(width) if width <= 1 << 16 => " ".repeat(width),
            _ => return Err(refusal(format!("indent: {width} is not a width"))),
        },
    };
    let set = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let (first, blank) = (set(first), set(blank));
    // As in Jinja2: a last line end stays.
    let text = python::text(value)? + "\n";
    let mut result = String::new();
    for (index, line) in words::lines(&text, false).into_iter().enumerate() {
        if index > 0 {
            result.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            result.push_str(&indention);
        }
        result.push_str(line);
    }
    Ok(if value.is_safe() { Value::from_safe_string(result) } else { Value::from(result) })
}

/// `left + right`, where text may be marked as safe: what is added to such text is escaped.
fn sum(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some((left_text, right_text)) = left.as_str().zip(right.as_str()) {
        if !left.is_safe() && !right.is_safe() {
            return Ok(Value::from([left_text, right_text].concat()));
        }
        let (left, right) = (escape(left)?, escape(right)?);
        return Ok(Value::from_safe_string(python::text(&left)? + &python::text(&right)?));
    }
    match (left.kind(), right.kind()) {
        (ValueKind::Number, ValueKind::Number) if left.is_integer() && right.is_integer() => {
            let sum = i128::try_from(left.clone())?.checked_add(i128::try_from(right.clone())?);
            sum.map(Value::from).ok_or_else(|| refusal("the sum is too large"))
        }
        (ValueKind::Number, ValueKind::Number) => {
            Ok(Value::from(f64::try_from(left.clone())? + f64::try_from(right.clone())?))
        }
        (ValueKind::Seq, ValueKind::Seq) => {
            Ok(Value::from(left.try_iter()?.chain(right.try_iter()?).collect::<Vec<Value>>()))
        }
        (left, right) => Err(refusal(format!("{left} and {right} cannot be added"))),
    }
}

/// What Python can go through: not none, and of text its characters.
fn iterable(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::None => Err(refusal("none cannot be gone through")),
        ValueKind::Bool | ValueKind::Number => {
            Err(refusal(format!("a value of type {} cannot be gone through", value.kind())))
        }
        ValueKind::String => {
            let characters = value.as_str().unwrap_or_default().chars();
            Ok(characters.map(|character| Value::from(character.to_string())).collect())
        }
        _ => Ok(value.clone()),
    }
}

fn join(
    state: &mut State<'_, '_>,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    named: Kwargs,
) -> Result<Value, Error> {
    minijinja::filters::join(state, &iterable(value)?, joiner, attribute, named)
}

fn list(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Ok(Value::from(Vec::<Value>::new()));
    }
    Ok(Value::from(iterable(value)?.try_iter()?.collect::<Vec<Value>>()))
}

/// `trim(chars=none)`.
fn trim(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [characters] = arguments(["chars"], &positional, &named)?;
    let text = python::text(value)?;
    let trimmed = match characters.filter(|characters| !characters.is_none()) {
        None => text.trim_matches(words::is_space).to_owned(),
        Some(characters) => {
            let characters: Vec<char> = python::text(&characters)?.chars().collect();
            text.trim_matches(&characters[..]).to_owned()
        }
    };
    Ok(if value.is_safe() { Value::from_safe_string(trimmed) } else { Value::from(trimmed) })
}

/// `int(default=0, base=10)`; other bases are for text.
fn int(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default, base] = arguments(["default", "base"], &positional, &named)?;
    let base = base.map_or(Ok(10), u32::try_from).unwrap_or_default();
    if base != 10
        && let Some(text) = value.as_str()
    {
        if !matches!(base, 2 | 8 | 16) {
            return Err(refusal("int: a base of 2, 8, 10 or 16 is needed"));
        }
        let prefix = match base {
            2 => ["0b", "0B"],
            8 => ["0o", "0O"],
            _ => ["0x", "0X"],
        };
        let text = text.trim_matches(words::is_space);
        let digits = prefix.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let number = i128::from_str_radix(digits, base).ok().map(Value::from);
        return Ok(number.or(default).unwrap_or_else(|| Value::from(0)));
    }
    let number = match value.as_str() {
        _ if value.is_undefined() => return Err(refusal("int: the value is undefined")),
        _ if value.is_integer() => return Ok(value.clone()),
        Some(text) => match text.trim().parse::<i128>() {
            Ok(number) => return Ok(Value::from(number)),
            Err(_) => text.trim().parse().ok(),
        },
        None => real(value),
    };
    // Beyond these, a float is no longer an integer that the engine could hold.
    let number = number
        .filter(|number: &f64| number.abs() < 1e30)
        .map(|number| Value::from(number.trunc() as i128));
    Ok(number.or(default).unwrap_or_else(|| Value::from(0)))
}

/// `float(default=0.0)`.
fn float(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default] = arguments(["default"], &positional, &named)?;
    let number = match value.as_str() {
        _ if value.is_undefined() => return Err(refusal("float: the value is undefined")),
        Some(text) => text.trim().parse().ok(),
        None => real(value),
    };
    Ok(number.map(Value::from).or(default).unwrap_or_else(|| Value::from(0.0)))
}

fn real(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// `replace(old, new, count=none)`.
fn replace(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [old, new, count] = arguments(["old", "new", "count"], &positional, &named)?;
    let (Some(old), Some(new)) = (old, new) else {
        return Err(refusal("replace needs what to replace, and by what"));
    };
    let (text, old, new) = (python::text(value)?, python::text(&old)?, python::text(&new)?);
    match count.filter(|count| !count.is_none()) {
        None => Ok(text.replace(&old, &new)),
        Some(count) => match i64::try_from(count) {
            // As in Python, a negative number is no limit.
            Ok(count) => {
                Ok(text.replacen(&old, &new, usize::try_from(count).unwrap_or(usize::MAX)))
            }
            Err(_) => Err(refusal("replace: count must be an integer")),
        },
    }
}

/// `truncate(length=255, killwords=false, end='...', leeway=5)`.
fn truncate(text: &str, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let names = ["length", "killwords", "end", "leeway"];
    let [length, killwords, end, leeway] = arguments(names, &positional, &named)?;
    let number = |value: Option<Value>, default: usize| match value {
        None => Ok(default),
        Some(value) => usize::try_from(value).map_err(|_| refusal("truncate: not a length")),
    };
    let (length, leeway) = (number(length, 255)?, number(leeway, 5)?);
    let end = end.map_or_else(|| Ok("...".to_owned()), |end| python::text(&end))?;
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        return Err(refusal(format!("truncate: length {length} is less than that of {end:?}")));
    };
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let kept: String = text.chars().take(kept).collect();
    let whole_words = match kept.rsplit_once(' ') {
        Some((words, _)) if !killwords.is_some_and(|killwords| killwords.is_true()) => words,
        _ => &kept,
    };
    Ok([whole_words, &end].concat())
}
