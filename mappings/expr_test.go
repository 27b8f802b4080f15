package mappings

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.FixedZone("CST", 8*3600))

// evaluate runs an expression on a payload, with the captures device = pico and room = lab.
func evaluate(t testing.TB, src, payload string) (string, error) {
	t.Helper()
	e, err := Scope{Bridge: "lab1", Names: []string{"device", "room"}}.Expr(src, WantAny)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	r := &reading{bridge: "lab1"}
	r.start("iot/pico/lab", []byte(payload), nil, noon)
	r.values = append(r.values, "pico", "lab", "iot/pico/lab")
	v, err := e.value(r)
	if err != nil {
		return "", err
	}
	kinds := map[ValueKind]string{NoValue: "nil", Raw: "raw ", Text: "text ", Int: "int ", Float: "float ", Bool: "bool ", JSON: "json "}
	return kinds[v.Kind] + v.String(), nil
}

func TestExprValue(t *testing.T) {
	for _, c := range []struct{ src, payload, want string }{
		{`after(text, "temperature=")`, "Pico W temperature=27", "int 27"},
		{`after(text, "temperature=") * 1.8 + 32`, "Pico W temperature=27", "float 80.6"},
		{`after(text, "")`, "27.5 °C", "float 27.5"},
		{`after(text, "alive ")`, "ESP32 alive 3", "int 3"},
		{`after(text, "alive ")`, "ESP32 connected", "nil"},
		{`after(text, "alive ") * 2`, "ESP32 connected", "nil"},
		{`after(text, "溫度")`, "溫度：27.5", "float 27.5"},
		{`after(text, "溫度:")`, "溫度：27.5", "float 27.5"},
		{`number(text)`, " 27 \r\n", "int 27"},
		{`number(text)`, "27.50\x00", "float 27.5"},
		{`number(text)`, "２７．５", "float 27.5"},
		{`number(text)`, "9007199254740993", "int 9007199254740993"},
		{`number(text)`, "1e3", "float 1000"},
		{`text`, "ON", "text ON"},
		{`text == "ON" ? 1 : 0`, "ON", "int 1"},
		{`text == "ON"`, "ON", "bool true"},
		{`json.temperature ?? json.temp`, `{"temp": 21.5}`, "float 21.5"},
		{`json.temperature ?? json.temp`, `{"temperature": 20, "temp": 21.5}`, "int 20"},
		{`json.temperature`, `{"humidity": 20}`, "nil"},
		{`json.a.b.c`, `{"a": 1}`, "nil"},
		{`json.a?.b?.c`, `{"a": {}}`, "nil"},
		{`json.a * 2`, `{}`, "nil"},
		{`json.a > 2`, `{}`, "nil"},
		{`json.a > 2 ? "hot" : "cold"`, `{}`, "nil"},
		{`json.a > 2 ? "hot" : "cold"`, `{"a":3}`, "text hot"},
		{`upper(json.a)`, `{}`, "nil"},
		{`json.a != nil and json.a > 1`, `{}`, "bool false"},
		{`(json.a ?? 5) + 1`, `{}`, "int 6"},
		{`json["a b"][0].c`, `{"a b":[{"c":true}]}`, "bool true"},
		{`json.list[-1]`, `{"list":[1,2,3]}`, "int 3"},
		{`json.list[-9]`, `{"list":[1,2,3]}`, "nil"},
		{`json.list[9]`, `{"list":[1,2,3]}`, "nil"},
		{`json[device]`, `{"pico":7}`, "int 7"},
		{`json`, ` { "b" : 1.50 , "a" : [ 1 , 2 ] } `, `json {"b":1.50,"a":[1,2]}`},
		{`json.o`, `{"o":{"z":1,"a":"<"}}`, `json {"z":1,"a":"<"}`},
		{`json`, `27`, "int 27"},
		{`json`, "\uFEFF27", "int 27"},
		{`json`, `null`, "nil"},
		{`json.ts`, `{"ts":1795000000123}`, "int 1795000000123"},
		{`json.ts * 1000`, `{"ts":1795000000123}`, "int 1795000000123000"},
		{`json.a + json.b`, `{"a":9223372036854775807,"b":1}`, "float 9223372036854776000"},
		{`json.溫度`, `{"溫度":27}`, "int 27"},
		{`sum(map(json.list, #.v)) / len(json.list)`, `{"list":[{"v":1},{"v":2}]}`, "float 1.5"},
		{`{"t": number(text), "d": device}`, `27`, `json {"d":"pico","t":27}`},
		{`device + "-" + room + "@" + bridge`, "", "text pico-lab@lab1"},
		{`topic`, "", "text iot/pico/lab"},
		{`time`, "", "text 2026-11-20T12:00:00+08:00"},
		{`now()`, "", "text 2026-11-20T12:00:00+08:00"},
		{"match(text, `T=([0-9.]+)`)", "T=27.5 H=60", "text 27.5"},
		{"number(match(text, `H=([0-9.]+)`))", "T=27.5 H=60", "int 60"},
		{"match(text, `^[0-9]+`)", "27C", "text 27"},
		{"match(text, `x`)", "27C", "nil"},
		{"number(match(text, `x`)) + 1", "27C", "nil"},
		{`round(json.t, 1)`, `{"t":22.449999}`, "float 22.4"},
		{`round(json.t, 2)`, `{"t":2.675}`, "float 2.68"},
		{`round(json.t)`, `{"t":-0.5}`, "float -1"},
		{`round(json.t)`, `{"t":99.5}`, "float 100"},
		{`round(json.t)`, `{}`, "nil"},
		{`round(number(text), 1)`, `21.25`, "float 21.3"},
		{`number(json.on)`, `{"on":true}`, "int 1"},
		{`json.msg contains "x"`, `{}`, "bool false"},
		{`json.n == 1`, `{"n":1.0}`, "bool true"},
		{`json.n == "1"`, `{"n":1}`, "bool false"},
		{`json.a + "x"`, `{"a":"y"}`, "text yx"},
		{`let t = after(text, "t="); t == nil ? "none" : t`, `x`, "text none"},
	} {
		got, err := evaluate(t, c.src, c.payload)
		if err != nil || got != c.want {
			t.Errorf("%s on %q: got %q, %v; want %q", c.src, c.payload, got, err, c.want)
		}
	}
}

func TestExprProblem(t *testing.T) {
	for _, c := range []struct{ src, payload, want string }{
		{`number(text)`, "27.5 °C", `number(text): number() wants a text that is one number and nothing else, such as 27.5, and got "27.5 °C"; write after(text, "")`},
		{`number(text)`, "Pico W temperature=27", `number(text): number() wants a text that is one number and nothing else, such as 27.5, and got "Pico W temperature=27"; write after(text, "temperature=")`},
		{`number(text)`, "溫度：27.5", `write after(text, "溫度:")`},
		{`number(text)`, `{"temp":27}`, `write json.temp`},
		{`number(text)`, "ON", `and got "ON"`},
		{`number(text)`, "1,5", `write number(replace(text, ",", "."))`},
		{`number(text)`, "nan", `and got "nan"`},
		{`number(text)`, "", `and got ""`},
		{`number(json.t)`, `{"t":"warm"}`, `and got "warm"; the payload is "{"t":"warm"}"`},
		{`number(text)`, strings.Repeat("x", 61), `and got "` + strings.Repeat("x", 60) + `…"`},
		{`json.a`, "ESP32 connected", `json.a: the payload is not JSON; the payload is "ESP32 connected"`},
		{`json.a`, `{"a":1`, `the payload is not JSON`},
		{`json.a`, ``, `the payload is empty, not JSON`},
		{`json.a`, strings.Repeat("[", 100000), `nested too deeply`},
		{`text`, "\xff\xfe", `the payload is not UTF-8 text`},
		{`json.a`, "\xff\xfe", `the payload is not UTF-8 text`},
		{`json.a * 2`, `{"a":"27"}`, `* does not work on the text "27" and the number 2; number(...) makes a number of a text; the payload is "{"a":"27"}"`},
		{`json.a > 2`, `{"a":"27"}`, `> does not work on the text "27" and the number 2; number(...)`},
		{`json.a + "x"`, `{"a":1}`, `string(...) makes a text`},
		{`1 / json.a`, `{"a":0}`, `infinite`},
		{`json.a / json.a`, `{"a":0}`, `NaN`},
		{`json.a % 0`, `{"a":1}`, `1 % 0 has no result`},
		{`round(json.a)`, `{"a":"x"}`, `round() wants a number, not the text "x"`},
		{`round(json.a, 99)`, `{"a":1}`, `0 to 15 digits`},
		{`json.a`, `{"a":1e999}`, `infinite`},
		{`json.a ? 1 : 0`, `{"a":1}`, `a number, not true or false`},
		{`after(json.a, "x")`, `{"a":1}`, `after() looks into a text, not the number 1`},
	} {
		got, err := evaluate(t, c.src, c.payload)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s on %q: got %q, error %v; want %q", c.src, c.payload, got, err, c.want)
		}
	}
}

func TestExprSyntax(t *testing.T) {
	for _, c := range []struct {
		src    string
		want   Want
		offset int
		text   string
		hint   string
	}{
		{``, WantAny, 0, "the expression is empty", ""},
		{`text = "ON"`, WantBool, 5, "= is not a comparison", "write == to compare"},
		{`text == “ON”`, WantBool, 8, "the full-width sign “ is not read", `write the ASCII "`},
		{`text ＝＝ "ON"`, WantBool, 5, "the full-width sign ＝", `write the ASCII =`},
		{`after(text， "a")`, WantAny, 10, "the full-width sign ，", `write the ASCII ,`},
		{`jsn.temp`, WantAny, 0, "jsn is not known here", "did you mean json?"},
		{`devise`, WantAny, 0, "devise is not known here", "did you mean device?"},
		{`1 + temperature`, WantAny, 4, "temperature is not known here", `write json.temperature for a key of JSON, "temperature" in quotes for a text`},
		{`"溫度" + temperature`, WantAny, 11, "temperature is not known here", ""},
		{`nubmer(text)`, WantAny, 0, "nubmer is not known here", "did you mean number?"},
		{`upcase(text)`, WantAny, 0, "upcase is not known here", ""},
		{`text * 2`, WantAny, 5, "* does not work on a text and a number", "number(text) makes a number"},
		{`after(text)`, WantAny, 0, "after() has the wrong number of arguments", `write after(text, "temperature=")`},
		{`after(text, 5)`, WantAny, 12, "after() takes a text and a label", `after(text, "temperature=")`},
		{"match(text, `(`)", WantAny, 12, "error parsing regexp", ""},
		{`match(text, "\d")`, WantAny, 14, "a backslash in quotes must be doubled", "backquotes"},
		{`text == "ON`, WantAny, 8, "a quote is opened and not closed", ""},
		{`(1 + 2`, WantAny, 6, "the expression ends too early", ""},
		{`1 +`, WantAny, 3, "the expression ends too early", ""},
		{`1 2`, WantAny, 2, "2 is not expected here", "an operator"},
		{`number`, WantAny, 0, "a function needs its arguments", ""},
		{`text`, WantBool, 0, "a condition must be true or false", "compare"},
		{`text == "ON"`, WantTime, 0, "a time must be", ""},
		{`json.a ?? 2 * 3`, WantAny, 12, "?? needs brackets", ""},
		{`$env`, WantAny, 0, "$env is not a name here", ""},
		{`duration("5s")`, WantAny, 0, "a duration is no value", ".Seconds()"},
	} {
		_, err := Scope{Bridge: "lab1", Names: []string{"device"}}.Expr(c.src, c.want)
		e, ok := err.(*SyntaxError)
		if !ok {
			t.Errorf("%s: error %v, want a *SyntaxError", c.src, err)
			continue
		}
		if e.Offset != c.offset || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) || e.Source != c.src {
			t.Errorf("%s: got %d %q, hint %q; want %d %q %q", c.src, e.Offset, e.Text, e.Hint, c.offset, c.text, c.hint)
		}
	}
}
