//! Keeps system messages from changing with every request, so that the prefix of their prompt is found in the cache.

use crate::wire::Reading;

/// Lines of headers that agents write before their instructions, and that count requests or hash what they say.
const CHANGING: [&str; 2] = ["x-anthropic-billing-header:", "x-anthropic-request-header:"];

/// The parts of a system message without what is known to change with every request. A model is told nothing by it.
pub(super) fn stable(parts: Vec<String>, reading: &Reading) -> Vec<String> {
    let mut kept = Vec::with_capacity(parts.len());
    for part in parts {
        let changing = |line: &&str| {
            CHANGING.iter().any(|header| {
                line.get(..header.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(header))
            })
        };
        let headers = part.lines().take_while(changing).count();
        if headers == 0 {
            kept.push(part);
            continue;
        }
        let reason = "headers of agents that change with every request are left out of the prompt, whose \
                      prefix they would spoil";
        reading.ignore("system", "billing header", reason);
        let rest: Vec<&str> = part.lines().skip(headers).collect();
        let rest = rest.join("\n");
        if !rest.trim().is_empty() {
            kept.push(rest);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_agents_go() {
        let parts = [
            "x-anthropic-billing-header: cc_version=2.1; cch=1f;",
            "You are an agent.",
            "X-Anthropic-Billing-Header: a\nBe brief.\nx-anthropic-billing-header: quoted",
        ];
        let kept = stable(parts.map(str::to_owned).to_vec(), &Reading::default());
        assert_eq!(kept, ["You are an agent.", "Be brief.\nx-anthropic-billing-header: quoted"]);
    }
}
