//! Construction of modules and functions.

mod repeat;

use crate::ir::{Argument, Function, Literal, Module, Op, Operation, ValueId, ValueInfo};
use crate::symbols::{decomposition_name, symbol};
use crate::{ElementType, GraphError, Inferred, Kernel, TensorType, Value, Violation, infer};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::Location;

/// Collects functions. Decompositions of kernels are shared between functions.
pub struct ModuleBuilder {
    name: String,
    state: RefCell<ModuleState>,
}

#[derive(Default)]
struct ModuleState {
    public: Vec<Function>,
    private: Vec<Function>,
    /// Kernel and operand types → symbol and result types.
    decompositions: HashMap<String, (String, Vec<TensorType>)>,
    error: Option<GraphError>,
}

impl ModuleBuilder {
    /// An empty module called `name`.
    pub fn new(name: &str) -> Self {
        Self { name: symbol(name), state: RefCell::default() }
    }

    /// Begins a public function.
    pub fn function(&self, name: &str) -> Builder<'_> {
        Builder::new(self, symbol(name), true)
    }

    /// The module, unless a function's construction failed.
    ///
    /// # Errors
    /// The first mistake made in any function; two functions of one name.
    #[track_caller]
    pub fn finish(self) -> Result<Module, GraphError> {
        let state = self.state.into_inner();
        if let Some(error) = state.error {
            return Err(error);
        }
        let functions: Vec<Function> = state.public.into_iter().chain(state.private).collect();
        let mut names = HashSet::new();
        if let Some(twin) = functions.iter().find(|f| !names.insert(&f.name)) {
            return Err(GraphError {
                operation: "function",
                place: format!("{}: ", twin.name),
                message: "another function has this name (symbols)".to_string(),
                operands: String::new(),
                location: Location::caller(),
            });
        }
        Ok(Module { name: self.name, functions })
    }
}

/// Builds one function. Values borrow it, and operations on them append to it.
pub struct Builder<'m> {
    module: &'m ModuleBuilder,
    name: String,
    public: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    arguments: Vec<Argument>,
    operations: Vec<Operation>,
    values: Vec<ValueInfo>,
    names: HashSet<String>,
    scope: Vec<String>,
    /// Values of loops that have ended, by number.
    ended: Vec<Range<u32>>,
    error: Option<GraphError>,
}

/// Ends a scope when dropped.
#[must_use = "the scope ends when this is dropped"]
pub struct Scope<'b> {
    state: &'b RefCell<State>,
    /// The scope around it.
    outer: Vec<String>,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.state.borrow_mut().scope = std::mem::take(&mut self.outer);
    }
}

/// The id carried by values that come after a mistake.
pub(crate) const POISON: ValueId = ValueId(u32::MAX);

impl<'m> Builder<'m> {
    fn new(module: &'m ModuleBuilder, name: String, public: bool) -> Self {
        let builder = Self { module, name, public, state: RefCell::default() };
        // The bodies of scatters use these names, which are visible inside them.
        builder.state.borrow_mut().names.extend(["old".to_string(), "new".to_string()]);
        builder
    }

    /// Opens a scope: names of values made until the guard is dropped begin with it.
    pub fn scope(&self, name: impl Into<String>) -> Scope<'_> {
        let outer = self.state.borrow().scope.clone();
        self.state.borrow_mut().scope.push(name.into());
        Scope { state: &self.state, outer }
    }

    /// Opens a scope outside all others, for what several of them share; they go on when the guard is
    /// dropped.
    pub fn shared_scope(&self, name: impl Into<String>) -> Scope<'_> {
        let outer = std::mem::replace(&mut self.state.borrow_mut().scope, vec![name.into()]);
        Scope { state: &self.state, outer }
    }

    /// Adds an argument. `name` may contain dots; it is made unique.
    #[track_caller]
    pub fn argument(&self, name: &str, ty: TensorType) -> Value<'_> {
        if let Err(violation) = infer::distinct_labels(ty.clone()) {
            return self.fail("argument", violation, &[]);
        }
        let mut state = self.state.borrow_mut();
        let value = state.define(symbol(name), ty);
        state.arguments.push(Argument { value, alias: None });
        Value::new(self, value)
    }

    /// Lets result number `result`, of the same type, overwrite the memory of `argument`.
    #[track_caller]
    pub fn alias(&self, argument: Value<'_>, result: usize) {
        let mut state = self.state.borrow_mut();
        if let Some(found) = state.arguments.iter_mut().find(|a| a.value == argument.id()) {
            found.alias = Some(result);
            return;
        }
        drop(state);
        let message = "only an argument's memory can be overwritten".to_string();
        self.fail("alias", Violation { constraint: "aliasing", message }, &[argument]);
    }

    /// A constant; one value fills the whole tensor.
    #[track_caller]
    pub fn constant(&self, literal: Literal, ty: TensorType) -> Value<'_> {
        let inferred = infer::constant(&literal, &ty);
        self.push("constant", Op::Constant(literal), &[], inferred)
    }

    /// A scalar f32.
    #[track_caller]
    pub fn scalar(&self, value: f32) -> Value<'_> {
        self.constant(Literal::Float(vec![value]), TensorType::scalar(ElementType::F32))
    }

    /// A scalar i32.
    #[track_caller]
    pub fn integer(&self, value: i32) -> Value<'_> {
        let literal = Literal::Integer(vec![value.into()]);
        self.constant(literal, TensorType::scalar(ElementType::I32))
    }

    /// `0, 1, 2, …` along the only dimension.
    #[track_caller]
    pub fn iota(&self, dimension: crate::Dimension) -> Value<'_> {
        let ty = TensorType::new(ElementType::I32, [dimension]);
        let inferred = infer::iota(&ty, 0);
        self.push("iota", Op::Iota(0), &[], inferred)
    }

    /// A kernel call. `decompose` builds the specification from plain operations; it runs once per
    /// combination of kernel, attributes and operand types in the module.
    #[track_caller]
    pub fn composite<'b>(
        &'b self,
        kernel: Kernel,
        operands: &[Value<'b>],
        decompose: impl for<'d> FnOnce(&'d Builder<'d>, &[Value<'d>]) -> Vec<Value<'d>>,
    ) -> Vec<Value<'b>> {
        self.composite_with_results(kernel, operands, &[], decompose)
    }

    /// The same where attributes and operand types do not determine the results' types (a packed
    /// weight has neither its rows' number nor labels): these are `results`, and decompositions are
    /// shared among kernels of equal results only. None given means that they are determined.
    #[track_caller]
    pub fn composite_with_results<'b>(
        &'b self,
        kernel: Kernel,
        operands: &[Value<'b>],
        results: &[TensorType],
        decompose: impl for<'d> FnOnce(&'d Builder<'d>, &[Value<'d>]) -> Vec<Value<'d>>,
    ) -> Vec<Value<'b>> {
        let Some(types) = operands.iter().map(|v| v.try_ty()).collect::<Option<Vec<_>>>() else {
            return vec![Value::poisoned(self); 8];
        };
        if let Some(violation) = self.foreign(operands) {
            return vec![self.fail("composite", violation, operands); 8];
        }
        let attributes: Vec<String> =
            kernel.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let list = |types: &[TensorType]| {
            types.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let attribute_list = attributes.join(",");
        let key = format!("{} {attribute_list} {} {}", kernel.name, list(&types), list(results));
        let known = self.module.state.borrow().decompositions.get(&key).cloned();
        let (decomposition, found) = match known {
            Some(known) => known,
            None => match self.decompose(&kernel, &types, &attributes, decompose) {
                Ok(made) => {
                    let mut module = self.module.state.borrow_mut();
                    module.decompositions.insert(key, made.clone());
                    made
                }
                Err(error) => {
                    self.state.borrow_mut().error.get_or_insert(error);
                    return vec![Value::poisoned(self); 8];
                }
            },
        };
        if !results.is_empty() && results != found {
            let message =
                format!("the decomposition gives {}, not {}", list(&found), list(results));
            let violation = Violation { constraint: "C3", message };
            return vec![self.fail("composite", violation, operands); 8];
        }
        let name = kernel.short_name();
        let mut state = self.state.borrow_mut();
        let ids: Vec<ValueId> = found
            .into_iter()
            .map(|ty| {
                let scoped = state.scoped(name);
                state.define(scoped, ty)
            })
            .collect();
        state.operations.push(Operation {
            op: Op::Composite { kernel, decomposition },
            operands: operands.iter().map(|v| v.id()).collect(),
            results: ids.clone(),
        });
        ids.into_iter().map(|id| Value::new(self, id)).collect()
    }

    fn decompose(
        &self,
        kernel: &Kernel,
        types: &[TensorType],
        attributes: &[String],
        decompose: impl for<'d> FnOnce(&'d Builder<'d>, &[Value<'d>]) -> Vec<Value<'d>>,
    ) -> Result<(String, Vec<TensorType>), GraphError> {
        let name = {
            let module = self.module.state.borrow();
            let taken = |name: &str| module.private.iter().any(|f| f.name == name);
            decomposition_name(kernel, types, attributes, taken)
        };
        let inner = Builder::new(self.module, name.clone(), false);
        inner.state.borrow_mut().scope.clone_from(&self.state.borrow().scope);
        let arguments: Vec<Value<'_>> = types
            .iter()
            .enumerate()
            .map(|(n, ty)| inner.argument(&format!("operand{n}"), ty.clone()))
            .collect();
        // The specification is shared by all callers: its names carry no caller's scope.
        let place = std::mem::take(&mut inner.state.borrow_mut().scope);
        let results = decompose(&inner, &arguments);
        let named: Vec<(String, Value<'_>)> =
            results.iter().enumerate().map(|(n, v)| (format!("result{n}"), *v)).collect();
        let result_types = results.iter().filter_map(|v| v.try_ty()).collect();
        let named: Vec<(&str, Value<'_>)> = named.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        inner.finish(&named).map_err(|mut error| {
            error.place = format!("{}: {} ({})", self.name, place.join("."), error.place);
            error
        })?;
        Ok((name, result_types))
    }

    /// Ends the function with named results.
    ///
    /// # Errors
    /// The first mistake made since the function was begun.
    #[track_caller]
    pub fn finish(&self, results: &[(&str, Value<'_>)]) -> Result<(), GraphError> {
        self.check_results(results);
        let mut state = self.state.borrow_mut();
        let mut module = self.module.state.borrow_mut();
        if let Some(error) = state.error.take() {
            // A decomposition's error is recorded by its caller, which adds its own place.
            if self.public {
                module.error.get_or_insert(error.clone());
            }
            return Err(error);
        }
        let state = std::mem::take(&mut *state);
        let function = Function {
            name: self.name.clone(),
            public: self.public,
            arguments: state.arguments,
            operations: state.operations,
            values: state.values,
            results: results.iter().map(|(name, v)| (symbol(name), v.id())).collect(),
        };
        if self.public { &mut module.public } else { &mut module.private }.push(function);
        Ok(())
    }

    /// Records results that are not this function's, and aliases that do not fit them.
    #[track_caller]
    fn check_results(&self, results: &[(&str, Value<'_>)]) {
        let values: Vec<Value<'_>> = results.iter().map(|(_, value)| *value).collect();
        if let Some(violation) = self.foreign(&values) {
            self.fail("return", violation, &values);
        }
        if values.iter().any(|value| value.try_ty().is_none()) {
            // Kept only where no earlier mistake explains it: the function was finished before.
            let message = "some results are not there any more".to_string();
            self.fail("return", Violation { constraint: "functions", message }, &values);
        }
        let arguments = self.state.borrow().arguments.clone();
        for Argument { value, alias } in arguments {
            let Some(number) = alias else { continue };
            let argument = Value::new(self, value);
            let result = values.get(number).and_then(|result| result.try_ty());
            if argument.try_ty() != result {
                let found = result.map_or("there is none".to_string(), |ty| format!("it is {ty}"));
                let message = format!("result {number} cannot take the argument's place: {found}");
                self.fail("alias", Violation { constraint: "aliasing", message }, &[argument]);
            }
        }
    }

    /// The mistake of using operands of another function, or of a loop that has ended.
    pub(crate) fn foreign(&self, operands: &[Value<'_>]) -> Option<Violation> {
        let own = |value: &Value<'_>| std::ptr::eq(value.builder(), self);
        if !operands.iter().all(own) {
            let message = "some operands belong to another function".to_string();
            return Some(Violation { constraint: "functions", message });
        }
        let state = self.state.borrow();
        let ended = |value: &Value<'_>| state.ended.iter().any(|ids| ids.contains(&value.id().0));
        if !operands.iter().any(ended) {
            return None;
        }
        let message = "some operands are values inside of a loop that has ended".to_string();
        Some(Violation { constraint: "scopes", message })
    }

    /// Appends an operation with one result, or records why it cannot be.
    #[track_caller]
    pub(crate) fn push(
        &self,
        operation: &'static str,
        op: Op,
        operands: &[Value<'_>],
        inferred: Inferred,
    ) -> Value<'_> {
        match inferred {
            Ok(ty) => {
                let mut state = self.state.borrow_mut();
                let scoped = state.scoped(operation);
                let id = state.define(scoped, ty);
                let operands = operands.iter().map(|v| v.id()).collect();
                state.operations.push(Operation { op, operands, results: vec![id] });
                Value::new(self, id)
            }
            Err(violation) => self.fail(operation, violation, operands),
        }
    }

    #[track_caller]
    pub(crate) fn fail(
        &self,
        operation: &'static str,
        violation: Violation,
        operands: &[Value<'_>],
    ) -> Value<'_> {
        let types: Vec<String> = operands.iter().map(ToString::to_string).collect();
        let mut state = self.state.borrow_mut();
        let error = GraphError {
            operation,
            place: format!("{}: {}", self.name, state.scope.join(".")),
            message: format!("{} ({})", violation.message, violation.constraint),
            operands: types.join(" and "),
            location: Location::caller(),
        };
        state.error.get_or_insert(error);
        Value::poisoned(self)
    }

    pub(crate) fn info(&self, id: ValueId) -> Option<ValueInfo> {
        self.state.borrow().values.get(id.0 as usize).cloned()
    }

    pub(crate) fn rename(&self, id: ValueId, name: &str) {
        let mut state = self.state.borrow_mut();
        let scoped = state.scoped(name);
        if (id.0 as usize) < state.values.len() {
            let old = std::mem::take(&mut state.values[id.0 as usize].name);
            state.names.remove(&old);
            let unique = state.unique(scoped);
            state.values[id.0 as usize].name = unique;
        }
    }
}

impl State {
    fn scoped(&self, name: &str) -> String {
        let mut path = self.scope.clone();
        path.push(name.to_string());
        symbol(&path.join("."))
    }

    fn unique(&mut self, name: String) -> String {
        let mut candidate = name.clone();
        let mut n = 1;
        while !self.names.insert(candidate.clone()) {
            n += 1;
            candidate = format!("{name}_{n}");
        }
        candidate
    }

    fn define(&mut self, name: String, ty: TensorType) -> ValueId {
        let name = self.unique(name);
        let id = ValueId(self.values.len() as u32);
        self.values.push(ValueInfo { name, ty });
        id
    }
}
