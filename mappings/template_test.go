package mappings

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTemplateExpand(t *testing.T) {
	scope := Scope{Bridge: "lab1", Names: []string{"device", "rest"}}
	values := []string{"pico", "a/b", "iot/pico/a/b"}
	for _, c := range []struct {
		src, want string
		constant  bool
		uses      string
	}{
		{"", "", true, ""},
		{"lights", "lights", true, ""},
		{"{device}-status", "pico-status", false, "device"},
		{"school/{bridge}/{rest}", "school/lab1/a/b", false, "rest"},
		{"school/{bridge}/{rest...}", "school/lab1/a/b", false, "rest"},
		{"{bridge}", "lab1", true, ""},
		{"x{bridge}y", "xlab1y", true, ""},
		{"{device}{device}", "picopico", false, "device"},
		{"{topic}", "iot/pico/a/b", false, "device rest"},
		{"copy/{topic}", "copy/iot/pico/a/b", false, "device rest"},
		{"溫度/{device}", "溫度/pico", false, "device"},
	} {
		template, err := scope.Template(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		if got := template.Expand(values); got != c.want {
			t.Errorf("%s: got %q, want %q", c.src, got, c.want)
		}
		text, constant := template.Constant()
		if constant != c.constant || constant && text != c.want {
			t.Errorf("%s: Constant gives %q, %v", c.src, text, constant)
		}
		var uses []string
		for _, name := range scope.Names {
			if template.Uses(name) {
				uses = append(uses, name)
			}
		}
		if got := strings.Join(uses, " "); got != c.uses || template.String() != c.src {
			t.Errorf("%s: uses %q, want %q; String %q", c.src, got, c.uses, template)
		}
		if !template.Could(c.want) {
			t.Errorf("%s could become %q", c.src, c.want)
		}
	}
}

func TestTemplateSyntax(t *testing.T) {
	scope := Scope{Bridge: "lab1", Names: []string{"device"}}
	for _, c := range []struct {
		src        string
		topic      bool
		offset     int
		text, hint string
	}{
		{"a-{devise}", false, 2, "{devise} is not captured by this rule", "did you mean {device}? known are {device}, {bridge} and {topic}"},
		{"{x}", false, 0, "{x} is not captured", "known are {device}, {bridge} and {topic}"},
		{"a{", false, 1, "{ without a }", ""},
		{"a}", false, 1, "} without a {", ""},
		{"{}", false, 0, "{} is not captured", ""},
		{"a/+", true, 2, "a message cannot be published to a topic with +", "{topic}"},
		{"a/#", true, 2, "a topic with #", ""},
		{"", true, 0, "the topic is empty", ""},
		{"a\x00", true, 1, "NUL", ""},
	} {
		make := scope.Template
		if c.topic {
			make = scope.Topic
		}
		_, err := make(c.src)
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v, want a *SyntaxError", c.src, err)
			continue
		}
		if e.Offset != c.offset || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%q: got %d %q, hint %q; want %d %q %q", c.src, e.Offset, e.Text, e.Hint, c.offset, c.text, c.hint)
		}
	}
	if _, err := (Scope{Bridge: "a/b"}).Topic("x/{bridge}"); err == nil {
		t.Error("a bridge's name with a slash is taken in a topic")
	}
}

func TestTemplateCould(t *testing.T) {
	scope := Scope{Bridge: "lab1", Names: []string{"a", "b"}}
	for _, c := range []struct {
		src, text string
		want      bool
	}{
		{"aio-{a}", "aio-ann", true},
		{"aio-{a}", "aio-", false},
		{"aio-{a}", "ts", false},
		{"{a}-{b}", "x-y-z", true},
		{"{a}-{b}", "xyz", false},
		{"{a}-{a}", "x-x", true},
		{"{a}-{a}", "x-y", false},
		{"{a}-{a}", "x-x-x-x", true},
		{"{a}{b}{a}", "xyyx", true},
		{"home", "home", true},
		{"home", "hom", false},
		{"", "", true},
		{"", "x", false},
	} {
		template, err := scope.Template(c.src)
		if err != nil {
			t.Fatal(err)
		}
		if got := template.Could(c.text); got != c.want {
			t.Errorf("%s could be %s: %v", c.src, c.text, got)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("school/{bridge}/{x}", "a", "b")
	f.Add("{x...}-{y}{topic}", "溫", "/")
	f.Add("{x", "", "")
	f.Fuzz(func(t *testing.T, src, x, y string) {
		template, err := Scope{Bridge: "lab1", Names: []string{"x", "y"}}.Template(src)
		if err != nil {
			var e *SyntaxError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(src) {
				t.Fatalf("%q: error %#v", src, err)
			}
			return
		}
		values := []string{x, y, "t/" + x}
		got := template.Expand(values)
		want := strings.NewReplacer("{bridge}", "lab1", "{bridge...}", "lab1", "{x}", x, "{x...}", x, "{y}", y, "{y...}", y,
			"{topic}", values[2], "{topic...}", values[2]).Replace(src)
		if got != want {
			t.Fatalf("%q: got %q, want %q", src, got, want)
		}
		if x != "" && y != "" && len(got) < 40 && !template.Could(got) {
			t.Fatalf("%q could not become %q", src, got)
		}
	})
}

func ExampleScope_Template() {
	scope := Scope{Bridge: "lab1", Names: []string{"rest"}}
	template, _ := scope.Template("school/{bridge}/{rest}")
	fmt.Println(template.Expand([]string{"room7/temp"}))
	_, err := scope.Template("school/{rset}")
	fmt.Println(err)
	// Output:
	// school/lab1/room7/temp
	// {rset} is not captured by this rule: did you mean {rest}? known are {rest}, {bridge} and {topic}
}
