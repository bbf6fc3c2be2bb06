//! How models write calls.

/// The way a model writes calls, as far as it is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`: Hermes, Qwen 2.5, Qwen 3, SmolLM 3.
    Hermes,
    /// `{"name": …, "parameters": …}` alone, perhaps after `<|python_tag|>`: Llama 3.1 to 3.3. One call at a time.
    Llama,
    /// `[TOOL_CALLS][{"name": …, "arguments": …}, …]`: Mistral's tokenizers up to version 7.
    MistralList,
    /// `[TOOL_CALLS]name[ARGS]{…}`, repeated: Mistral's tokenizers from version 11.
    MistralNamed,
    /// For templates that do not show tools, or show them in a way that is not known here: the tools are described in
    /// the system message, and calls are written as in [`ToolFormat::Hermes`].
    Described,
}

/// The marks around calls, where a format has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    /// Begins a call.
    pub(crate) opener: &'static str,
    /// Whether a `{` at the beginning of the text begins a call as well.
    pub(crate) bare: bool,
    /// Whether several calls stand in one list.
    pub(crate) list: bool,
    /// The key of the arguments; without one, the name stands before [`ARGUMENTS`].
    pub(crate) key: Option<&'static str>,
    /// Ends a call.
    pub(crate) closer: &'static str,
}

/// Stands between the name and the arguments of [`ToolFormat::MistralNamed`].
pub(crate) const ARGUMENTS: &str = "[ARGS]";

/// Stands between the name and an id that some models add.
pub(crate) const CALL_ID: &str = "[CALL_ID]";

/// Around a model's reasoning.
pub(crate) const THINK: (&str, &str) = ("<think>", "</think>");

impl ToolFormat {
    /// The format that a template's source speaks of.
    pub(crate) fn detect(source: &str) -> ToolFormat {
        let source = source.replace("\\\"", "\"");
        let has = |text: &str| source.contains(text);
        if has("[TOOL_CALLS]") {
            return if has(ARGUMENTS) { ToolFormat::MistralNamed } else { ToolFormat::MistralList };
        }
        // Qwen3-Coder writes <function=name> inside of the same tag.
        if has("<tool_call>") && !has("<function=") {
            return ToolFormat::Hermes;
        }
        let llama = has("<|python_tag|>") || has("<|start_header_id|>");
        if llama && has("\"parameters\"") {
            return ToolFormat::Llama;
        }
        ToolFormat::Described
    }

    pub(crate) fn marks(self) -> Marks {
        let plain =
            Marks { opener: "", bare: false, list: false, key: Some("arguments"), closer: "" };
        match self {
            ToolFormat::Hermes | ToolFormat::Described => {
                Marks { opener: "<tool_call>", closer: "</tool_call>", ..plain }
            }
            ToolFormat::Llama => {
                Marks { opener: "<|python_tag|>", bare: true, key: Some("parameters"), ..plain }
            }
            ToolFormat::MistralList => Marks { opener: "[TOOL_CALLS]", list: true, ..plain },
            ToolFormat::MistralNamed => Marks { opener: "[TOOL_CALLS]", key: None, ..plain },
        }
    }

    /// Whether the format has a way to write several calls.
    pub fn parallel(self) -> bool {
        self != ToolFormat::Llama
    }
}

#[cfg(test)]
mod tests {
    use super::ToolFormat;

    #[test]
    fn formats_are_known_by_their_marks() {
        let cases = [
            ("say <tool_call>{}</tool_call>", ToolFormat::Hermes),
            ("<tool_call><function=f>", ToolFormat::Described),
            ("<|start_header_id|> {\\\"parameters\\\": 1}", ToolFormat::Llama),
            ("<|start_header_id|> {\"parameters\": 1}", ToolFormat::Llama),
            ("[TOOL_CALLS] [{", ToolFormat::MistralList),
            ("[TOOL_CALLS]f[ARGS]{", ToolFormat::MistralNamed),
            ("<|im_start|>", ToolFormat::Described),
        ];
        for (source, format) in cases {
            assert_eq!(ToolFormat::detect(source), format, "{source}");
        }
    }
}
