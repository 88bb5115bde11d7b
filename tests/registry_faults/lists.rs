//! Lists that come in pages: where the next page is asked for, and what has an end.

use super::*;

/// `{"tags":[FIRST..FIRST+N]}`
fn page(first: usize, n: usize) -> Vec<u8> {
    let tags: Vec<_> = (first..first + n).map(|n| format!("\"t{n}\"")).collect();
    format!(r#"{{"name":"x","tags":[{}]}}"#, tags.join(",")).into_bytes()
}

fn tags(c: &Client, s: &Server, limit: Option<usize>) -> Result<Vec<String>, Error> {
    c.tags(&image(s), limit)
}

fn paths(s: &Server) -> Vec<String> {
    s.asked().into_iter().map(|a| a.path).collect()
}

#[test]
fn pages_are_followed_to_their_end() {
    let s = Server::start(|a, out| match a.path.as_str() {
        "/v2/some/image/tags/list?n=1000" => out.reply(
            200,
            &[(
                "Link",
                "</v2/some/image/tags/list?last=t1&n=2>; rel=\"next\"",
            )],
            &page(0, 2),
        ),
        "/v2/some/image/tags/list?last=t1&n=2" => {
            out.reply(200, &[("Link", "<list?last=t3>; rel=next")], &page(2, 2))
        }
        "/v2/some/image/tags/list?last=t3" => out.reply(200, &[], &page(4, 1)),
        _ => out.reply(404, &[], b""),
    });
    assert_eq!(
        tags(&client(), &s, None).unwrap(),
        ["t0", "t1", "t2", "t3", "t4"]
    );
    assert_eq!(s.asked().len(), 3);
    // No more is asked for than is wanted, nor kept.
    let s = Server::start(|_, out| out.reply(200, &[("Link", "</v2/x>; rel=next")], &page(0, 5)));
    assert_eq!(tags(&client(), &s, Some(2)).unwrap(), ["t0", "t1"]);
    assert_eq!(paths(&s), ["/v2/some/image/tags/list?n=2"]);
    let s = Server::start(|_, out| out.reply(200, &[], br#"{"name":"x","tags":null}"#));
    assert_eq!(tags(&client(), &s, None).unwrap(), Vec::<String>::new());
}

#[test]
fn a_link_to_another_host_is_asked_for_here() {
    let away = Server::start(|_, out| out.reply(200, &[], &page(9, 1)));
    let link = format!(
        "<{}>; rel=\"next\"",
        away.url("/v2/some/image/tags/list?last=t0")
    );
    let s = Server::start(move |a, out| match a.header("authorization") {
        Some(BASIC) if a.path.contains("last=") => out.reply(200, &[], &page(1, 1)),
        Some(BASIC) => out.reply(200, &[("Link", &link)], &page(0, 1)),
        _ => out.reply(401, &[("WWW-Authenticate", "Basic realm=x")], b""),
    });
    assert_eq!(tags(&with_login(&s), &s, None).unwrap(), ["t0", "t1"]);
    assert_eq!(away.connections(), 0);
}

#[test]
fn a_list_without_end_comes_to_one() {
    let s = Server::start(|a, out| {
        let link = format!("</v2/some/image/tags/list?last={}>; rel=next", a.index);
        out.reply(200, &[("Link", &link)], &page(0, 1))
    });
    let e = tags(&client(), &s, None).unwrap_err();
    assert!(matches!(e, Error::ListTooLong { .. }), "{e:?}");
    assert!(e.hint().unwrap().contains("--limit"));
    assert_eq!(s.asked().len(), 1000);
    let s =
        Server::start(|_, out| out.reply(200, &[("Link", "</v2/x>; rel=next")], &page(0, 60_000)));
    let e = tags(&client(), &s, None).unwrap_err();
    assert!(matches!(e, Error::ListTooLong { .. }), "{e:?}");
    assert_eq!(s.asked().len(), 4);
}

#[test]
fn what_is_no_list_is_an_error() {
    for body in ["", "[]x", "<html>", r#"{"tags":3}"#, r#"{"tags":[1]}"#] {
        let s = Server::start(move |_, out| out.reply(200, &[], body.as_bytes()));
        let e = tags(&client(), &s, None).unwrap_err();
        assert!(matches!(e, Error::NoList { .. }), "{body}: {e:?}");
    }
    let s = Server::start(|_, out| {
        out.head(200, &[("Content-Length", "5000000")]);
        out.raw(&[b' '; 5000]);
        After::Hang
    });
    let e = tags(&client(), &s, None).unwrap_err();
    assert!(matches!(e, Error::ReplyTooLarge { .. }), "{e:?}");
    let s = Server::start(|_, out| out.reply(200, &[("Link", "<ftp://x>; rel=next")], &page(0, 1)));
    let e = tags(&client(), &s, None).unwrap_err();
    assert!(
        matches!(e, Error::BadHeader { header: "link", .. }),
        "{e:?}"
    );
    let s = Server::start(|_, out| out.reply(404, &[], b""));
    let e = tags(&client(), &s, None).unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e:?}");
}

#[test]
fn a_search_is_asked_and_understood() {
    let s = Server::start(|a, out| {
        assert_eq!(a.path, "/v1/search?q=a%20b%26c&n=2");
        out.reply(
            200,
            &[("Content-Type", "application/json")],
            br#"{"num_results":3,"results":[
                {"name":"one","description":"d","star_count":7,"is_official":true},
                {"name":"two","description":null},{"name":"three"}]}"#,
        )
    });
    let hits = client().search(&s.name(), "a b&c", 2).unwrap();
    assert_eq!(hits.len(), 2);
    assert_eq!(
        (hits[0].name.as_str(), hits[0].stars, hits[0].official),
        ("one", 7, true)
    );
    assert_eq!((hits[1].description.as_str(), hits[1].stars), ("", 0));
}

#[test]
fn without_a_search_the_catalog_is_looked_through() {
    for answer in [(404, ""), (401, ""), (200, "text/html")] {
        let s = Server::start(move |a, out| match a.path.as_str() {
            "/v2/_catalog?n=1000" => out.reply(
                200,
                &[("Link", "</v2/_catalog?last=b>; rel=next")],
                br#"{"repositories":["a/tool","b/other"]}"#,
            ),
            "/v2/_catalog?last=b" => {
                out.reply(200, &[], br#"{"repositories":["c/tools","d/tool","e"]}"#)
            }
            _ => out.reply(answer.0, &[("Content-Type", answer.1)], b"<p>"),
        });
        let found = |term: &str, limit| {
            let hits = client().search(&s.name(), term, limit).unwrap();
            hits.into_iter().map(|h| h.name).collect::<Vec<_>>()
        };
        assert_eq!(
            found("tool", 25),
            ["a/tool", "c/tools", "d/tool"],
            "{answer:?}"
        );
        assert_eq!(found("tool", 2), ["a/tool", "c/tools"]);
        assert_eq!(found("", 25).len(), 5);
    }
    // A registry that is down is no registry without a search.
    let s = Server::start(|_, out| out.reply(500, &[], b""));
    let e = client().search(&s.name(), "x", 5).unwrap_err();
    assert!(matches!(e, Error::Server { .. }), "{e:?}");
}
