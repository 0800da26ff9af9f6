use super::Curl;

fn parse(line: &str) -> Curl {
    Curl::parse(&[line.to_owned()]).unwrap_or_else(|error| panic!("{line}: {error:#}"))
}

fn refused(line: &str) -> String {
    match Curl::parse(&[line.to_owned()]) {
        Ok(read) => panic!("{line}: {read:?}"),
        Err(error) => error.to_string(),
    }
}

fn header<'c>(curl: &'c Curl, name: &str) -> Vec<&'c str> {
    let named = curl.headers.iter().filter(|(known, _)| known == name);
    named.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_method_is_curls_own_unless_it_is_named() {
    for (line, method) in [
        ("curl https://a.test/", "GET"),
        ("curl -d a=b https://a.test/", "POST"),
        ("curl --data-raw '{}' https://a.test/", "POST"),
        ("curl --json '{}' https://a.test/", "POST"),
        ("curl -F file=@x https://a.test/", "POST"),
        ("curl -T file https://a.test/", "PUT"),
        ("curl -I https://a.test/", "HEAD"),
        ("curl -G -d a=b https://a.test/", "GET"),
        ("curl -X DELETE https://a.test/", "DELETE"),
        ("curl -XPATCH -d a https://a.test/", "PATCH"),
        ("curl --request PUT --data a https://a.test/", "PUT"),
        ("curl --request=PUT https://a.test/", "PUT"),
        ("curl -sSfLX OPTIONS https://a.test/", "OPTIONS"),
    ] {
        assert_eq!(parse(line).method, method, "{line}");
    }
}

#[test]
fn words_and_one_quoted_text_are_the_same() {
    let line = r#"curl -H "Accept: text/plain" 'https://a.test/x y?q=1'"#;
    let words: Vec<String> = ["curl", "-H", "Accept: text/plain", "https://a.test/x y?q=1"]
        .map(str::to_owned)
        .into();
    let read = Curl::parse(&words).unwrap();
    assert_eq!(read, parse(line));
    assert_eq!(read.url, "https://a.test/x y?q=1");
    assert_eq!(header(&read, "accept"), ["text/plain"]);
    // As it is copied from a browser or a page.
    let broken = "curl 'https://a.test/' \\\n  -H 'X-A: 1' \\\n  --compressed";
    assert_eq!(header(&parse(broken), "x-a"), ["1"]);
}

#[test]
fn options_that_do_not_change_the_request_are_passed_over_with_their_values() {
    let line = "curl -sS -o out.json -w '%{http_code}' --max-time 5 -x http://127.0.0.1:10000 \
                --proxy-header 'X-P: 1' --cacert ca.pem --resolve a.test:443:127.0.0.1 -k \
                --no-buffer --retry 3 -u user:secret https://a.test/v1";
    let read = parse(line);
    assert_eq!(
        (read.method.as_str(), read.url.as_str()),
        ("GET", "https://a.test/v1")
    );
    assert_eq!(header(&read, "x-p"), [] as [&str; 0]);
    // The password is not kept.
    assert_eq!(header(&read, "authorization"), ["Basic [redacted]"]);
    assert!(!format!("{read:?}").contains("secret"));
}

#[test]
fn headers_are_read_as_curl_sends_them() {
    let read = parse(
        "curl -H 'X-Empty;' -H 'Accept:' -HX-Joined:1 -A agent/1 -e https://from.test/ -b a=b \
         -H 'X-Twice: 1' -H 'X-Twice: 2' --json {} https://a.test/",
    );
    assert_eq!(header(&read, "x-empty"), [""]);
    assert_eq!(header(&read, "x-joined"), ["1"]);
    assert_eq!(header(&read, "x-twice"), ["1", "2"]);
    assert_eq!(header(&read, "user-agent"), ["agent/1"]);
    assert_eq!(header(&read, "referer"), ["https://from.test/"]);
    assert_eq!(header(&read, "cookie"), ["a=b"]);
    assert_eq!(header(&read, "content-type"), ["application/json"]);
    let form = parse("curl -d a=b https://a.test/");
    assert_eq!(
        header(&form, "content-type"),
        ["application/x-www-form-urlencoded"]
    );
    assert_eq!(header(&form, "accept"), ["*/*"]);
}

#[test]
fn data_goes_into_the_query_where_curl_puts_it_there() {
    assert_eq!(
        parse("curl -G -d a=1 -d b=2 https://a.test/x").url,
        "https://a.test/x?a=1&b=2"
    );
    assert_eq!(
        parse("curl -Gda=1 'https://a.test/x?q=0#f'").url,
        "https://a.test/x?q=0&a=1"
    );
    assert_eq!(
        parse("curl --url-query a=1 https://a.test/x").url,
        "https://a.test/x?a=1"
    );
}

#[test]
fn what_was_not_read_is_told() {
    for (line, told) in [
        ("curl -d @body.json https://a.test/", "--data"),
        ("curl -H @headers https://a.test/", "--header"),
        ("curl -K curlrc https://a.test/", "--config"),
        ("curl -L https://a.test/", "redirects"),
    ] {
        let notes = parse(line).notes;
        assert!(
            notes.len() == 1 && notes[0].contains(told),
            "{line}: {notes:?}"
        );
    }
    assert_eq!(
        parse("curl --data-raw @text https://a.test/").notes,
        [] as [&str; 0]
    );
}

#[test]
fn what_cannot_be_one_request_is_refused_with_the_way_out() {
    for (line, told) in [
        ("curl", "no URL"),
        ("wget https://a.test/", "curl"),
        ("curl https://a.test/ https://b.test/", "https://b.test/"),
        ("curl https://a.test/ --next https://b.test/", "--next"),
        ("curl --frobnicate https://a.test/", "--frobnicate"),
        ("curl -? https://a.test/", "-?"),
        ("curl https://a.test/ -X", "-X"),
        ("curl https://a.test/ --header", "--header"),
        ("curl 'https://a.test/", "quote"),
    ] {
        let error = refused(line);
        assert!(error.contains(told), "{line}: {error}");
    }
}

#[test]
fn a_url_that_means_several_is_refused_unless_globs_are_off() {
    for line in [
        "curl 'https://a.test/{x,y}'",
        "curl 'https://a.test/x[1-3]'",
        "curl 'https://{a,b}.test/'",
        "curl 'https://a[1-3].test/'",
        "curl 'https://a.test/?q=[1-3]'",
    ] {
        let refused = Curl::parse(&[line.to_owned()]).expect_err(line).to_string();
        assert!(
            refused.contains("several URLs") && refused.contains("-g"),
            "{refused}"
        );
    }
    let off = parse("curl -g 'https://a.test/{x,y}'");
    assert_eq!(off.url, "https://a.test/{x,y}");
    assert_eq!(
        parse("curl 'https://[::1]:8443/x'").url,
        "https://[::1]:8443/x"
    );
    let data = parse("curl -G -d 'q={x,y}' https://a.test/");
    assert_eq!(data.url, "https://a.test/?q={x,y}");
}
