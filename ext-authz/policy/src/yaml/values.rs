//! Single values: texts, words, numbers, durations and sizes, each in the one form that is accepted.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::{
    at::At,
    scalar,
    tree::{self, Style, Value},
};
use crate::problem::{Code, did_you_mean, quoted};

impl<'a> At<'a> {
    /// A text that is not empty.
    pub fn text(&self) -> Option<&'a str> {
        match self.text_or_empty()? {
            "" => {
                let way_out = "write the text, or remove the field";
                self.refuse_with(Code::Empty, "the text is empty", way_out)
            }
            text => Some(text),
        }
    }

    /// A text. A number or truth value is none until it is quoted.
    pub fn text_or_empty(&self) -> Option<&'a str> {
        let (text, style) = self.scalar("text")?;
        if style == Style::Plain
            && let Some(kind) = scalar::non_text(text)
        {
            let message = format!("`{text}` is {kind}, not text");
            return self.refuse_with(Code::WrongType, message, format!("write \"{text}\""));
        }
        Some(text)
    }

    /// A single value as it is written, and whether in quotes: for what YAML would take for another number
    /// than it looks like.
    pub fn as_written(&self, expected: &str) -> Option<(&'a str, bool)> {
        let (text, style) = self.scalar(expected)?;
        Some((text, style == Style::Quoted))
    }

    /// A text that `parse` accepts.
    pub fn parse<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match parse(self.text()?) {
            Ok(value) => Some(value),
            Err(error) => self.refuse(Code::InvalidValue, error.to_string()),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.scalar("`true` or `false`")? {
            ("true", Style::Plain) => Some(true),
            ("false", Style::Plain) => Some(false),
            (text, _) => {
                let message = format!("{} is not a truth value", quoted(text));
                self.refuse_with(
                    Code::WrongType,
                    message,
                    "write true or false, without quotes",
                )
            }
        }
    }

    /// A whole number within `bounds`.
    pub fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (text, style) = self.scalar("a number")?;
        let digits = style == Style::Plain && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            let message = format!("{} is not a whole number", quoted(text));
            return self.refuse_with(Code::WrongType, message, "write digits, without quotes");
        }
        let within = text.parse().ok().filter(|number| bounds.contains(number));
        within.or_else(|| self.out_of_range(text, &bounds.start(), &bounds.end()))
    }

    /// A TCP port.
    pub fn port(&self) -> Option<u16> {
        self.integer(1..=u64::from(u16::MAX))
            .and_then(|port| u16::try_from(port).ok())
    }

    /// Seconds, or a number with `ms`, `s`, `m`, `h` or `d`; `bounds` in seconds.
    pub fn duration(&self, bounds: RangeInclusive<u64>) -> Option<Duration> {
        let (least, most) = bounds.into_inner();
        self.duration_within(Duration::from_secs(least)..=Duration::from_secs(most))
    }

    /// Seconds, or a number with `ms`, `s`, `m`, `h` or `d`, within `bounds`.
    pub fn duration_within(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let (text, _) = self.scalar("a duration")?;
        let Some(duration) = scalar::duration(text) else {
            let message = format!("{} is not a duration", quoted(text));
            let way_out = "write seconds or a number with its unit: 300, 250ms, 30s, 5m, 24h, 7d";
            return self.refuse_with(Code::WrongType, message, way_out);
        };
        if bounds.contains(&duration) {
            return Some(duration);
        }
        let (least, most) = bounds.into_inner();
        let (least, most) = (scalar::duration_text(least), scalar::duration_text(most));
        self.out_of_range(text, &least, &most)
    }

    /// Bytes, or a number with `KiB`, `MiB` or `GiB`; `bounds` in bytes.
    pub fn byte_size(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (text, _) = self.scalar("a size")?;
        let Some(size) = scalar::byte_size(text) else {
            let message = format!("{} is not a size", quoted(text));
            let way_out = "write bytes or a number with its unit: 65536, 64KiB, 16MiB, 2GiB";
            return self.refuse_with(Code::WrongType, message, way_out);
        };
        if bounds.contains(&size) {
            return Some(size);
        }
        let most = format!("{} bytes", bounds.end());
        self.out_of_range(text, &bounds.start(), &most)
    }

    fn out_of_range<T>(&self, text: &str, least: &dyn Display, most: &dyn Display) -> Option<T> {
        let message = format!("{text} is not within {least} to {most}");
        let way_out = format!("write a value from {least} to {most}");
        self.refuse_with(Code::OutOfRange, message, way_out)
    }

    /// One of the listed words.
    pub fn one_of<T: Clone>(&self, choices: &[(&str, T)]) -> Option<T> {
        let (text, _) = self.scalar("text")?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if let Some((_, value)) = chosen {
            return Some(value.clone());
        }
        let words = || choices.iter().map(|(word, _)| *word);
        let way_out = did_you_mean(text, words())
            .unwrap_or_else(|| format!("write {}", scalar::alternatives(words())));
        self.refuse_with(
            Code::UnknownChoice,
            format!("{} is unknown here", quoted(text)),
            way_out,
        )
    }

    fn scalar(&self, expected: &str) -> Option<(&'a str, Style)> {
        match &self.node.value {
            Value::Scalar { text, style } if *style == Style::Quoted || !tree::is_null(text) => {
                Some((text, *style))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Mapping(_) => self.wrong_type(expected),
        }
    }
}
