//! Tensors of the interpreter.

use stablemate_graph::{ElementType, Literal, TensorType};

/// A tensor's elements, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Of an f32 tensor.
    Float(Vec<f32>),
    /// Of every other type: integers, booleans as 0 and 1, 16-bit floats as their bits.
    Integer(Vec<i32>),
}

/// A tensor without labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub element: ElementType,
    pub sizes: Vec<usize>,
    pub data: Data,
}

impl Tensor {
    pub fn new(ty: &TensorType, data: Data) -> Self {
        let length = match &data {
            Data::Float(values) => values.len(),
            Data::Integer(values) => values.len(),
        };
        assert_eq!(Some(length), ty.elements(), "{length} values for {ty}");
        let float = matches!(data, Data::Float(_));
        assert_eq!(float, ty.element == ElementType::F32, "wrong kind of values for {ty}");
        Self { element: ty.element, sizes: ty.sizes(), data }
    }

    /// A constant; one value fills the whole tensor.
    pub fn constant(literal: &Literal, ty: &TensorType) -> Self {
        let elements = ty.elements().expect("small");
        fn fill<T: Copy>(values: Vec<T>, elements: usize) -> Vec<T> {
            if values.len() == 1 { vec![values[0]; elements] } else { values }
        }
        let data = match literal {
            Literal::Float(values) => Data::Float(fill(values.clone(), elements)),
            Literal::Integer(values) => {
                let narrow = |value: &i64| i32::try_from(*value).expect("a 32-bit integer");
                Data::Integer(fill(values.iter().map(narrow).collect(), elements))
            }
            Literal::Boolean(values) => Data::Integer(fill(
                values.iter().map(|value| i32::from(*value)).collect(),
                elements,
            )),
        };
        Self::new(ty, data)
    }

    pub fn floats(&self) -> &[f32] {
        match &self.data {
            Data::Float(values) => values,
            Data::Integer(_) => panic!("f32 expected, this is {}", self.element),
        }
    }

    pub fn integers(&self) -> &[i32] {
        match &self.data {
            Data::Integer(values) => values,
            Data::Float(_) => panic!("integers expected, this is f32"),
        }
    }

    /// How far apart neighbours along each dimension are.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.sizes.len()];
        for n in (1..self.sizes.len()).rev() {
            strides[n - 1] = strides[n] * self.sizes[n];
        }
        strides
    }

    /// The tensor of `sizes` whose element at `index` is this one's at `first + Σ index·strides`.
    pub fn view(&self, sizes: &[usize], strides: &[usize], first: usize) -> Self {
        let mut places = vec![first];
        for (size, stride) in sizes.iter().zip(strides) {
            let inner = |place: &usize| {
                let place = *place;
                (0..*size).map(move |n| place + n * stride)
            };
            places = places.iter().flat_map(inner).collect();
        }
        self.pick(sizes, &places)
    }

    /// The tensor of `sizes` made of the elements at these places.
    pub fn pick(&self, sizes: &[usize], places: &[usize]) -> Self {
        let data = match &self.data {
            Data::Float(values) => Data::Float(places.iter().map(|place| values[*place]).collect()),
            Data::Integer(values) => {
                Data::Integer(places.iter().map(|place| values[*place]).collect())
            }
        };
        Self { element: self.element, sizes: sizes.to_vec(), data }
    }
}
