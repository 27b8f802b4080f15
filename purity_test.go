package cloudbridge_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pure are the floors that are values in, values out: what they say can be put into a table test, and never depends on the
// hour, the network or the machine.
var pure = []string{"mappings", "platforms"}

// impure are the folders on those floors that only tests, demo and emulate use, and the list of all platforms.
func impure(folder string) bool {
	name := path.Base(folder)
	return strings.HasSuffix(name, "test") || name == "emulator" || name == "all"
}

// forbidden are what a pure package must not use, by import path: "*" is the package as a whole. Values of net, net/http
// and time are fine, such as a status code or a duration.
var forbidden = map[string][]string{
	"log":          {"*"},
	"log/slog":     {"*"},
	"os":           {"*"},
	"os/exec":      {"*"},
	"os/signal":    {"*"},
	"syscall":      {"*"},
	"crypto/rand":  {"*"}, // Chance is as bad as a clock: two runs would differ.
	"math/rand":    {"*"},
	"math/rand/v2": {"*"},
	"crypto/tls":   {"Dial", "DialWithDialer", "Dialer", "Listen"},
	"fmt":          {"Print", "Printf", "Println"},
	"net": {
		"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer", "Listen", "ListenTCP", "ListenUDP", "ListenPacket",
		"ListenConfig", "Resolver", "DefaultResolver", "LookupAddr", "LookupHost", "LookupIP", "LookupCNAME", "LookupTXT", "LookupSRV",
		"ResolveTCPAddr", "ResolveUDPAddr", "ResolveIPAddr", "Interfaces", "InterfaceAddrs",
	},
	"net/http": {
		"Client", "DefaultClient", "Transport", "DefaultTransport", "RoundTripper", "Get", "Head", "Post", "PostForm", "Server",
		"ListenAndServe", "ListenAndServeTLS", "Serve", "Handle", "HandleFunc", "ProxyFromEnvironment",
	},
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"},
}

// TestPurity fails where a pure package reads a clock, sleeps, dials, logs or looks at the machine, or starts a goroutine.
func TestPurity(t *testing.T) {
	files := 0
	for _, floor := range pure {
		err := filepath.WalkDir(floor, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			file = filepath.ToSlash(file)
			if d.IsDir() {
				if impure(file) || d.Name() == "testdata" {
					return fs.SkipDir
				}
				return nil
			}
			if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return nil
			}
			files++
			source := token.NewFileSet()
			parsed, err := parser.ParseFile(source, file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, f := range impurities(parsed) {
				t.Errorf("%s: %s: packages of %s are values in, values out", source.Position(f.at), f.what, floor)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 20 {
		t.Errorf("only %d files were looked at; the list of pure floors no longer fits the tree", files)
	}
}

// impurity is one forbidden use.
type impurity struct {
	what string
	at   token.Pos
}

// impurities finds what a file uses of forbidden, in the order in which it stands there.
func impurities(file *ast.File) []impurity {
	var found []impurity
	imported := map[string]string{} // the path by the name that the file knows it by
	for _, spec := range file.Imports {
		from, _ := strconv.Unquote(spec.Path.Value) // The parser has checked the quotes.
		name := path.Base(from)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = from
		if slices.Contains(forbidden[from], "*") || name == "." && forbidden[from] != nil {
			found = append(found, impurity{fmt.Sprintf("import %q", from), spec.Pos()})
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, impurity{"go", n.Pos()})
		case *ast.SelectorExpr:
			// A variable of a package's name would have to be renamed, which is no loss.
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(forbidden[imported[x.Name]], n.Sel.Name) {
				found = append(found, impurity{x.Name + "." + n.Sel.Name, n.Pos()})
			}
		}
		return true
	})
	return found
}

// TestImpuritiesAreFound shows that the search above finds what it is for.
func TestImpuritiesAreFound(t *testing.T) {
	const source = `package p

import (
	"log/slog"
	"net/http"
	clock "time"
)

const wait = clock.Second

func f(r http.Header) int {
	slog.Info("x")
	_ = clock.Now
	go clock.Sleep(wait)
	return http.StatusOK
}
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range impurities(file) {
		got = append(got, f.what)
	}
	want := []string{`import "log/slog"`, "clock.Now", "go", "clock.Sleep"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
