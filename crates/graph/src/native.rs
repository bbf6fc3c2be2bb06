//! The native text: a module whose kernels are calls of functions linked into the program that runs it.
//!
//! The public functions are those of the portable text, letter by letter. The body of a swapped
//! decomposition is one `flow.dispatch` (IREE's own dialect) of an executable appended to the module,
//! whose code hands its bindings to an imported function as bare pointers.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write};
use std::str::FromStr;

use crate::ir::{Function, Module, Op, Operation, ValueId};
use crate::print::{self, names, print_function, print_head};
use crate::{ElementType, Kernel, TensorType};

/// The most bindings of one dispatch that IREE runs.
const MAXIMUM_BINDINGS: usize = 32;

/// A kernel together with the types of one of its uses: what a native function can be chosen by.
#[derive(Clone, Debug)]
pub struct NativeSite<'m> {
    /// The kernel's name and attributes.
    pub kernel: &'m Kernel,
    /// The operands' types.
    pub operands: Vec<&'m TensorType>,
    /// The results' types.
    pub results: Vec<&'m TensorType>,
}

/// The native function that takes the place of a decomposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeCall {
    /// What the function is asked for by: letters, digits and `_`, not beginning with a digit.
    /// Everything static (sizes, attributes) is said by it, so that equal symbols mean the same function.
    pub symbol: String,
    /// `(result, operand)`: results that overwrite an operand of their type where it lies, without a
    /// copy. The function gets one binding for both.
    pub tied: Vec<(usize, usize)>,
}

/// Why a native call does not fit the kernel that it was chosen for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kernel} cannot be a call of the native function {symbol:?}: {reason}")]
pub struct NativeError {
    /// The symbol of the decomposition.
    pub kernel: String,
    /// The symbol of the native function.
    pub symbol: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// The name under which a text imports a native function: its symbol, and the bytes of each binding after
/// `r` (read) or `w` (written), such as `scale_4.r16.w16`. Operands come first, in order, then the
/// results that are not tied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NativeImport {
    /// The symbol that the function was chosen by.
    pub symbol: String,
    /// What it is called with.
    pub bindings: Vec<NativeBinding>,
}

/// The memory of one operand or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NativeBinding {
    /// Its size.
    pub bytes: usize,
    /// Whether the function writes it: a result, or an operand that a result is tied to.
    pub written: bool,
}

impl fmt::Display for NativeImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.symbol)?;
        for NativeBinding { bytes, written } in &self.bindings {
            write!(f, ".{}{bytes}", if *written { 'w' } else { 'r' })?;
        }
        Ok(())
    }
}

/// A name that is no [`NativeImport`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a symbol followed by the bytes of each binding, such as scale_4.r16.w16")]
pub struct ImportName(pub String);

impl FromStr for NativeImport {
    type Err = ImportName;

    fn from_str(text: &str) -> Result<Self, ImportName> {
        let binding = |part: &str| {
            let written = part.starts_with('w');
            let bytes = part.strip_prefix(if written { 'w' } else { 'r' })?;
            let digits = !bytes.is_empty() && bytes.bytes().all(|byte| byte.is_ascii_digit());
            let bytes = bytes.parse().ok().filter(|_| digits)?;
            Some(NativeBinding { bytes, written })
        };
        let mut parts = text.split('.');
        let symbol = parts.next().filter(|symbol| is_symbol(symbol));
        let bindings = parts.map(binding).collect::<Option<Vec<_>>>();
        match (symbol, bindings) {
            (Some(symbol), Some(bindings)) => Ok(Self { symbol: symbol.to_owned(), bindings }),
            _ => Err(ImportName(text.to_owned())),
        }
    }
}

fn is_symbol(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Module {
    /// The native text: each kernel for which `choose` names a native function calls it; the others
    /// keep their decompositions.
    ///
    /// # Errors
    /// [`NativeError`] when a chosen function cannot be called so: a symbol of other characters, or of two
    /// signatures; a tied pair that is not there or of two types; more than 32 bindings; elements that
    /// have no bytes of their own (`i1`), and tensors without elements.
    pub fn native(
        &self,
        choose: &dyn Fn(&NativeSite<'_>) -> Option<NativeCall>,
    ) -> Result<String, NativeError> {
        let mut executables = BTreeMap::new();
        let mut text = format!("module @{} {{\n", self.name);
        for function in &self.functions {
            let call = self.kernel(function).and_then(|kernel| {
                let site = site(function, kernel);
                let call = choose(&site)?;
                Some((site, call))
            });
            let printed = match call {
                None => print_function(&mut text, function),
                Some((site, call)) => {
                    let executable = Executable::new(&site, &call).map_err(|reason| {
                        let kernel = function.name.clone();
                        NativeError { kernel, symbol: call.symbol.clone(), reason }
                    })?;
                    let name = self.executable_name(&call.symbol);
                    let printed = print_dispatch(&mut text, function, &call, &name);
                    let twin = executables.insert(name, executable.clone());
                    if let Some(twin) = twin.filter(|twin| *twin != executable) {
                        return Err(NativeError {
                            kernel: function.name.clone(),
                            reason: format!("it is also {}", twin.import),
                            symbol: call.symbol,
                        });
                    }
                    printed
                }
            };
            printed.map_err(|_| NativeError {
                kernel: function.name.clone(),
                symbol: String::new(),
                reason: "it has an operation that cannot be printed".to_owned(),
            })?;
        }
        for (name, executable) in &executables {
            text += &executable.text(name);
        }
        text += "}\n";
        Ok(text)
    }

    /// For each argument of the public function `entry`, whether the native text hands it to native functions
    /// as it is, and to nothing else: whether code of the compiler's never reads it. Empty when there is no such
    /// function.
    pub fn native_arguments(
        &self,
        entry: &str,
        choose: &dyn Fn(&NativeSite<'_>) -> Option<NativeCall>,
    ) -> Vec<bool> {
        let Some(entry) = self.entry(entry) else { return Vec::new() };
        let chosen: HashSet<&str> = self
            .functions
            .iter()
            .filter(|f| self.kernel(f).is_some_and(|k| choose(&site(f, k)).is_some()))
            .map(|function| function.name.as_str())
            .collect();
        let native = |operation: &Operation| match &operation.op {
            Op::Composite { decomposition, .. } => chosen.contains(decomposition.as_str()),
            _ => false,
        };
        let operations = entry.all_operations();
        let regions = operations.iter().flat_map(|operation| operation.regions());
        let elsewhere: HashSet<ValueId> = operations
            .iter()
            .filter(|operation| !native(operation))
            .flat_map(|operation| operation.operands.iter().copied())
            .chain(regions.flat_map(|region| region.results.iter().copied()))
            .chain(entry.results.iter().map(|(_, id)| *id))
            .collect();
        entry.arguments.iter().map(|argument| !elsewhere.contains(&argument.value)).collect()
    }

    /// The kernel whose decomposition `function` is.
    fn kernel(&self, function: &Function) -> Option<&Kernel> {
        let mut operations = self.functions.iter().flat_map(Function::all_operations);
        operations.find_map(|operation| match &operation.op {
            Op::Composite { kernel, decomposition } if *decomposition == function.name => {
                Some(kernel)
            }
            _ => None,
        })
    }

    /// A symbol for the executable that no function of the module has.
    fn executable_name(&self, symbol: &str) -> String {
        let mut name = format!("native_{symbol}");
        while self.functions.iter().any(|function| function.name == name) {
            name.insert(0, '_');
        }
        name
    }
}

fn site<'m>(function: &'m Function, kernel: &'m Kernel) -> NativeSite<'m> {
    NativeSite {
        kernel,
        operands: function.arguments.iter().map(|a| print::ty(function, a.value)).collect(),
        results: function.results.iter().map(|(_, id)| print::ty(function, *id)).collect(),
    }
}

/// The decomposition as a dispatch of the executable `name`.
fn print_dispatch(
    out: &mut impl Write,
    function: &Function,
    call: &NativeCall,
    name: &str,
) -> fmt::Result {
    print_head(out, function)?;
    let arguments: Vec<_> = function.arguments.iter().map(|argument| argument.value).collect();
    let types: Vec<String> = arguments.iter().map(|id| print::ty(function, *id).text()).collect();
    let mut results = Vec::new();
    for (number, (_, id)) in function.results.iter().enumerate() {
        let tied = call.tied.iter().find(|(result, _)| *result == number);
        results.push(match tied.and_then(|(_, operand)| arguments.get(*operand)) {
            Some(operand) => names(function, &[*operand]),
            None => print::ty(function, *id).text(),
        });
    }
    let results = results.join(", ");
    // The results' own names may be those of operands, which a decomposition can return.
    let numbers = 0..function.results.len();
    let values: Vec<String> = numbers.map(|number| format!("%native#{number}")).collect();
    let ids: Vec<_> = function.results.iter().map(|(_, id)| *id).collect();
    let result_types: Vec<String> = ids.iter().map(|id| print::ty(function, *id).text()).collect();
    writeln!(
        out,
        "    %native:{} = flow.dispatch @{name}::@{name}({}) : ({}) -> ({results})
    return {} : {}
  }}",
        ids.len(),
        names(function, &arguments),
        types.join(", "),
        values.join(", "),
        result_types.join(", "),
    )
}

/// The code around an imported function.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Executable {
    import: NativeImport,
    /// The bindings' types.
    memory: Vec<String>,
}

impl Executable {
    fn new(site: &NativeSite<'_>, call: &NativeCall) -> Result<Self, String> {
        if !is_symbol(&call.symbol) {
            return Err("a symbol is letters, digits and _, not beginning with a digit".to_owned());
        }
        for (number, (result, operand)) in call.tied.iter().enumerate() {
            let types = (site.results.get(*result), site.operands.get(*operand));
            let (Some(written), Some(overwritten)) = types else {
                return Err(format!("there is no result {result} or no operand {operand} to tie"));
            };
            if written.text() != overwritten.text() {
                return Err(format!(
                    "result {result} ({written}) cannot overwrite operand {operand} ({overwritten})"
                ));
            }
            let others = call.tied.get(..number).unwrap_or_default();
            if others.iter().any(|(r, o)| r == result || o == operand) {
                return Err(format!("result {result} or operand {operand} is tied twice"));
            }
        }
        if site.results.is_empty() {
            return Err("it has no results".to_owned());
        }
        let tied_operand = |number| call.tied.iter().any(|(_, operand)| *operand == number);
        let tied_result = |number| call.tied.iter().any(|(result, _)| *result == number);
        let operands = site.operands.iter().enumerate().map(|(n, ty)| (*ty, tied_operand(n)));
        let results = site.results.iter().enumerate().filter(|(n, _)| !tied_result(*n));
        let bound: Vec<_> = operands.chain(results.map(|(_, ty)| (*ty, true))).collect();
        if bound.len() > MAXIMUM_BINDINGS {
            let count = bound.len();
            return Err(format!("it has {count} bindings, and {MAXIMUM_BINDINGS} are possible"));
        }
        let mut executable = Self {
            import: NativeImport { symbol: call.symbol.clone(), bindings: Vec::new() },
            memory: Vec::new(),
        };
        for (ty, written) in bound {
            let bytes = ty.elements().and_then(|count| count.checked_mul(ty.element.bytes()));
            let bytes = bytes.filter(|bytes| *bytes > 0 && ty.element != ElementType::I1);
            let Some(bytes) = bytes else {
                return Err(format!("a tensor {ty} has no memory to hand over"));
            };
            executable.import.bindings.push(NativeBinding { bytes, written });
            executable.memory.push(ty.text().replacen("tensor", "memref", 1));
        }
        Ok(executable)
    }

    fn text(&self, name: &str) -> String {
        let Self { import, memory } = self;
        let numbers = 0..memory.len();
        let list = |item: &dyn Fn(usize) -> String| {
            numbers.clone().map(item).collect::<Vec<_>>().join(", ")
        };
        let bindings = list(&|n| format!("%binding{n}: !stream.binding"));
        let arguments = list(&|n| format!("%memory{n}"));
        let types = memory.join(", ");
        let subspans: String = memory
            .iter()
            .enumerate()
            .map(|(n, ty)| {
                format!(
                    "        %memory{n} = stream.binding.subspan %binding{n}[%zero] : !stream.binding -> {ty}\n"
                )
            })
            .collect();
        // One workgroup: the functions have threads of their own.
        format!(
            "  stream.executable private @{name} {{
    stream.executable.export public @{name} workgroups() -> (index, index, index) {{
      %one = arith.constant 1 : index
      stream.return %one, %one, %one : index, index, index
    }}
    builtin.module {{
      func.func private @{import}({types}) attributes {{llvm.bareptr = true}}
      func.func @{name}({bindings}) {{
        %zero = arith.constant 0 : index
{subspans}        func.call @{import}({arguments}) : ({types}) -> ()
        return
      }}
    }}
  }}
"
        )
    }
}
