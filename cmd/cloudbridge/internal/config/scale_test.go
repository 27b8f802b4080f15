package config

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRules reads a school's worth of rules; the time must grow with their number and not with its square.
func BenchmarkRules(b *testing.B) {
	for _, n := range []int{100, 1000} {
		var s strings.Builder
		s.WriteString(clouds)
		for i := range n {
			fmt.Fprintf(&s, "[[uplink]]\nlocal = \"a/b%d/{x}\"\ncloud = \"emqx\"\nvalue = 'json.t%d'\n", i, i)
			fmt.Fprintf(&s, "[[uplink]]\nlocal = \"a/c%d\"\ncloud = \"home\"\nfeed = \"f%d\"\n", i, i)
			fmt.Fprintf(&s, "[[downlink]]\ncloud = \"home\"\nfeed = \"c%d\"\nlocal = \"x/%d\"\n", i, i)
		}
		text, all := []byte(s.String()), kinds()
		b.Run(fmt.Sprint(3*n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Parse("c.toml", text, nobody(), all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
