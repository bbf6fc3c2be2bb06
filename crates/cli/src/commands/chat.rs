//! `stablemate chat`

use crate::arguments::ChatArguments;
use crate::environment::Environment;
use crate::output;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{DefaultEditor, Editor};
use stablemate::{Message, Model};
use std::io::IsTerminal;

/// What the prompt says about itself.
const HELP: &str = "/clear forgets the conversation, /exit (or Ctrl-D) ends it.";

pub fn run(arguments: &ChatArguments, environment: &Environment) -> anyhow::Result<()> {
    let mut model = environment.load(&arguments.model, &arguments.load)?;
    if !model.has_chat_template()? {
        let path = model.path().to_path_buf();
        return Err(stablemate::Error::NoChatTemplate { path }.into());
    }
    let mut editor: Editor<(), FileHistory> = DefaultEditor::new()?;
    let history = environment.folders.data.join("chat_history");
    // The first conversation has no history to load.
    let _ = editor.load_history(&history);
    let interactive = std::io::stdin().is_terminal();
    if interactive {
        eprintln!("{HELP}");
    }
    let system: Vec<Message> =
        arguments.system.iter().map(|text| Message::new("system", text.as_str())).collect();
    let mut messages = system.clone();
    loop {
        let line = match editor.readline(if interactive { "> " } else { "" }) {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => return Err(error.into()),
        };
        match line.trim() {
            "" => continue,
            "/exit" => break,
            "/help" => eprintln!("{HELP}"),
            "/clear" => messages.clone_from(&system),
            text => {
                editor.add_history_entry(text)?;
                messages.push(Message::new("user", text));
                answer(arguments, environment, &mut model, &mut messages)?;
            }
        }
    }
    if interactive {
        std::fs::create_dir_all(&environment.folders.data)?;
        editor.save_history(&history)?;
    }
    Ok(())
}

/// Prints the answer to the last message and adds it to the conversation. A conversation that cannot
/// be answered (too long, refused by the template) stays as it was before the message.
fn answer(
    arguments: &ChatArguments,
    environment: &Environment,
    model: &mut Model,
    messages: &mut Vec<Message>,
) -> anyhow::Result<()> {
    let options = super::options(&arguments.sampling);
    let completion = match model.generate(messages.clone(), &options) {
        Ok(completion) => completion,
        Err(error) => {
            eprintln!("error: {error}");
            messages.pop();
            return Ok(());
        }
    };
    let mut text = String::new();
    for piece in completion {
        environment.bars.clear();
        let piece = piece?.text;
        output::write(&piece)?;
        text += &piece;
    }
    output::write("\n")?;
    messages.push(Message::new("assistant", text));
    Ok(())
}
