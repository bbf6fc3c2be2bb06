//! Everything that can go wrong here.

use std::io;
use std::path::{Path, PathBuf};

use stablemate_graph::ElementType;

use crate::compiler::CompileFailure;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the file, argument or option it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No compiler has been installed into the data folder.
    #[error(
        "the StableHLO compiler is not installed in {}: run: stablemate setup",
        folder.display()
    )]
    ToolchainMissing {
        /// Where it was looked for.
        folder: PathBuf,
    },

    /// A file of the installed compiler is not what was installed.
    #[error(
        "the StableHLO compiler in {} is damaged ({reason}): run: stablemate setup",
        folder.display()
    )]
    ToolchainDamaged {
        /// The installation.
        folder: PathBuf,
        /// The file and what is wrong with it.
        reason: String,
    },

    /// A file given as the compiler's wheel is not that wheel, or does not work here.
    #[error("{} cannot be installed as the StableHLO compiler: {reason}", wheel.display())]
    Wheel {
        /// The file given.
        wheel: PathBuf,
        /// What is wrong with it and what would be right.
        reason: String,
    },

    /// Python's `pip`, which downloads the compiler's wheel, did not do so.
    #[error("cannot download {requirement}: {reason}")]
    Download {
        /// What `pip` was asked for.
        requirement: String,
        /// What happened, and how to mend it.
        reason: String,
    },

    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A compilation target that does not exist.
    #[error("{given:?} is not a compilation target: {reason}")]
    Target {
        /// The text given.
        given: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },

    /// The compiler refused the text, or crashed.
    #[error(transparent)]
    Compile(Box<CompileFailure>),

    /// A call into IREE's runtime failed.
    #[error("IREE cannot {action}: {message}")]
    Runtime {
        /// What was being done.
        action: String,
        /// IREE's status text.
        message: String,
    },

    /// A native kernel failed or panicked during a call.
    #[error("the native kernel {kernel} failed: {message}")]
    Kernel {
        /// Its name.
        kernel: String,
        /// What it says.
        message: String,
    },

    /// A module calls native kernels that the device does not have.
    #[error("{} needs native kernels that this device lacks: {kernels}", module.display())]
    MissingKernels {
        /// The vmfb file.
        module: PathBuf,
        /// Their symbols.
        kernels: String,
    },

    /// An option of the device is out of range.
    #[error("the device cannot have {option} = {given}: {reason}")]
    DeviceOption {
        /// The option's name.
        option: &'static str,
        /// The value given.
        given: usize,
        /// What would be right.
        reason: String,
    },

    /// The shape of a buffer is too large to be addressed.
    #[error("a buffer {element}{shape:?} does not fit in memory")]
    TooLarge {
        /// Its element type.
        element: ElementType,
        /// Its shape.
        shape: Vec<usize>,
    },

    /// As many bytes as the buffer's shape needs were not given.
    #[error("a buffer {element}{shape:?} takes {expected} bytes; {given} were given")]
    ByteCount {
        /// Its element type.
        element: ElementType,
        /// Its shape.
        shape: Vec<usize>,
        /// The bytes its shape needs.
        expected: usize,
        /// The bytes given.
        given: usize,
    },

    /// A buffer was to be made of bytes that a mapped file does not have.
    #[error("the bytes {start}..{end} are not in a map of {length} bytes")]
    MapRange {
        /// The first byte.
        start: usize,
        /// The byte after the last one.
        end: usize,
        /// The length of the map.
        length: usize,
    },

    /// A buffer was read or written as a type its elements do not have.
    #[error("a buffer of {element} cannot be read or written as {given}")]
    ElementMismatch {
        /// The buffer's element type.
        element: ElementType,
        /// The Rust type asked for.
        given: &'static str,
    },

    /// A module has no such function.
    #[error("{} has no function {function:?}; it has {available}", module.display())]
    NoFunction {
        /// The vmfb file.
        module: PathBuf,
        /// The name asked for.
        function: String,
        /// The names it has.
        available: String,
    },

    /// A function was called with the wrong number of arguments.
    #[error("{function:?} takes {expected} arguments; {given} were given")]
    ArgumentCount {
        /// The function.
        function: String,
        /// The number it takes.
        expected: usize,
        /// The number given.
        given: usize,
    },

    /// An argument does not have the type that the function declares.
    #[error("argument {index} of {function:?} is {expected}; {given} was given")]
    Argument {
        /// The function.
        function: String,
        /// The position, from 0.
        index: usize,
        /// The type declared.
        expected: String,
        /// The type, or the kind of object, given.
        given: String,
    },

    /// A function returned something that is no buffer of a known element type.
    #[error("result {index} of {function:?} is {found}, which this runtime does not hold")]
    UnsupportedResult {
        /// The function.
        function: String,
        /// The position, from 0.
        index: usize,
        /// What was returned.
        found: String,
    },
}

impl Error {
    /// An [`Error::File`] made for `map_err`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }
}
