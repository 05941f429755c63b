//! `keyward manual`: the manual pages, from the same descriptions as `--help`.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::examples;
use crate::failure::{Exit, Failure, Result};
use crate::report::Report;

#[derive(Args, Debug)]
pub struct Arguments {
    /// The directory to write them to, one page for each command
    directory: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<Report> {
    let mut command = examples::added(Cli::command());
    command.build();
    let pages = write(&command, "keyward", &arguments.directory)?;
    let text = pages.iter().map(|page| format!("{}\n", page.display())).collect();
    Ok(Report::new(text, serde_json::json!({ "pages": pages })))
}

/// One page, and those of the commands below it; their paths.
fn write(command: &clap::Command, name: &str, directory: &Path) -> Result<Vec<PathBuf>> {
    let path = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().display_name(name))
        .title(name)
        .render(&mut page)
        .and_then(|()| std::fs::write(&path, &page))
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
    let mut pages = vec![path];
    for below in command.get_subcommands().filter(|each| !each.is_hide_set() && each.get_name() != "help") {
        pages.extend(write(below, &format!("{name}-{}", below.get_name()), directory)?);
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let directory = std::env::temp_dir().join(format!("keyward-manual-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        run(&Arguments { directory: directory.clone() }).unwrap();
        for (page, words) in
            [("keyward", "doctor"), ("keyward-token-init", "so\\-pin"), ("keyward-completion", "shell")]
        {
            let text = std::fs::read_to_string(directory.join(format!("{page}.1"))).unwrap();
            assert!(text.contains(words), "{page}: {text}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(run(&Arguments { directory }).err().unwrap().exit, Exit::Failed);
    }
}
