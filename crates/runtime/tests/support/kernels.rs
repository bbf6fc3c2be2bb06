//! Kernels for tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use stablemate_graph::{
    Builder, ElementType, Kernel, Label, Module, ModuleBuilder, NativeBinding, NativeCall,
    NativeSite, TensorType, Value,
};
use stablemate_runtime::{
    ALIGNMENT, Binding, Device, KernelFunction, KernelResolver, NativeKernel, Session,
};

pub const ROW: Label = Label("Row");
pub const COLUMN: Label = Label("Column");

pub fn matrix(rows: usize, columns: usize) -> TensorType {
    TensorType::new(ElementType::F32, [ROW.of(rows), COLUMN.of(columns)])
}

/// Swaps every kernel for the function of its name; `write` and `exchange` overwrite their operands.
pub fn choose(site: &NativeSite<'_>) -> Option<NativeCall> {
    let name = site.kernel.short_name();
    let tied = match name {
        "write" => vec![(0, 0)],
        "exchange" => vec![(0, 0), (1, 1)],
        "plain" => return None,
        _ => vec![],
    };
    let sizes: String = site
        .operands
        .iter()
        .map(|ty| ty.sizes().iter().map(|size| format!("_{size}")).collect::<String>())
        .collect();
    Some(NativeCall { symbol: format!("{name}{sizes}"), tied })
}

pub fn floats(bytes: &[u8]) -> &[f32] {
    bytemuck::cast_slice(bytes)
}

pub fn floats_mut(bytes: &mut [u8]) -> &mut [f32] {
    bytemuck::cast_slice_mut(bytes)
}

/// The functions of these tests.
#[derive(Default)]
pub struct Kernels {
    /// Where `write` found its pool.
    pub pools: Arc<Mutex<Vec<usize>>>,
    /// How often a kernel was looked for.
    pub asked: AtomicUsize,
}

impl KernelResolver for Kernels {
    fn resolve(&self, symbol: &str, bindings: &[NativeBinding]) -> Option<NativeKernel> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let pools = self.pools.clone();
        let function: Box<KernelFunction> = match symbol.split('_').next()? {
            "double" => Box::new(|bindings| {
                let [Binding::Read(x), Binding::Write(y)] = bindings else { unreachable!() };
                assert!([x.as_ptr().addr(), y.as_ptr().addr()].iter().all(|a| a % ALIGNMENT == 0));
                for (y, x) in floats_mut(y).iter_mut().zip(floats(x)) {
                    *y = 2.0 * x;
                }
                Ok(())
            }),
            // Sum and difference.
            "both" => Box::new(|bindings| {
                let [Binding::Read(a), Binding::Read(b), Binding::Write(sum), Binding::Write(rest)] =
                    bindings
                else {
                    unreachable!()
                };
                for (index, (a, b)) in floats(a).iter().zip(floats(b)).enumerate() {
                    floats_mut(sum)[index] = a + b;
                    floats_mut(rest)[index] = a - b;
                }
                Ok(())
            }),
            // The row's values go to the beginning of the pool.
            "write" => Box::new(move |bindings| {
                let [Binding::Write(pool), Binding::Read(row)] = bindings else { unreachable!() };
                pools.lock().unwrap().push(pool.as_ptr().addr());
                pool[..row.len()].copy_from_slice(row);
                Ok(())
            }),
            "peek" => Box::new(|bindings| {
                let [Binding::Read(pool), Binding::Write(row)] = bindings else { unreachable!() };
                for (y, x) in floats_mut(row).iter_mut().zip(floats(pool)) {
                    *y = 2.0 * x;
                }
                Ok(())
            }),
            // Of any alignment.
            "copy" => Box::new(|bindings| {
                let [Binding::Read(x), Binding::Write(y)] = bindings else { unreachable!() };
                y.copy_from_slice(x);
                Ok(())
            }),
            "exchange" => Box::new(|bindings| {
                let [Binding::Write(a), Binding::Write(b)] = bindings else { unreachable!() };
                a.swap_with_slice(b);
                Ok(())
            }),
            "fail" => Box::new(|bindings| match bindings {
                [Binding::Read(x), Binding::Write(y)] => match floats(x)[0] {
                    1.0 => Err("it is one".to_owned()),
                    2.0 => panic!("it is {}", 2),
                    _ => {
                        y.copy_from_slice(x);
                        Ok(())
                    }
                },
                _ => unreachable!(),
            }),
            _ => return None,
        };
        assert!(bindings.iter().any(|binding| binding.written));
        Some(NativeKernel { name: symbol.replace('_', " "), function })
    }
}

pub fn device() -> Device {
    Device::native(Arc::new(Kernels::default())).unwrap()
}

/// The sum of two values, called by the name `name`.
pub fn double<'b>(x: Value<'b>, builder: &'b Builder<'b>, name: &'static str) -> Value<'b> {
    builder.composite(Kernel::new(name), &[x], |_, x| vec![x[0] + x[0]])[0]
}

/// A module of one function.
pub fn module(body: impl for<'b> FnOnce(&'b Builder<'b>)) -> Module {
    let module = ModuleBuilder::new("native");
    {
        let main = module.function("main");
        body(&main);
    }
    module.finish().unwrap()
}

pub fn session(device: &Device, module: &Module) -> Session {
    super::session(device, &module.native(&choose).unwrap())
}
