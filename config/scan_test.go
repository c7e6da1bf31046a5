package config

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// A found is one call of visit, with the path decoded.
type found struct {
	path []any // string: a key; int: an index
	spot
}

func scanAll(text string) []found {
	var all []found
	scan(text, func(p []byte, s spot) {
		all = append(all, found{decodePath(p), s})
	})
	slices.SortStableFunc(all, func(a, b found) int { return a.key - b.key })
	return all
}

func decodePath(p []byte) []any {
	var parts []any
	for len(p) > 0 {
		n, width := binary.Uvarint(p[1:])
		kind := p[0]
		p = p[1+width:]
		if kind == 'i' {
			parts = append(parts, int(n))
			continue
		}
		parts = append(parts, string(p[:n]))
		p = p[n:]
	}
	return parts
}

func TestScan(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // "path line:col of the key line:col of the value"
	}{
		{"plain", "a = 1\nb = 'x'\n", []string{"a 1:1 1:5", "b 2:1 2:5"}},
		{"no line end", "a = 1", []string{"a 1:1 1:5"}},
		{"spaces", "\t a\t=  1 # a = 2\n", []string{"a 1:3 1:8"}},
		{"CRLF", "a = 1\r\n\r\nb = 2\r\n", []string{"a 1:1 1:5", "b 3:1 3:5"}},
		{"table", "[t]\na = 1\n", []string{"t 1:2 1:2", "t.a 2:1 2:5"}},
		{"below", "[ a . 'b.c' ]\nx.\"y\" = 1\n", []string{"(a) 1:3", "a.b.c 1:7 1:7", "(a.b.c.x) 2:1", "a.b.c.x.y 2:3 2:9"}},
		{"quoted", "\"a\\u0062\\t\\\"\" = 1\n'c\\' = 2\n", []string{"ab\t\" 1:1 1:17", "c\\ 2:1 2:8"}},
		{"array", "a = [ 1, # one\n  'two',\n]\nb=2", []string{"a 1:1 1:5", "(a.0) 1:7", "(a.1) 2:3", "b 4:1 4:3"}},
		{"nested", "a = [[1],[{b=[2]}]]", []string{"a 1:1 1:5", "(a.0) 1:6", "(a.0.0) 1:7", "(a.1) 1:10", "(a.1.0) 1:11", "a.1.0.b 1:12 1:14", "(a.1.0.b.0) 1:15"}},
		{"inline", "t = { a = 1, b.c = \"}\" }", []string{"t 1:1 1:5", "t.a 1:7 1:11", "(t.b) 1:14", "t.b.c 1:16 1:20"}},
		{"tables in an array", "[[t]]\na=1\n[t.u]\n[[t]]\na=2\n", []string{
			"t 1:3 1:3", "(t.0) 1:3", "t.0.a 2:1 2:3", "(t) 3:2", "t.0.u 3:4 3:4", "t 4:3 4:3", "(t.1) 4:3", "t.1.a 5:1 5:3"}},
		{"strings that look like more", "a = \"\\\"]#\" # \"\nb = '#]\"'\nc = 1", []string{"a 1:1 1:5", "b 2:1 2:5", "c 3:1 3:5"}},
		{"lines in a string", "a = \"\"\"\nb = 1\n\\\"\"\" \"\"\"\"\"\nc = '''\nd = 2\n'''''\ne = 3", []string{"a 1:1 1:5", "c 4:1 4:5", "e 7:1 7:5"}},
		{"characters, not octets", "'ä' = { 'ö' = 1 }\n", []string{"ä 1:1 1:7", "ä.ö 1:9 1:15"}},
		{"date", "a = 1979-05-27 07:32:00 # x\nb = [ 07:32:00 ]", []string{"a 1:1 1:5", "b 2:1 2:5", "(b.0) 2:7"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range scanAll(tt.text) {
				got = append(got, f.describe(tt.text))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func (f found) describe(text string) string {
	var parts []string
	for _, p := range f.path {
		parts = append(parts, fmt.Sprint(p))
	}
	name := strings.Join(parts, ".")
	line, column, _ := lineAndColumn(text, f.key)
	if !f.named {
		return fmt.Sprintf("(%s) %d:%d", name, line, column)
	}
	l, c, _ := lineAndColumn(text, f.value)
	return fmt.Sprintf("%s %d:%d %d:%d", name, line, column, l, c)
}

// FuzzScan holds the scanner against the library: of every document that
// decodes, it finds the same keys in the same order, each where its name is
// written, and each value where its text is.
func FuzzScan(f *testing.F) {
	f.Add("hostname = \"mx\"\n[mx]\nlisten = [\"[::]:25\"] # here\ntls = { cert = 'c', key = 'k' }\n")
	f.Add("[a.'b.c']\nd.\"e\\u0041\" = '''x''''' \n[[f]]\ng=[[1],[{h=[2,]}]]\n[f.i]\n[[f]]\n")
	f.Add("a = \"\"\"\\\n  \\\"\"\"\\\\\"\"\"\"\"\nb = 1979-05-27 07:32:00\nc=inf\nd=[#]\n-nan]\n")
	f.Fuzz(func(t *testing.T, text string) {
		all := scanAll(text) // whatever it is, it ends
		if strings.HasPrefix(text, "\xef\xbb\xbf") || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			return // a byte order mark is cut off before
		}
		var tree map[string]any
		md, err := toml.Decode(text, &tree)
		if err != nil {
			return
		}
		var got, want []string
		for _, f := range all {
			if f.named {
				got = append(got, fmt.Sprintf("%q", keysOf(f.path)))
				checkKey(t, text, f)
			}
			if f.end > f.value {
				checkValue(t, text, f, tree)
			}
		}
		for _, key := range md.Keys() {
			want = append(want, fmt.Sprintf("%q", []string(key)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %q\ngot  %s\nwant %s", text, got, want)
		}
	})
}

func keysOf(p []any) []string {
	var keys []string
	for _, part := range p {
		if k, ok := part.(string); ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// checkKey decodes what stands at the key as a key of its own.
func checkKey(t *testing.T, text string, f found) {
	s := scanner{text: text, pos: f.key}
	if _, ok := s.name(); !ok {
		t.Fatalf("%q is not at %d of %q", f.path, f.key, text)
	}
	var tree map[string]any
	if _, err := toml.Decode(text[f.key:s.pos]+" = 1", &tree); err != nil {
		t.Fatalf("%q at %d of %q: %v", f.path, f.key, text, err)
	}
	if _, ok := tree[f.path[len(f.path)-1].(string)]; !ok {
		t.Errorf("%q is not at %d of %q", f.path, f.key, text)
	}
}

// checkValue decodes what stands at the value, and compares it with the same
// value of the whole document.
func checkValue(t *testing.T, text string, f found, tree any) {
	for _, part := range f.path {
		switch at := tree.(type) {
		case map[string]any:
			tree = at[part.(string)]
		case []any:
			tree = at[part.(int)]
		case []map[string]any:
			tree = at[part.(int)]
		}
	}
	var alone map[string]any
	if _, err := toml.Decode("x = "+text[f.value:f.end], &alone); err != nil {
		t.Fatalf("%q at %d to %d of %q: %v", f.path, f.value, f.end, text, err)
	}
	if got, want := fmt.Sprint(alone["x"]), fmt.Sprint(tree); got != want {
		t.Errorf("%q at %d of %q: %s, not %s", f.path, f.value, text, got, want)
	}
}
