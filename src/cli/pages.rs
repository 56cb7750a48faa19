//! `tallyd man` and `tallyd completions`: what clap knows of the command line, for man and for shells.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;

/// Prints the page of tallyd(1), or writes those of all commands into a directory.
pub(super) fn man(dir: Option<&Path>) -> ExitCode {
    let written = match dir {
        None => Man::new(Cli::command()).render(&mut io::stdout()),
        Some(dir) => std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), dir)),
    };
    end("man", dir, written)
}

/// Prints what makes a shell complete the command line.
pub(super) fn completions(shell: Shell) -> ExitCode {
    // clap ends the process where it cannot write.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tallyd", &mut text);
    end("completions", None, io::stdout().write_all(&text))
}

fn end(command: &str, dir: Option<&Path>, written: io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let place = dir.map(|dir| format!("{}: ", dir.display())).unwrap_or_default();
            let _ = writeln!(io::stderr(), "tallyd {command}: {place}{error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test")]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Cli::command(), dir.path()).unwrap();
        for name in ["tallyd.1", "tallyd-check.1", "tallyd-rules-backtest.1", "tallyd-doctor.1"] {
            let page = std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
            assert!(page.contains(".SH NAME"), "{name}: {page}");
        }
    }
}
