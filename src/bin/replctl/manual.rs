//! Makes the manual page from the declaration of the command line and from `texts`.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::args::declaration;
use crate::failure::Exit;
use crate::texts::EXAMPLES;

/// The whole page in roff.
pub fn page() -> io::Result<String> {
    let mut program = declaration();
    program.build();
    let program = &program;
    // The page has no date. Without the quotes the next argument would take its place.
    let man = Man::new(program.clone()).title("REPLCTL").date("\"\"").manual("libreplication");
    let mut page = rendered(|page| man.render_title(page))?;
    page += &rendered(|page| man.render_name_section(page))?;

    page += &section("SYNOPSIS");
    for (n, command) in program.get_subcommands().enumerate() {
        if n > 0 {
            page += &roff(|roff| roff.control("br", []));
        }
        page += &synopsis(command)?;
    }
    page += &rendered(|page| man.render_description_section(page))?;

    page += &section("COMMANDS");
    for command in program.get_subcommands() {
        page += &roff(|roff| roff.control("SS", [command.get_name()]));
        page += &synopsis(command)?;
        page += &roff(|roff| roff.control("PP", []));
        let man = Man::new(without_common_options(command));
        page += &without_headings(&rendered(|page| man.render_description_section(page))?);
        page += &without_headings(&rendered(|page| man.render_options_section(page))?);
    }
    page += &section("OPTIONS");
    page += &roff(|roff| roff.text([roman("Every command has these options.")]));
    page += &without_headings(&rendered(|page| man.render_options_section(page))?);

    page += &roff(|roff| {
        environment(roff);
        files(roff);
        exit_statuses(roff);
        examples(roff);
        caveats(roff);
        roff.control("SH", ["SEE ALSO"]).text([bold("libreplication"), roman("(3)")])
    });
    Ok(preamble() + &page)
}

/// The lines that define how an apostrophe is set. Every rendering begins with them; the page needs them once.
fn preamble() -> String {
    Roff::new().render()
}

fn rendered(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).replace(&preamble(), "");
    // An empty line separates the paragraphs of an option's text.
    Ok(text.replace("\n\n", "\n.sp\n"))
}

fn roff(write: impl FnOnce(&mut Roff) -> &mut Roff) -> String {
    let mut roff = Roff::new();
    write(&mut roff);
    roff.render().replace(&preamble(), "")
}

fn section(name: &str) -> String {
    roff(|roff| roff.control("SH", [name]))
}

/// The usage of a command, in one line.
fn synopsis(command: &Command) -> io::Result<String> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let man = Man::new(command.clone().override_usage(usage));
    Ok(without_headings(&rendered(|page| man.render_synopsis_section(page))?))
}

/// The command without --help and --version, which the page describes once.
fn without_common_options(command: &Command) -> Command {
    let common = ["help", "version"];
    let has = |id: &str| command.get_arguments().any(|argument| argument.get_id() == id);
    let hidden = common.into_iter().filter(|id| has(id));
    hidden.fold(command.clone(), |command, id| command.mut_arg(id, |argument| argument.hide(true)))
}

/// Makes a section a part of another one: drops its first heading and turns the others into bold lines.
fn without_headings(text: &str) -> String {
    let mut kept = String::new();
    for (n, line) in text.lines().enumerate() {
        match line.strip_prefix(".SH ") {
            Some(_) if n == 0 => {}
            Some(heading) => kept += &heading_line(heading),
            None => kept.extend([line, "\n"]),
        }
    }
    kept
}

/// Turns a heading in capitals into a bold line.
fn heading_line(heading: &str) -> String {
    let heading = heading.trim_matches('"').to_lowercase();
    let (first, rest) = heading.split_at(1);
    roff(|roff| roff.control("PP", []).text([bold(first.to_uppercase() + rest + ":")]))
}

fn environment(roff: &mut Roff) {
    roff.control("SH", ["ENVIRONMENT"]);
    roff.control("TP", []).text([bold("NO_COLOR")]);
    roff.text([roman("If it is set and not empty, help and errors have no colors on a terminal either.")]);
}

fn files(roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    roff.text([
        roman("The directory of a log is "),
        italic("wal_dir"),
        roman(" of a sender or of a receiver. The document "),
        italic("docs/log-format.md"),
        roman(" of libreplication describes its files."),
    ]);
}

fn exit_statuses(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        roff.control("TP", []).text([bold((exit as u8).to_string())]).text([roman(exit.meaning())]);
    }
}

fn examples(roff: &mut Roff) {
    roff.control("SH", ["EXAMPLES"]);
    for example in &EXAMPLES {
        roff.control("PP", []).text([roman(format!("{}:", example.does))]);
        roff.control("PP", []).control("RS", ["4"]).control("EX", []);
        roff.text([roman(example.line)]);
        roff.control("EE", []).control("RE", []);
    }
}

fn caveats(roff: &mut Roff) {
    roff.control("SH", ["CAVEATS"]);
    roff.text([
        roman("Who holds a log's lock is read from "),
        italic("/proc/locks"),
        roman(
            ", which names only processes that can be seen from here: for a writer in another container or on another ",
        ),
        roman("host, the lock seems free."),
    ]);
}
