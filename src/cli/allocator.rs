//! What the system's allocator gives back.
//!
//! glibc takes pieces of 128 KiB and more from the system one by one, and gives each back when it is freed; but every
//! one that is freed raises that size, up to 32 MiB. From then on rows of a hundred thousand series lie among
//! everything else, and what the busiest moment took stays resident: two hundred bytes a series. Two variables
//! of the environment hold the sizes where they begin. They are read before `main`, so the program begins anew once, as
//! the same process; the alternatives are a call of C (`mallopt`), which is `unsafe`, and an allocator of somebody
//! else's. A variable that is there already is left as it is.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The size from which pieces are the system's own, and how much may lie free at the end of the others.
const VARIABLES: [&str; 2] = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];
const BYTES: &str = "131072";

/// Says that it was done. Whoever may do more than his caller loses the variables on the way, and would begin
/// anew for ever.
const DONE: &str = "TALLYD_ALLOCATOR";

/// Begins the program anew, unless it was. Where that cannot be, it goes on as it is.
pub fn settle() {
    let is_set = |name: &&str| std::env::var_os(name).is_some();
    let is_ours = cfg!(all(target_os = "linux", target_env = "gnu"));
    if !is_ours || VARIABLES.iter().chain([&DONE, &"GLIBC_TUNABLES"]).any(is_set) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // Where the dynamic loader was called with the program's name, it is the loader that runs.
    if program.file_name().is_none_or(|name| name.to_string_lossy().starts_with("ld-")) {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut anew = Command::new(program);
    if let Some(name) = arguments.next() {
        anew.arg0(name);
    }
    anew.args(arguments).env(DONE, "settled").envs(VARIABLES.map(|name| (name, BYTES)));
    // It comes back only where it did not work.
    let _ = anew.exec();
}
