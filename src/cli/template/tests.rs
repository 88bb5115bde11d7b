use serde_json::json;

use super::*;

fn run(template: &str) -> Result<String, TemplateError> {
    Template::parse(template)?.render(&record())
}

fn record() -> Value {
    json!({
        "ID": "abc", "Size": 7, "Labels": {}, "List": [{"A": "b"}],
        "Map": {"80/tcp": [{"HostPort": "8080"}]}, "Tags": ["a", "b"], "None": [],
        "Config": {"Labels": {"x.y": "z"}, "Cmd": ["sh", "-c"]},
        "Evil": "\u{1b}[31m\u{202e}",
    })
}

#[test]
fn what_people_write() {
    for (template, want) in [
        ("{{.ID}}\\t{{ .Size }}", "abc\t7"),
        ("{{.Config}}", "map[Cmd:[sh -c] Labels:map[x.y:z]]"),
        ("{{.Config.Cmd}}", "[sh -c]"),
        ("{{json .Config.Cmd}}", r#"["sh","-c"]"#),
        (
            "{{.Config | json}}",
            r#"{"Cmd":["sh","-c"],"Labels":{"x.y":"z"}}"#,
        ),
        (r#"{{index .Config.Labels "x.y"}}"#, "z"),
        (r#"{{index .Config.Labels "none"}}"#, ""),
        ("{{index .Tags 1}}", "b"),
        (r#"{{join .Tags ", "}}"#, "a, b"),
        ("{{range .Tags}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        (
            "{{if .None}}x{{else}}y{{end}}{{if eq .ID \"abc\"}}!{{end}}",
            "y!",
        ),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{len .Tags}} {{upper .ID}} {{.Config.User}}", "2 ABC "),
        ("{{ `}}` }}", "}}"),
        ("plain", "plain"),
        ("{{.Evil}}", "\\u{1b}[31m\\u{202e}"),
        ("{{json .Evil}}", "\"\\u001b[31m\\u202e\""),
    ] {
        assert_eq!(run(template).as_deref(), Ok(want), "{template}");
    }
}

/// The right-hand sides are what docker or podman print, or Go's documentation says.
#[test]
fn what_scripts_write() {
    for (template, want) in [
        ("{{/* nothing */}}{{- /* }} */ -}} x", "x"),
        ("{{$x := .ID}}{{$x}}-{{$.Size}}", "abc-7"),
        ("{{$n := 0}}{{range .Tags}}{{$n = len .}}{{end}}{{$n}}", "1"),
        (
            "{{range $i, $t := .Tags}}{{if $i}},{{end}}{{$t}}{{end}}",
            "a,b",
        ),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
            "x.y=z;",
        ),
        (
            "{{range .Tags}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}",
            "a",
        ),
        (
            "{{range .Tags}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}",
            "b",
        ),
        (
            "{{with .Config}}{{.Cmd}}{{end}}{{with .None}}x{{else}}-{{end}}",
            "[sh -c]-",
        ),
        ("{{if .None}}a{{else if .ID}}b{{else}}c{{end}}", "b"),
        (
            "{{if and .ID (not .None)}}y{{end}}{{if or .None .Nope.X}}n{{end}}",
            "!",
        ),
        (
            "{{if and .ID (not .None)}}y{{end}}{{if or .None .ID}}z{{end}}",
            "yz",
        ),
        ("{{(index .Config.Cmd 0)}} {{index .List 0 \"A\"}}", "sh b"),
        (
            "{{(index .List 0).A}}{{(index (index .Map \"80/tcp\") 0).HostPort}}",
            "b8080",
        ),
        (r#"{{(index (index .Map "81/tcp") 0).HostPort}}"#, "!"),
        (r#"{{join .Tags "\n"}}|{{join .Tags `\n`}}"#, "a\nb|a\\nb"),
        (
            r#"{{println .ID .Size}}{{print .ID "x"}}{{print .Size .Size}}"#,
            "abc 7\nabcx7 7",
        ),
        (
            r#"{{printf "%s|%5s|%-5s|%q|%d|%03d|%v|%%" .ID .ID .ID .ID .Size .Size .Tags}}"#,
            "abc|  abc|abc  |\"abc\"|7|007|[a b]|%",
        ),
        (
            r#"{{printf "%.2f %5.1f %x %t" 1.5 .Size 255 true}}"#,
            "1.50   7.0 ff true",
        ),
        (r#"{{.ID | printf "%s-%s" "v"}}"#, "v-abc"),
        (
            r#"{{split "a,b" ","}} {{title "foo bar-baz"}} {{lower "ABC"}}"#,
            "[a b] Foo Bar-Baz abc",
        ),
        (r#"{{truncate .ID 2}}{{pad .ID 1 2}}|"#, "ab abc  |"),
        ("{{slice .ID 1 2}} {{slice .Tags 1}}", "b [b]"),
        (
            "{{eq .Size 7}} {{eq .ID \"x\" \"abc\"}} {{ne .ID \"x\"}} {{lt .Size 8}} {{ge .Size 8}}",
            "true true true true false",
        ),
        (
            "{{.size}} {{.Config.cmd}} {{.Config.Labels.x}}",
            "7 [sh -c] ",
        ),
        (r#"{{.Label "x"}}{{.Config.Label "x.y"}}"#, "z"),
        (r#"{{"\t"}}{{"\u00e9\x41"}}{{'a'}}"#, "\té\u{41}97"),
        ("{{if true}}{{nil | json}}{{end}}", "null"),
        (
            "{{.Evil | printf \"%s\"}}{{upper .Evil}}",
            "\\u{1b}[31m\\u{202e}\\U{1B}[31M\\U{202E}",
        ),
        ("{{slice .Evil 0 1}}", "\\u{1b}"),
        ("{{.Config.Cmd | join}}", "!"),
    ] {
        match run(template) {
            Ok(got) => assert_eq!(got, want, "{template}"),
            Err(e) => assert_eq!(want, "!", "{template}: {e}"),
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    for bad in [
        "{{",
        "{{}}",
        "{{.ID",
        "{{end}}",
        "{{else}}",
        "{{if .ID}}",
        "{{range .ID}}{{end}}",
        "{{nofunction .ID}}",
        "{{.a..b}}",
        "{{.ID | }}",
        "{{index .Tags 9}}",
        "{{index .Tags}}",
        "{{join .ID}}",
        "{{.ID .ID}}",
        "{{\"open}}",
        "{{.Nope}}",
        "{{$x}}",
        "{{$x = 1}}",
        "{{range .Tags}}{{$y := 1}}{{end}}{{$y}}",
        "{{break}}",
        "{{else if .ID}}",
        "{{if .ID}}{{else}}{{else}}{{end}}",
        "{{(.ID}}",
        "{{.ID)}}",
        "{{$a, $b := .Tags}}",
        "{{printf \"%99999d\" 1}}",
        "{{slice .ID 2 9}}",
        "{{lt .ID 1}}",
        "{{.ID \"x\"}}",
        "{{/* open }}",
    ] {
        assert!(run(bad).is_err(), "{bad} gives {:?}", run(bad));
    }
    let deep = "{{if .ID}}".repeat(100_000);
    assert_eq!(run(&deep), Err(TemplateError::Depth));
    let deep = format!("{{{{{}", "(".repeat(100_000));
    assert_eq!(run(&(deep + "}}")), Err(TemplateError::Depth));
    let deep = "{{if .None}}".to_owned() + &"{{else if .None}}".repeat(100_000);
    assert_eq!(run(&deep), Err(TemplateError::Depth));
}

proptest::proptest! {
    #[test]
    fn never_panics(s in "(\\{\\{|\\}\\}|[.|`\" a-zA-Z0-9-]|end|else|if |range |json |with |\\$x|:=|=|,|\\(|\\)|'|/\\*|\\*/|printf |index ){0,20}") {
        let _ = run(&s);
    }
}
