//! What a curl command line asks. Only the request is read: files are not opened, nothing is sent, and
//! what curl would do with the answer does not matter. An option that is not known here is refused, for
//! guessing whether the next word is its value could explain another request than the one that was sent.

use anyhow::{Context as _, bail, ensure};

mod options;

#[cfg(test)]
mod tests;

/// The request of a curl command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Curl {
    pub(super) method: String,
    pub(super) url: String,
    /// Whether the path goes out with its `.` and `..` segments.
    pub(super) path_as_is: bool,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// What was not read and could matter.
    pub(super) notes: Vec<String>,
}

/// What is known of a command line so far.
#[derive(Default)]
struct Reading {
    method: Option<String>,
    urls: Vec<String>,
    headers: Vec<(String, String)>,
    data: Vec<String>,
    query: Vec<String>,
    sends: Option<Sends>,
    data_in_query: bool,
    head: bool,
    path_as_is: bool,
    takes_globs_literally: bool,
    notes: Vec<String>,
}

/// What makes up the body; the last option wins, as it does in curl.
#[derive(Clone, Copy)]
enum Sends {
    Form,
    Json,
    Multipart,
    Upload,
}

impl Curl {
    /// Reads the words after `--`: `curl` and its arguments, or all of them as one quoted text.
    pub(super) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let split;
        let words = match words {
            [one] => {
                split =
                    shell_words::split(one).context("the curl command line has an open quote")?;
                split.as_slice()
            }
            several => several,
        };
        let program = words.first().map(String::as_str).unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default();
        ensure!(
            name == "curl",
            "{program:?} stands where `curl` is expected; write `-- curl …` after the other options"
        );
        let mut reading = Reading::default();
        let mut rest = words.iter().skip(1).map(String::as_str);
        while let Some(word) = rest.next() {
            reading.word(word, &mut rest)?;
        }
        reading.request()
    }
}

impl Reading {
    fn word<'w>(
        &mut self,
        word: &'w str,
        rest: &mut impl Iterator<Item = &'w str>,
    ) -> anyhow::Result<()> {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            return self.long(long, rest);
        }
        let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
            self.urls.push(word.to_owned());
            return Ok(());
        };
        let mut letters = cluster.chars();
        while let Some(letter) = letters.next() {
            if let Some(long) = options::short_with_value(letter) {
                // `-XPOST` and `-X POST` are the same.
                let value = match letters.as_str() {
                    "" => rest
                        .next()
                        .with_context(|| format!("the curl option -{letter} has no value"))?,
                    joined => joined,
                };
                return self.valued(long, value);
            }
            let long = options::short_flag(letter);
            self.flag(long.with_context(|| unknown(&format!("-{letter}")))?)?;
        }
        Ok(())
    }

    fn long<'w>(
        &mut self,
        long: &'w str,
        rest: &mut impl Iterator<Item = &'w str>,
    ) -> anyhow::Result<()> {
        if options::is_flag(long) {
            return self.flag(long);
        }
        let (name, joined) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        ensure!(
            options::takes_value(name),
            "{}",
            unknown(&format!("--{name}"))
        );
        let value = joined.or_else(|| rest.next());
        self.valued(
            name,
            value.with_context(|| format!("the curl option --{name} has no value"))?,
        )
    }

    fn flag(&mut self, long: &str) -> anyhow::Result<()> {
        match long {
            "get" => self.data_in_query = true,
            "head" => self.head = true,
            "path-as-is" => self.path_as_is = true,
            "globoff" => self.takes_globs_literally = true,
            "next" => {
                bail!("the curl command line asks twice (--next); explain one request at a time")
            }
            "location" | "location-trusted" => self.notes.push(
                "redirects are not followed: each request that they lead to is decided by itself"
                    .to_owned(),
            ),
            _of_no_meaning_here => {}
        }
        Ok(())
    }

    fn valued(&mut self, long: &str, value: &str) -> anyhow::Result<()> {
        match long {
            "request" => self.method = Some(value.to_owned()),
            "url" => self.urls.push(value.to_owned()),
            "header" => self.header(value),
            "user-agent" => self.set("user-agent", value),
            "referer" => self.set("referer", value),
            "cookie" => self.set("cookie", value),
            "range" => self.set("range", &format!("bytes={value}")),
            // SECURITY: a policy may read that there is one; nobody needs to see which.
            "user" => self.set("authorization", "Basic [redacted]"),
            "oauth2-bearer" => self.set("authorization", "Bearer [redacted]"),
            "data" | "data-ascii" | "data-binary" | "data-raw" | "data-urlencode" => {
                self.body(long, value);
            }
            "url-query" => self.query.push(value.to_owned()),
            "json" => {
                self.sends = Some(Sends::Json);
                self.set("content-type", "application/json");
                self.set("accept", "application/json");
            }
            "form" | "form-string" => self.sends = Some(Sends::Multipart),
            "upload-file" => self.sends = Some(Sends::Upload),
            "config" | "variable" => self
                .notes
                .push(format!("--{long} is not read; write its options here")),
            "request-target" => bail!(
                "the curl option --request-target is not understood; name the path with --path"
            ),
            _of_no_meaning_here => {}
        }
        Ok(())
    }

    fn body(&mut self, long: &str, value: &str) {
        self.sends = Some(Sends::Form);
        if long != "data-raw" && value.starts_with('@') {
            self.notes.push(format!("the file of --{long} is not read"));
            return;
        }
        self.data.push(value.to_owned());
    }

    /// `Name: value`; `Name;` has an empty value, `Name:` takes a header of curl's own away.
    fn header(&mut self, line: &str) {
        if line.starts_with('@') {
            self.notes
                .push("the file of --header is not read".to_owned());
        } else if let Some((name, value)) = line.split_once(':') {
            if !value.trim().is_empty() {
                let header = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
                self.headers.push(header);
            }
        } else if let Some(name) = line.strip_suffix(';') {
            self.headers
                .push((name.to_ascii_lowercase(), String::new()));
        }
    }

    /// A header that `-H` overrides.
    fn set(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn request(mut self) -> anyhow::Result<Curl> {
        let mut url = match self.urls.as_slice() {
            [] => bail!("the curl command line names no URL"),
            [url] => url.clone(),
            [_, second, ..] => {
                bail!(
                    "the curl command line names a second URL, {second:?}; explain one request at a time"
                )
            }
        };
        ensure!(
            self.takes_globs_literally || !is_glob(&url),
            "curl makes several URLs of {url:?}; write one of them, or -g if the brackets are meant"
        );
        let data = if self.data_in_query {
            self.data.as_slice()
        } else {
            &[]
        };
        let query: Vec<&str> = data.iter().chain(&self.query).map(String::as_str).collect();
        if !query.is_empty() {
            let before = url.split('#').next().unwrap_or_default();
            let separator = if before.contains('?') { '&' } else { '?' };
            url = format!("{before}{separator}{}", query.join("&"));
        }
        let method = self
            .method
            .take()
            .unwrap_or_else(|| self.implied_method().to_owned());
        if matches!(self.sends, Some(Sends::Form)) && !self.data_in_query {
            self.unless_set("content-type", "application/x-www-form-urlencoded");
        }
        if matches!(self.sends, Some(Sends::Multipart)) {
            self.unless_set("content-type", "multipart/form-data");
        }
        self.unless_set("accept", "*/*");
        Ok(Curl {
            method,
            url,
            path_as_is: self.path_as_is,
            headers: self.headers,
            notes: self.notes,
        })
    }

    const fn implied_method(&self) -> &'static str {
        match self.sends {
            _ if self.head => "HEAD",
            Some(Sends::Form) if self.data_in_query => "GET",
            Some(Sends::Form | Sends::Json | Sends::Multipart) => "POST",
            Some(Sends::Upload) => "PUT",
            None => "GET",
        }
    }

    fn unless_set(&mut self, name: &str, value: &str) {
        if !self.headers.iter().any(|(set, _)| set == name) {
            self.set(name, value);
        }
    }
}

/// Whether curl reads a set or a range in a URL. The brackets of an IPv6 address are neither.
fn is_glob(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(ends).unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let ranges = target.contains(['[', ']']) || (host.contains('[') && !host.starts_with('['));
    ranges || url.contains(['{', '}'])
}

fn unknown(option: &str) -> String {
    format!(
        "the curl option {option} is not known here; leave it out if it does not change what is asked"
    )
}
