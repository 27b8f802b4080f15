package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloudbridge/mappings"
	"cloudbridge/platforms"
	"cloudbridge/platforms/adafruitio"
)

// TestForecast holds the warnings of check, with their figures, to the rules that bring them about.
func TestForecast(t *testing.T) {
	for _, c := range []struct {
		name, text string
		// want is what the warnings hold, in their order; nil wants none.
		want []string
	}{
		{"no rule", "", []string{"c.toml:1:1: there is no rule, so nothing is carried"}},
		{"quiet", uplinks("home", "feed", 3), nil},
		{
			"eleven feeds", uplinks("home", "feed", 11),
			[]string{`the rules name 11 feeds and the account of cloud "home" has 10: p10 will be refused`},
		},
		{
			"every below the budget", uplinks("home", "feed", 9) + upRule(`local = "z"`, `cloud = "home"`, `feed = "z"`, `every = "1s"`),
			[]string{`every = "1s" is quicker than cloud "home" allows: 30 points a minute for 10 feeds, each about every 21s`},
		},
		{
			"every below the budget, with captures", upRule(`local = "{d}/z"`, `cloud = "home"`, `feed = "{d}"`, `every = "1s"`),
			[]string{"and longer with each feed that a capture adds"},
		},
		{
			"keep all", upRule(`local = "z"`, `cloud = "home"`, `feed = "z"`, `keep = "all"`),
			[]string{`keep = "all": cloud "home" takes 30 points a minute for 1 feed, each about every 2.1s; what comes quicker waits, later and later`},
		},
		{
			"keep all, every second", upRule(`local = "z"`, `cloud = "home"`, `feed = "z"`, `keep = "all"`, `every = "1s"`),
			[]string{`this rule makes 60 points a minute and cloud "home" takes 30 for all its rules: 31 a minute would wait`},
		},
		{"keep all, slow enough", upRule(`local = "z"`, `cloud = "home"`, `feed = "z"`, `keep = "all"`, `every = "1m"`), nil},
		{
			"ThingSpeak quicker than its interval", upRule(`local = "z"`, `cloud = "weather"`, `channel = 1`, `field = 1`, `every = "5s"`),
			[]string{`every = "5s" is quicker than cloud "weather" allows, a row each 15s and a margin`},
		},
		{
			"messages a year", upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 1`) + upRule(`local = "b"`, `cloud = "weather"`, `channel = 2`, `field = 1`),
			[]string{`2 channels of cloud "weather", written as often as the plan allows, make 4.0 million messages a year; it has 3.0 million`},
		},
		{
			"messages a year of two clouds",
			"[cloud.rest]\nplatform = \"thingspeak\"\n[cloud.rest.channels.2]\nwrite_key = \"WRITEKEY12345678\"\n" +
				upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 1`) + upRule(`local = "b"`, `cloud = "rest"`, `channel = 2`, `field = 1`),
			[]string{`2 channels of clouds "weather" and "rest" together, written as often as the plan allows, make 4.0 million messages a year; it has 3.0 million`},
		},
		{
			"a text beside the rest", down("home", `values = { ON = "1", "*" = "0" }`, "led"),
			[]string{`values: "*" lets the rest through as it is; "0" is not sent`},
		},
		{"the rest as it is", down("home", `values = { ON = "1", "*" = "*" }`, "led"), nil},
		{
			"messages a year, slow enough", upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 1`, `every = "22s"`) +
				upRule(`local = "b"`, `cloud = "weather"`, `channel = 2`, `field = 1`, `every = "22s"`), nil,
		},
		{
			"one row for many fields", upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 1`) +
				upRule(`local = "b"`, `cloud = "weather"`, `channel = 1`, `field = 2`), nil,
		},
		{
			"two topics in one field", upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 2`) +
				upRule(`local = "b"`, `cloud = "weather"`, `channel = 1`, `field1 = "json.t"`, `field2 = "json.h"`),
			[]string{`c.toml:19:3: what this rule reads from b ends in the same place as what c.toml:14 a reads: 1 field2 of cloud "weather"`},
		},
		{
			"two topics in one feed", upRule(`local = "a/{d}/x"`, `cloud = "home"`, `feed = "lamp"`, `mix = true`) +
				upRule(`local = "b"`, `cloud = "home"`, `feed = "lamp"`) + upRule(`local = "c"`, `cloud = "home"`, `feed = "lamp"`, `mix = true`),
			[]string{`reads from b ends in the same place as what c.toml:14 a/{d}/x reads: lamp of cloud "home"`},
		},
		{
			"one topic in one field", upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 2`, `when = "number(text) > 0"`) +
				upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 2`, `when = "number(text) < 0"`, `value = "0"`), nil,
		},
		{
			"two topics that belong together", upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 2`, `mix = true`) +
				upRule(`local = "b"`, `cloud = "weather"`, `channel = 1`, `field = 2`, `mix = true`), nil,
		},
		{
			"feeds that are written alike", upRule(`local = "a/{d}"`, `cloud = "home"`, `feed = "{d}-x"`) +
				upRule(`local = "b/{d}"`, `cloud = "home"`, `feed = "{d}-x"`) + upRule(`local = "c/{e}"`, `cloud = "home"`, `feed = "{e}-x"`),
			[]string{`reads from b/{d} may end in the same place as what c.toml:14 a/{d} reads: {d}-x of cloud "home"`},
		},
		{
			"feeds of whole topics", upRule(`local = "a/+"`, `cloud = "home"`, `feed = "{topic}"`) +
				upRule(`local = "b/+"`, `cloud = "home"`, `feed = "{topic}"`), nil,
		},
		{
			"groups, whose feeds the messages name", upRule(`local = "a"`, `cloud = "home"`, `group = "g"`) +
				upRule(`local = "b"`, `cloud = "home"`, `group = "g"`), nil,
		},
		{
			"positions beside values", upRule(`local = "a"`, `cloud = "weather"`, `channel = 1`, `field = 1`, `lat = "1"`, `long = "2"`) +
				upRule(`local = "b"`, `cloud = "weather"`, `channel = 1`, `field = 2`, `lat = "1"`, `long = "2"`), nil,
		},
		{
			"one board in two rules", upRule(`local = "a/{d}"`, `cloud = "weather"`, `each.d.x = { channel = 1, field = 1 }`, `each.d.y = { channel = 1, field = 2 }`) +
				upRule(`local = "b/{d}"`, `cloud = "weather"`, `each.d.x = { channel = 1, field = 1 }`, `each.d.y = { channel = 1, field = 2 }`),
			[]string{`reads from b/{d} ends in the same place as what c.toml:14 a/{d} reads: 1 field1 of cloud "weather"`},
		},
		{
			"one account in two tables", "[cloud.attic]\nplatform = \"adafruit-io\"\nusername = \"alice\"\nkey = \"aio_x\"\n" +
				upRule(`local = "a"`, `cloud = "home"`, `feed = "x"`) + upRule(`local = "b"`, `cloud = "attic"`, `feed = "x"`),
			[]string{`ends in the same place as what c.toml:18 a reads: x of cloud "attic"`},
		},
		{
			"two topics in one topic", upRule(`local = "a"`, `cloud = "emqx"`, `topic = "x"`) + upRule(`local = "b"`, `cloud = "emqx"`, `topic = "x"`), nil,
		},
		{
			"ages", down("home", "max_age = \"none\"", "a") + down("home", "", "b"),
			[]string{`max_age = "none" here and 30s at c.toml:19 b share cloud "home"`},
		},
		{
			"public broker", public + upRule(`local = "iot/#"`, `cloud = "open"`) + "[[downlink]]\ncloud = \"open\"\ntopic = \"cmd\"\nlocal = \"cmd\"\n",
			[]string{`every message of iot/# goes to cloud "open", which everybody can read`, `commands come from cloud "open", where everybody can publish`},
		},
		{"broker in the house", upRule(`local = "iot/#"`, `cloud = "emqx"`), nil},
		{
			"each that nothing selects", upRule(`local = "{d}/x"`, `cloud = "weather"`, `each.d."a/b" = { channel = 1, field = 1 }`),
			[]string{`no topic can select this entry: {d} is one level of a topic and never "a/b"`},
		},
		{"each without entries", upRule(`local = "{d}/x"`, `cloud = "weather"`, `each.d = { }`), []string{"each has no entry, so this rule never sends anything"}},
		{
			"insecure", "[local]\nurl = \"mqtts://localhost\"\ninsecure_skip_verify = true\n" + upRule(`local = "a"`, `cloud = "emqx"`),
			[]string{"insecure_skip_verify: anybody on the way can read and change everything"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse("c.toml", []byte(clouds+c.text), nobody(), kinds())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range f.Warnings {
				// Every case leaves some cloud unused, but for the first that is no news.
				if !strings.Contains(w.Message, "no rule names cloud") {
					got = append(got, w.String())
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("warnings %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("warning %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

const public = "[cloud.open]\nplatform = \"mqtt\"\nurl = \"mqtt://broker.hivemq.com\"\n"

func upRule(keys ...string) string { return "[[uplink]]\n" + strings.Join(keys, "\n") + "\n" }

func down(cloud, key, local string) string {
	return "[[downlink]]\ncloud = \"" + cloud + "\"\nfeed = \"x\"\n" + key + "\nlocal = \"" + local + "\"\n"
}

// uplinks makes n rules to places p0, p1, ...
func uplinks(cloud, key string, n int) string {
	var b strings.Builder
	for i := range n {
		name := "p" + string(rune('0'+i%10))
		if i >= 10 {
			name = "p1" + string(rune('0'+i%10))
		}
		b.WriteString(upRule(`local = "`+name+`"`, `cloud = "`+cloud+`"`, key+` = "`+name+`"`))
	}
	return b.String()
}

func TestUnusedCloud(t *testing.T) {
	f := parse(t, clouds+upRule(`local = "a"`, `cloud = "emqx"`))
	if len(f.Warnings) != 2 || !strings.Contains(f.Warnings[0].Message, `no rule names cloud "home"`) {
		t.Errorf("warnings %v", f.Warnings)
	}
}

// TestOneKey uses a platform that mends names, which the real ones do only to what captures bring.
func TestOneKey(t *testing.T) {
	all := slices.Clone(kinds())
	for i := range all {
		if all[i].Name != "adafruit-io" {
			continue
		}
		all[i].Target = func(_ platforms.Platform, place any, scope mappings.Scope) (*mappings.Target, error) {
			name, err := scope.Template(place.(*adafruitio.Place).Feed)
			return &mappings.Target{
				Name: name, Fix: func(s string) (string, error) { return strings.ToLower(s), nil }, Parts: []mappings.PartSpec{{}},
			}, err
		}
	}
	text := clouds + upRule(`local = "a"`, `cloud = "home"`, `feed = "Lamp"`) + upRule(`local = "b"`, `cloud = "home"`, `feed = "lamp"`)
	f, err := Parse("c.toml", []byte(text), nobody(), all)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(f.Warnings, func(w Warning) bool {
		return w.Message == `"lamp" and "Lamp" (c.toml:14 a) are one at the cloud: "lamp"`
	}) {
		t.Errorf("warnings %q", f.Warnings)
	}
}

func TestShort(t *testing.T) {
	for in, want := range map[time.Duration]string{
		5 * time.Minute: "5m", time.Hour: "1h", 15 * time.Second: "15s", 15750 * time.Millisecond: "15.75s", 90 * time.Second: "1m30s",
		1700 * time.Millisecond: "1.7s", 2 * time.Hour: "2h", 500 * time.Millisecond: "500ms",
	} {
		if got := short(in); got != want {
			t.Errorf("short(%v) = %q, want %q", in, got, want)
		}
	}
}
