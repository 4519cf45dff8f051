//! Finding and loading the library.

use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{LIBRARY_VARIABLE, RuntimeError};

/// The variable that keeps ONNX Runtime from sending telemetry, and its value: whatever the library is
/// told later, it asks for the address of its maker's server and leaves files in the temporary folder.
/// It is read when the library is loaded; programs set it with
/// `lfbm_process::environment::execute_with`.
pub const NO_TELEMETRY: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

const FILE_NAME: &str = "libonnxruntime.so";

/// ONNX Runtime, loaded. A process has one environment, which every clone shares.
#[derive(Clone)]
pub struct Runtime {
    pub(super) environment: ort::environment::Environment,
    path: PathBuf,
    version: String,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The first library that was loaded; there can be no second one in a process.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads `library`; without one, what `LFBM_ONNXRUNTIME` names; else the first that is there
    /// of `libonnxruntime.so` beside the executable, in `../lib` of it, in `../lib/lfbm` of it,
    /// and in the build tree. A later call returns what the first one loaded.
    ///
    /// # Errors
    /// When the library is not there or its version does not fit.
    pub fn load(library: Option<&Path>) -> Result<Self, RuntimeError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            return Ok(runtime.clone());
        }
        let path = find(library)?;
        let failed = |reason: String| RuntimeError::Library {
            path: path.clone(),
            reason,
        };
        let environment = ort::init_from(&path)
            .map_err(|error| failed(error.to_string()))?
            .with_name("lfbm")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let version = version(&path).map_err(|error| failed(error.to_string()))?;
        let runtime = Self {
            environment,
            path,
            version,
        };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The library's version, such as `1.30.0`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// What the library at `path`, which is loaded already, says of its version.
#[expect(unsafe_code, reason = "it asks a library for its version")]
fn version(path: &Path) -> Result<String, libloading::Error> {
    type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: ort has run the library's initialisers and checked that the function is there; the
    // string that it leads to is static.
    unsafe {
        let library = libloading::Library::new(path)?;
        let base = library.get::<GetApiBase>(b"OrtGetApiBase")?();
        let version = CStr::from_ptr(((*base).GetVersionString)());
        Ok(version.to_string_lossy().into_owned())
    }
}

fn find(library: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    let named = library.map(Path::to_path_buf).or_else(|| {
        let set = std::env::var_os(LIBRARY_VARIABLE)?;
        // One that is set to nothing is not set.
        (!set.is_empty()).then(|| set.into())
    });
    let searched = match named {
        Some(path) => vec![path],
        None => {
            let executable = std::env::current_exe().ok();
            let folder = executable
                .as_deref()
                .and_then(Path::parent)
                .map(Path::to_path_buf);
            let beside = ["", "../lib", "../lib/lfbm"];
            let mut places: Vec<PathBuf> = folder
                .iter()
                .flat_map(|folder| beside.map(|place| folder.join(place).join(FILE_NAME)))
                .collect();
            places.push(env!("LFBM_BUILD_TREE_ONNXRUNTIME").into());
            places
        }
    };
    match searched.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(RuntimeError::LibraryMissing { searched }),
    }
}
