package mappings

import (
	"strings"
	"testing"
)

func TestNumberAfter(t *testing.T) {
	for _, c := range []struct{ text, label, want string }{
		{"temperature=27", "temperature=", "27"},
		{"temperature=27", "temperature", "27"},
		{"temperature = -3.5 C", "temperature", "-3.5"},
		{"temperature： −3.5", "temperature", "-3.5"},
		{"temperature＝２７．５", "temperature=", "27.5"},
		{"溫度：27.5 濕度：60", "濕度", "60"},
		{"溫度為27度", "溫度", "27"},
		{"temperature is 27", "temperature", "27"},
		{"temp=nan hum=40", "temp=", "no"},
		{"temp=,40", "temp=", "no"},
		{"temp=\nhum 40", "temp=", "no"},
		{"temp: {hum: 40}", "temp", "no"},
		{"temp sensor temp=27", "temp", "27"},
		{"temp 1 temp 2", "temp", "1"},
		{`{"temp":27.5,"hum":60}`, "temp", "27.5"},
		{`{"temp":"27.5"}`, "temp", "27.5"},
		{"ESP32 alive 3", "ESP32", "3"},
		{"sensor DS18B20 27", "sensor", "27"},
		{"from pico-2: 27", "from", "no"},
		{"from pico-2 27", "from", "27"},
		{"t=1e3", "t=", "1000"},
		{"t=27e", "t=", "27"},
		{"t=27.", "t=", "27"},
		{"t=.5", "t=", "0.5"},
		{"t=-.5", "t=", "-0.5"},
		{"t=- 5", "t=", "5"},
		{"t=+5", "t=", "5"},
		{"t=1e999", "t=", "no"},
		{"(27)", "", "27"},
		{"Pico W temperature=27", "", "27"},
		{"ESP32 alive 3", "", "3"},
		{"nothing", "", "no"},
		{"", "", "no"},
		{"", "x", "none"},
		{"temp=27", "Temp=", "none"},
	} {
		n, ok, found := numberAfter(c.text, c.label)
		got := formatNumber(n)
		switch {
		case !found:
			got = "none"
		case !ok:
			got = "no"
		}
		if got != c.want {
			t.Errorf("after(%q, %q) is %s, want %s", c.text, c.label, got, c.want)
		}
	}
}

// What is proposed must work.
func TestProposal(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"27.5 °C", `after(text, "")`},
		{"Pico W temperature=27", `after(text, "temperature=")`},
		{"ESP32 alive 3", `after(text, "alive ")`},
		{"溫度：27.5", `after(text, "溫度:")`},
		{"temp: -3 C", `after(text, "temp: ")`},
		{"a=x,b=5", `after(text, "b=")`},
		{`{"temperature": 5, "x": 6}`, "json.temperature"},
		{`{"a b": 5}`, `json["a b"]`},
		{"27,5", `number(replace(text, ",", "."))`},
		{"ON", ""},
		{"", ""},
	} {
		got := proposal(c.text)
		if got != c.want {
			t.Errorf("%q: proposed %s, want %s", c.text, got, c.want)
		}
		if got == "" {
			continue
		}
		if v, err := evaluate(t, got, c.text); err != nil || v == "nil" {
			t.Errorf("%q: %s gives %s, %v", c.text, got, v, err)
		}
	}
}

func TestRoundNumber(t *testing.T) {
	for _, c := range []struct {
		f      float64
		digits int
		want   float64
	}{
		{2.5, 0, 3},
		{-2.5, 0, -3},
		{0.5, 0, 1},
		{0.4999999, 0, 0},
		{2.675, 2, 2.68},
		{1.005, 2, 1.01},
		{9.99, 1, 10},
		{99.99, 1, 100},
		{1e15, 2, 1e15},
		{27, 3, 27},
		{22.449999, 1, 22.4},
		{-0.04, 1, 0},
		{1e-7, 2, 0},
	} {
		if got := roundNumber(c.f, c.digits); got != c.want {
			t.Errorf("round(%v, %d) is %v, want %v", c.f, c.digits, got, c.want)
		}
	}
}

func TestShown(t *testing.T) {
	for _, c := range []struct{ s, want string }{
		{"溫度 27", `"溫度 27"`},
		{"a\nb\x00\xff\t", `"a\nb\0\xff\t"`},
		{"\u200b", `"\u200b"`},
		{strings.Repeat("溫", 61), `"` + strings.Repeat("溫", 60) + `…"`},
	} {
		if got := shown(c.s); got != c.want {
			t.Errorf("%q is shown as %s, want %s", c.s, got, c.want)
		}
	}
}

// No expression may panic, or make a number that no cloud can take, whatever the payload.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		"Pico W temperature=27", "27.5 °C", `{"temperature":22.5,"list":[1,{"v":null}]}`, "溫度：27.5", "\xff", "[[[[", "１２．５", "-", "t=-.e5", `{"a":1e999}`,
	} {
		f.Add([]byte(s))
	}
	scope := Scope{Bridge: "lab1", Names: []string{"x"}}
	var exprs []*Expr
	for _, src := range []string{
		`number(text)`, `after(text, "t")`, `after(text, "")`, `json`, `json.temperature * 1.8 + 32`, `json.list[1].v`, `json.list[-1]`,
		`json[x] ?? json.a > 3`, "match(text, `t(.?)`)", `round(json.a, 2)`, `len(json)`, `json.a == json.b`, `json.a / json.b`, `upper(json.a)`,
		`map(json, {{"v": #}})`, `text + x`, `json.a - json.b`, `json.a ? 1 : 2`, `{"t": json}`,
	} {
		src = strings.Replace(src, "json[x] ?? json.a > 3", "(json[x] ?? json.a) > 3", 1)
		e, err := scope.Expr(src, WantAny)
		if err != nil {
			f.Fatalf("%s: %v", src, err)
		}
		exprs = append(exprs, e)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r := &reading{bridge: "lab1"}
		r.start("a/b", payload, nil, noon)
		r.values = append(r.values, "b", "a/b")
		for _, e := range exprs {
			v, err := e.value(r)
			if err != nil {
				if len(err.Error()) > 1000 {
					t.Errorf("%s: an error of %d characters", e, len(err.Error()))
				}
				continue
			}
			if v.Kind == Float && (v.Float != v.Float || v.Float-v.Float != 0) {
				t.Errorf("%s on %q makes %v", e, payload, v.Float)
			}
			if v.Kind == JSON && !validJSON(v.Bytes) {
				t.Errorf("%s on %q makes invalid JSON %q", e, payload, v.Bytes)
			}
			if _, note := readTime(v.String(), noon); len(note) > 500 {
				t.Errorf("%s on %q: a note of %d characters", e, payload, len(note))
			}
		}
		if p := proposal(string(payload)); p != "" && !strings.HasPrefix(p, "json") {
			e, err := scope.Expr(p, WantAny)
			if err != nil {
				t.Fatalf("%q: the proposal %s does not compile: %v", payload, p, err)
			}
			if v, err := e.value(r); r.textState == good && (err != nil || v.Kind == NoValue) {
				t.Errorf("%q: the proposal %s reads %v, %v", payload, p, v, err)
			}
		}
	})
}

// No source may panic; what does not compile says where.
func FuzzExpr(f *testing.F) {
	for _, s := range []string{
		`after(text, "t=") * 1.8`, `json?.a[0].b ?? 5`, `text = "ON"`, "match(text, `(`)", `let x = json; x.y`, `map(json.a, {#.b})`, `“`, `-json.a ** 2`, `$env.x`, `json[-1][text]`,
	} {
		f.Add(s, `{"a":[{"b":1}]}`)
	}
	f.Fuzz(func(t *testing.T, src, payload string) {
		if len(src) > 100 || strings.Contains(src, "..") || strings.Contains(src, "repeat") {
			return // long ranges and texts take long and end at the memory budget
		}
		for _, want := range []Want{WantAny, WantBool, WantTime} {
			e, err := Scope{Bridge: "lab1", Names: []string{"x"}}.Expr(src, want)
			if err != nil {
				s, ok := err.(*SyntaxError)
				if !ok || s.Offset < 0 || s.Offset > len(src) || s.Text == "" {
					t.Fatalf("%q: error %#v", src, err)
				}
				continue
			}
			r := &reading{bridge: "lab1"}
			r.start("a/b", []byte(payload), nil, noon)
			r.values = append(r.values, "b", "a/b")
			_, _ = e.value(r)
			_, _ = e.truth(r)
			_, _ = e.stamp(r)
		}
	})
}
