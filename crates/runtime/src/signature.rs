//! The functions of a module and their types, read from the module.
//!
//! IREE keeps the declaration of each public function as text (the attribute `iree.abi.declaration`), such as
//! `sync func @main(%input0: tensor<4x2xf32> {iree.abi.output = 0 : index}) -> (%output0: tensor<4x2xf32>)`.

use std::fmt;

use stablemate_graph::ElementType;

use crate::buffer::Buffer;
use crate::element;

/// A function of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub arguments: Vec<Tensor>,
    /// What it returns.
    pub results: Vec<Tensor>,
}

/// The type of an argument or a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The type as StableHLO writes it, such as `tensor<4x2xf32>`; `?` when the module does not tell.
    pub text: String,
    /// The element type; none when it is not one of ours, or not told.
    pub element: Option<ElementType>,
    /// The shape, a size of none standing for any; none when it is not told.
    pub shape: Option<Vec<Option<usize>>>,
    /// For an argument: the result that is written into its memory (`tf.aliasing_output`). The call
    /// destroys the argument's contents.
    pub donated_to: Option<usize>,
}

impl Tensor {
    /// A type about which nothing is known.
    fn unknown() -> Self {
        Self { text: "?".to_owned(), element: None, shape: None, donated_to: None }
    }

    /// Parses `tensor<4x?xf32>` with attributes after it.
    fn parse(text: &str) -> Self {
        let mut tensor = Self::unknown();
        let (kind, attributes) = match text.split_once('{') {
            Some((kind, attributes)) => (kind.trim(), attributes),
            None => (text.trim(), ""),
        };
        kind.clone_into(&mut tensor.text);
        tensor.donated_to = attributes
            .split_once("iree.abi.output = ")
            .and_then(|(_, value)| value.split([' ', '}']).next()?.parse().ok());
        let Some(inner) = kind.strip_prefix("tensor<").and_then(|inner| inner.strip_suffix('>'))
        else {
            return tensor;
        };
        let (dimensions, element) = match inner.rsplit_once('x') {
            Some((dimensions, element)) => (dimensions.split('x').collect(), element),
            None => (Vec::new(), inner),
        };
        tensor.element = element::from_text(element);
        tensor.shape = dimensions
            .into_iter()
            .map(|dimension| match dimension {
                "?" => Some(None),
                number => number.parse().ok().map(Some),
            })
            .collect();
        tensor
    }

    /// Whether a buffer may be passed for this argument. What is not told is left to IREE.
    pub(crate) fn accepts(&self, buffer: &Buffer) -> bool {
        let element = self.element.is_none_or(|element| element == buffer.element_type());
        let shape = self.shape.as_ref().is_none_or(|shape| {
            shape.len() == buffer.shape().len()
                && shape
                    .iter()
                    .zip(buffer.shape())
                    .all(|(declared, given)| declared.is_none_or(|declared| declared == *given))
        });
        element && shape
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A buffer's type as StableHLO writes it.
pub(crate) fn type_text(buffer: &Buffer) -> String {
    let dimensions: String =
        buffer.shape().iter().map(|dimension| format!("{dimension}x")).collect();
    format!("tensor<{dimensions}{}>", buffer.element_type())
}

impl Function {
    /// The function `name` with so many arguments and results, their types taken from the declaration
    /// where it tells them.
    pub(crate) fn new(name: String, arguments: usize, results: usize, declaration: &str) -> Self {
        let (arguments_text, results_text) = declaration
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(") -> ("))
            .unwrap_or_default();
        Self {
            name,
            arguments: tensors(arguments_text, arguments),
            results: tensors(results_text, results),
        }
    }
}

/// Parses `%input0: tensor<…> {…}, %input1: …`; unknown types when there are not `count`.
fn tensors(list: &str, count: usize) -> Vec<Tensor> {
    let tensors: Vec<_> = list
        .split(", %")
        .filter_map(|item| item.split_once(": "))
        .map(|(_, text)| Tensor::parse(text.trim_end_matches(')')))
        .collect();
    if tensors.len() == count { tensors } else { vec![Tensor::unknown(); count] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tensor(text: &str, element: Option<ElementType>, shape: &[Option<usize>]) -> Tensor {
        Tensor { text: text.to_owned(), element, shape: Some(shape.to_vec()), donated_to: None }
    }

    #[test]
    fn declarations() {
        let function = Function::new(
            "main".to_owned(),
            3,
            2,
            "sync func @main(%input0: tensor<8x?xf32>, %input1: tensor<i1>, %input2: tensor<3x0xi64> {iree.abi.output = 1 : index}) -> (%output0: tensor<2xf64>, %output1: tensor<3x0xi64>)",
        );
        assert_eq!(
            function.arguments,
            [
                tensor("tensor<8x?xf32>", Some(ElementType::F32), &[Some(8), None]),
                tensor("tensor<i1>", Some(ElementType::I1), &[]),
                Tensor {
                    donated_to: Some(1),
                    ..tensor("tensor<3x0xi64>", Some(ElementType::I64), &[Some(3), Some(0)])
                },
            ]
        );
        assert_eq!(
            function.results,
            [
                tensor("tensor<2xf64>", None, &[Some(2)]),
                tensor("tensor<3x0xi64>", Some(ElementType::I64), &[Some(3), Some(0)]),
            ]
        );
    }

    #[test]
    fn no_arguments() {
        let function = Function::new(
            "none".to_owned(),
            0,
            1,
            "sync func @none() -> (%output0: tensor<3xf32>)",
        );
        assert!(function.arguments.is_empty());
        assert_eq!(function.results[0].to_string(), "tensor<3xf32>");
    }

    #[test]
    fn what_is_not_told_is_unknown() {
        let function = Function::new("f".to_owned(), 2, 1, "");
        assert_eq!(function.arguments, vec![Tensor::unknown(); 2]);
        assert_eq!(function.results, vec![Tensor::unknown(); 1]);
    }

    proptest! {
        #[test]
        fn any_declaration(text in "[@(){}%:, >x?0-9a-z<]{0,60}", arguments in 0usize..4, results in 0usize..4) {
            let function = Function::new("f".to_owned(), arguments, results, &text);
            prop_assert_eq!(function.arguments.len(), arguments);
            prop_assert_eq!(function.results.len(), results);
        }
    }
}
