//! Server-sent events (the HTML standard, section "Server-sent events"), as far as completion servers use them: the data
//! of each event; comments, names and ids are passed over.

use std::io::{self, BufRead, Read};

/// Longest line that is read: an answer without line breaks must not fill the memory.
const LINE: u64 = 16 << 20;

/// The data of one event after another.
pub struct Events<Source> {
    source: Source,
    line: Vec<u8>,
}

impl<Source: BufRead> Events<Source> {
    /// Reads events from an answer's body.
    pub fn new(source: Source) -> Self {
        Self { source, line: Vec::new() }
    }

    /// The data of the next event, its lines joined by line feeds; `None` at the end of the stream. An event that
    /// the end cuts off is dropped, as the standard says.
    ///
    /// # Errors
    /// Those of the source; a line that is too long or not UTF-8.
    pub fn next(&mut self) -> io::Result<Option<String>> {
        let mut data: Option<String> = None;
        loop {
            let Some(line) = self.read_line()? else { return Ok(None) };
            if line.is_empty() {
                if data.is_some() {
                    return Ok(data);
                }
            } else if let Some(text) = line.strip_prefix("data:") {
                let text = text.strip_prefix(' ').unwrap_or(text);
                match &mut data {
                    None => data = Some(text.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(text);
                    }
                }
            }
        }
    }

    /// A line without its end; `None` where the stream has ended.
    fn read_line(&mut self) -> io::Result<Option<&str>> {
        self.line.clear();
        let read = (&mut self.source).take(LINE).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        if !self.line.ends_with(b"\n") && read as u64 == LINE {
            let message = format!("a line of the event stream is longer than {LINE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn events(text: &[u8], capacity: usize) -> Vec<String> {
        let mut events = Events::new(BufReader::with_capacity(capacity, text));
        std::iter::from_fn(|| events.next().unwrap()).collect()
    }

    #[test]
    fn data_is_read_and_all_else_passed_over() {
        let text = b": alive\n\ndata: {\"a\":1}\n\nevent: x\r\nid: 7\r\ndata:two\r\ndata:  lines\r\n\r\ndata: cut off";
        assert_eq!(events(text, 3), ["{\"a\":1}", "two\n lines"]);
    }

    #[test]
    fn what_is_not_text_is_refused() {
        let mut events = Events::new(&b"data: \xff\n\n"[..]);
        assert_eq!(events.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn what_was_sent_arrives(sent in prop::collection::vec("[ -~]{0,40}(\n[ -~]{0,9})?", 0..9), capacity in 1_usize..64) {
            let mut text = String::new();
            for event in &sent {
                for line in event.split('\n') {
                    text += &format!("data: {line}\n");
                }
                text += "\n: comment\n";
            }
            prop_assert_eq!(events(text.as_bytes(), capacity), sent);
        }
    }
}
