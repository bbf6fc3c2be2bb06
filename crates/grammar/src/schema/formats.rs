//! `format` of strings: as regular expressions no looser than the format itself.

/// What a format is in llguidance's terms.
pub(super) enum Format {
    /// llguidance has an exact expression of its own.
    BuiltIn,
    /// All of these expressions match.
    Patterns(Vec<String>),
}

/// llguidance's own expressions that never match what the format forbids.
const BUILT_IN: [&str; 4] = ["duration", "ipv4", "ipv6", "uuid"];

// The others have an expression here: llguidance's would allow 29 February in every year, a leap second at any time,
// and names longer than DNS and SMTP have them.

/// Days of the months, with 29 February in leap years alone (RFC 3339, appendix C).
const DATE: &str = "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])\
     |(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))\
     |(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
/// Without leap seconds.
const TIME: &str = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
const LABEL: &str = "[a-zA-Z0-9](?:[a-zA-Z0-9]|-[a-zA-Z0-9]){0,31}";
/// Letters of the part before `@`, unquoted (RFC 5322).
const ATOM: &str = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";
/// `unreserved`, `sub-delims` and escapes of RFC 3986.
const URI_LETTER: &str = r"(?:[a-zA-Z0-9._~!$&'()*+,;=-]|%[0-9a-fA-F]{2})";

/// A format by name; none if it is not known, or says nothing that could be kept to, and so is an annotation.
pub(super) fn format(name: &str) -> Option<Format> {
    let (label, part) = (LABEL, URI_LETTER);
    let path = format!("(?:{part}|[:@])");
    let uri = format!(
        "[a-zA-Z][a-zA-Z0-9+.-]*:(?://{label}(?:\\.{label})*(?::[0-9]{{1,4}})?(?:/{path}*)*\
         |{path}+(?:/{path}*)*)(?:\\?(?:{path}|[/?])*)?(?:#(?:{path}|[/?])*)?"
    );
    let whole = |pattern: &str| format!("^(?:{pattern})$");
    let patterns = match name {
        name if BUILT_IN.contains(&name) => return Some(Format::BuiltIn),
        "date" => vec![whole(DATE)],
        "time" => vec![whole(TIME)],
        "date-time" => vec![whole(&format!("{DATE}T{TIME}"))],
        "hostname" | "idn-hostname" => vec![whole(&format!(r"{label}(?:\.{label}){{0,6}}"))],
        "email" | "idn-email" => vec![
            whole(&format!(r"{ATOM}(?:\.{ATOM})*@{label}(?:\.{label}){{0,5}}")),
            "^[^@]{1,64}@".to_owned(),
        ],
        "uri" | "iri" => vec![whole(&uri)],
        // Of references, those with a scheme and paths.
        "uri-reference" | "iri-reference" | "uri-template" => {
            vec![whole(&format!("{uri}|/?{part}+(?:/{path}*)*(?:#(?:{path}|[/?])*)?"))]
        }
        "json-pointer" => vec![whole("(?:/(?:[^~/]|~[01])*)*")],
        "relative-json-pointer" => vec![whole("(?:0|[1-9][0-9]{0,8})(?:#|(?:/(?:[^~/]|~[01])*)*)")],
        _ => return None,
    };
    Some(Format::Patterns(patterns))
}
