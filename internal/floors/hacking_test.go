package floors

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// named matches a test as HACKING.md names it: `mx.TestThis`, `policy/spf.FuzzThat`.
var named = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")

// Every test that the table of rules names is there.
func TestRulesHaveTheirTests(t *testing.T) {
	root := os.DirFS("../..")
	text, err := fs.ReadFile(root, "HACKING.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]map[string]bool)
	found := named.FindAllStringSubmatch(string(text), -1)
	if len(found) < 100 {
		t.Errorf("only %d tests are named", len(found))
	}
	for _, match := range found {
		dir, name := match[1], match[2]
		if known[dir] == nil {
			known[dir] = testsOf(t, root, dir)
		}
		if !known[dir][name] {
			t.Errorf("HACKING.md names %s.%s, which does not exist", dir, name)
		}
	}
}

// A row of the table that names no test holds nothing.
func TestEveryRuleNamesATest(t *testing.T) {
	text, err := fs.ReadFile(os.DirFS("../.."), "HACKING.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		row := strings.Split(line, "|") // with what stands outside the first and the last bar
		header := strings.HasPrefix(line, "| rule |") || strings.HasPrefix(line, "|---")
		if strings.HasPrefix(line, "|") && !header && (len(row) != 5 || !named.MatchString(row[3])) {
			t.Errorf("a row without a test: %s", line)
		}
	}
}

// testsOf returns the tests and fuzz targets of the package in dir.
func testsOf(t *testing.T, root fs.FS, dir string) map[string]bool {
	t.Helper()
	files, err := fs.Glob(root, path.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, file := range files {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}
