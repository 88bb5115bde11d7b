use serde_json::json;

use super::*;

fn run(template: &str) -> Result<String, TemplateError> {
    let record = json!({
        "ID": "abc", "Size": 7, "Tags": ["a", "b"], "None": [],
        "Config": {"Labels": {"x.y": "z"}, "Cmd": ["sh", "-c"]},
        "Evil": "\u{1b}[31m\u{202e}",
    });
    Template::parse(template)?.render(&record)
}

#[test]
fn what_people_write() {
    for (template, want) in [
        ("{{.ID}}\\t{{ .Size }}", "abc\t7"),
        (
            "{{.}}",
            "map[Config:map[Cmd:[sh -c] Labels:map[x.y:z]] Evil:\\u{1b}[31m\\u{202e} ID:abc None:[] Size:7 Tags:[a b]]",
        ),
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
    ] {
        assert!(run(bad).is_err(), "{bad} gives {:?}", run(bad));
    }
    let deep = "{{if .ID}}".repeat(100_000);
    assert_eq!(run(&deep), Err(TemplateError::Depth));
}

proptest::proptest! {
    #[test]
    fn never_panics(s in "(\\{\\{|\\}\\}|[.|`\" a-zA-Z0-9-]|end|else|if |range |json ){0,20}") {
        let _ = run(&s);
    }
}
