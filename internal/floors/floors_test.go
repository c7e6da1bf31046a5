// Package floors holds the rule of the house: imports go strictly down. It is
// nothing but a test.
package floors

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"testing"
)

const module = "postern"

// floors says which package stands on which floor (DESIGN.md, section 2). A
// package may import only from the floors below its own: never sideways, never
// up.
var floors = map[string]int{
	"cmd/postern": 6,

	"mx":   5,
	"lmtp": 5,
	"mda":  5,

	"internal/story":  5,
	"internal/replay": 5,

	"policy": 4,

	"policy/dmarc":   3,
	"policy/arc":     3,
	"policy/authres": 3,

	"policy/spf":      2,
	"policy/dkim":     2,
	"policy/dnsbl":    2,
	"policy/access":   2,
	"policy/rate":     2,
	"policy/report":   2,
	"policy/greylist": 2,
	"policy/milter":   2,
	"internal/serve":  2,

	"smtp":             1,
	"internal/spool":   1,
	"internal/launch":  1,
	"internal/writer":  1,
	"internal/record":  1,
	"internal/metrics": 1,
	"internal/refused": 1,
	"internal/publish": 1,
	"internal/logging": 1,
	"config":           1,

	"mail":                 0,
	"mailbox":              0,
	"internal/dnsname":     0,
	"internal/aio":         0,
	"internal/dns":         0,
	"internal/header":      0,
	"internal/control":     0,
	"internal/certificate": 0,
	"internal/fence":       0,
	"internal/selftest":    0,
	"internal/postfixmap":  0,
}

// tools are packages for tests. They stand on floors like any other, but only
// tests may import them, on whatever floor those are.
var tools = map[string]int{
	"internal/certtest":    0,
	"internal/dialogue":    0,
	"internal/floors":      0,
	"internal/crashfs":     1,
	"internal/delivertest": 1,
	"internal/dns/dnstest": 1,
	"internal/peer":        6,
}

// config is for the wiring alone: the packages take plain values.
const config = "config"

// A pkg is a package with the packages of the house that it imports.
type pkg struct {
	name        string
	imports     []string
	testImports []string
}

func TestFloors(t *testing.T) {
	packages := scan(t)
	if len(packages) < 4 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, p := range packages {
		for _, fault := range faults(*p) {
			t.Error(fault)
		}
	}
}

// faults returns what p does that the rule forbids.
func faults(p pkg) []string {
	var found []string
	add := func(bad bool, words ...string) {
		if bad {
			found = append(found, strings.Join(words, " "))
		}
	}
	_, isTool := tools[p.name]
	floor, known := floorOf(p.name)
	add(!known, p.name, "stands on no floor")
	if !known {
		return found
	}
	for _, imp := range p.imports {
		_, importsTool := tools[imp]
		below, known := floorOf(imp)
		add(!known, imp, "stands on no floor")
		add(importsTool && !isTool, p.name, "imports", imp, "outside its tests")
		add(below >= floor, p.name, "imports", imp, "which is not below it")
		add(imp == config && p.name != "cmd/postern", p.name, "imports", imp)
	}
	for _, imp := range p.testImports {
		if _, importsTool := tools[imp]; importsTool || imp == p.name {
			continue
		}
		below, _ := floorOf(imp)
		add(below >= floor, "a test of", p.name, "imports", imp, "which is not below it")
	}
	return found
}

func floorOf(name string) (floor int, known bool) {
	if floor, known = floors[name]; !known {
		floor, known = tools[name]
	}
	return floor, known
}

// scan reads the imports of every package of the module, whatever system its
// files are for. It reads the files itself, for then the go command knows that
// a kept result of this test is stale.
func scan(t *testing.T) map[string]*pkg {
	t.Helper()
	root := os.DirFS("../..")
	packages := make(map[string]*pkg)
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skip(root, file)
		case path.Ext(file) != ".go":
			return nil
		}
		imports, err := parseImports(root, file)
		if err != nil {
			return err
		}
		p := packages[path.Dir(file)]
		if p == nil {
			p = &pkg{name: path.Dir(file)}
			packages[p.name] = p
		}
		if strings.HasSuffix(file, "_test.go") {
			p.testImports = append(p.testImports, imports...)
		} else {
			p.imports = append(p.imports, imports...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// skip leaves out the directories that are not of the module, as the go command
// does.
func skip(root fs.FS, dir string) error {
	name := path.Base(dir)
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	switch {
	case dir == ".":
		return nil
	case err == nil, name == "testdata", name[0] == '.', name[0] == '_':
		return fs.SkipDir
	}
	return nil
}

// parseImports returns what a file imports of the house.
func parseImports(root fs.FS, file string) ([]string, error) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, spec := range parsed.Imports {
		if name, ok := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/"); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// The rule itself: each row breaks it in one way, or does not.
func TestFaults(t *testing.T) {
	tests := []struct {
		name, imports, testImports string
		want                       string // in the fault; "": there is none
	}{
		{"mx", "smtp mail policy", "", ""},
		{"attic", "", "", "stands on no floor"},
		{"mx", "mda", "", "not below"},
		{"mail", "smtp", "", "not below"},
		{"mail", "attic", "", "stands on no floor"},
		{"policy/dmarc", "policy/spf", "", ""},
		{"policy/spf", "policy/dmarc", "", "not below"},
		{"mx", "config", "", "imports config"},
		{"cmd/postern", "config", "", ""},
		{"mda", "internal/crashfs", "", "outside its tests"},
		{"mda", "", "internal/crashfs", ""},
		{"mail", "", "mail internal/peer", ""},
		{"mx", "", "mda", "a test of"},
		{"internal/peer", "mda internal/dialogue", "", ""},
	}
	for _, tt := range tests {
		p := pkg{tt.name, strings.Fields(tt.imports), strings.Fields(tt.testImports)}
		got := strings.Join(faults(p), "; ")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: got %q, want %q", p, got, tt.want)
		}
	}
}

// No package stands on two floors.
func TestToolsAreNoPackagesOfTheHouse(t *testing.T) {
	for name := range maps.Keys(tools) {
		if _, twice := floors[name]; twice {
			t.Errorf("%s is in both maps", name)
		}
	}
}
