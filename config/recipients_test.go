package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const exampleCom = `
domain        = "example.com"
alias_domains = ["example.net", "bücher.example"]
mailboxes     = ["alice", "Carol", "dave", "mary+smith", "josé"]
[mailbox.bob]
path = "/home/bob/Maildir"
[aliases]
postmaster = ["alice"]
team       = ["alice", "bob"]
all        = ["team", "carol+all", "bob", "dave@example.org"]
both       = ["alice", "alice+x"]
marys      = ["mary+smith"]
far        = ["dave@example.org"]
there      = ["anyone@next.example", "Anyone@next.example", "tagged+y@next.example"]
Info       = ["INFO2"]
info2      = ["alice"]
"bob+sales" = ["carol"]
[refuse]
old  = "moved to new@example.com"
dave = "gone"
`

const exampleOrg = `
domain = "example.org"
delimiter = "-"
mailboxes = ["dave", "carol"]
[aliases]
"*" = ["dave", "alice@example.net"]
[refuse]
carol = "no"
`

const nextExample = `
domain = "next.example"
mailboxes = "next-hop"
[aliases]
list = ["one", "alice@example.com"]
`

const plainExample = `
domain = "plain.example"
delimiter = ""
mailboxes = ["a+b"]
`

func recipients(t testing.TB, texts ...string) *Recipients {
	t.Helper()
	r, err := build(sources(texts...), "mx1.sub.example.org")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sources(texts ...string) []source {
	var all []source
	for i, text := range texts {
		all = append(all, source{name: fmt.Sprintf("%d.toml", i+1), text: text})
	}
	return all
}

// describe writes a Result on one line.
func (r Result) describe() string {
	if r.Status != Known {
		return strings.TrimSpace(r.Status.String() + " " + r.Text)
	}
	var members []string
	for _, m := range r.Members {
		s := fmt.Sprintf("%s@%s=%s", m.Local, m.Domain, m.User)
		if m.Detail != "" {
			s += " detail " + m.Detail
		}
		if m.Path != "" {
			s += " path " + m.Path
		}
		if m.NextHop {
			s += " next hop"
		}
		members = append(members, s)
	}
	return strings.Join(members, ", ")
}

func TestLookup(t *testing.T) {
	r := recipients(t, exampleCom, exampleOrg, nextExample, plainExample)
	tests := []struct{ local, domain, want string }{
		{"alice", "example.com", "alice@example.com=alice"},
		{"ALICE", "Example.COM", "ALICE@example.com=alice"},
		{"carol", "example.com", "carol@example.com=carol"},
		{"Alice+Tag", "example.com", "Alice+Tag@example.com=alice detail Tag"},
		{"alice+a+b", "example.com", "alice+a+b@example.com=alice detail a+b"},
		{"alice+", "example.com", "alice+@example.com=alice"},
		{"+alice", "example.com", "unknown"},
		{"bob", "example.com", "bob@example.com=bob path /home/bob/Maildir"},
		{"bob+x", "example.com", "bob+x@example.com=bob detail x path /home/bob/Maildir"},
		{"nobody", "example.com", "unknown"},
		{"", "example.com", "unknown"},
		{"*", "example.com", "unknown"},
		{strings.Repeat("x", 300), "example.com", "unknown"},

		// other names of the domain
		{"alice", "example.net", "alice@example.com=alice"},
		{"alice", "example.com.", "alice@example.com=alice"},
		{"alice", "bücher.example", "alice@example.com=alice"},
		{"alice", "BÜCHER.example", "alice@example.com=alice"},
		{"alice", "xn--bcher-kva.example", "alice@example.com=alice"},
		{"alice", "XN--Bcher-KVA.example", "alice@example.com=alice"},
		{"alice", "bu\u0308cher.example", "alice@example.com=alice"},

		// not ours
		{"alice", "sub.example.com", "not served"},
		{"alice", "com", "not served"},
		{"alice", "", "not served"},
		{"alice", ".", "not served"},
		{"alice", "[192.0.2.1]", "not served"},
		{"alice", "\xff.example", "not served"},
		{"alice", strings.Repeat("é.", 5000), "not served"},

		// beyond ASCII
		{"josé", "example.com", "josé@example.com=josé"},
		{"JOSÉ+x", "example.com", "JOSÉ+x@example.com=josé detail x"},
		{"jose\u0301", "example.com", "jose\u0301@example.com=josé"},
		{"jose", "example.com", "unknown"},
		{"jos\xe9", "example.com", "unknown"},

		// a name that has the delimiter in it
		{"mary+smith", "example.com", "mary+smith@example.com=mary+smith"},
		{"mary+smith+x", "example.com", "unknown"},
		{"mary", "example.com", "unknown"},
		{"a+b", "plain.example", "a+b@plain.example=a+b"},
		{"a+b+c", "plain.example", "unknown"},

		// aliases
		{"team", "example.com", "alice@example.com=alice, bob@example.com=bob path /home/bob/Maildir"},
		{"Team+News", "example.com", "alice+News@example.com=alice detail News, bob+News@example.com=bob detail News path /home/bob/Maildir"},
		{"all", "example.com", "alice@example.com=alice, bob@example.com=bob path /home/bob/Maildir, carol+all@example.com=carol detail all, dave@example.org=dave"},
		{"all+n", "example.com", "alice+n@example.com=alice detail n, bob+n@example.com=bob detail n path /home/bob/Maildir, carol+all@example.com=carol detail all, dave-n@example.org=dave detail n"},
		{"both", "example.com", "alice@example.com=alice, alice+x@example.com=alice detail x"},
		{"both+x", "example.com", "alice+x@example.com=alice detail x"},
		{"marys+x", "example.com", "mary+smith@example.com=mary+smith"},
		{"info", "example.com", "alice@example.com=alice"},
		{"bob+sales", "example.com", "carol@example.com=carol"},
		{"team+sales", "example.com", "alice+sales@example.com=alice detail sales, bob@example.com=bob path /home/bob/Maildir"},
		{"team+" + strings.Repeat("x", 61), "example.com", "alice@example.com=alice, bob@example.com=bob path /home/bob/Maildir"},

		// refused
		{"old", "example.com", "refused moved to new@example.com"},
		{"OLD+x", "example.net", "refused moved to new@example.com"},
		{"dave", "example.com", "refused gone"},
		{"dave+x", "example.com", "refused gone"},
		{"carol", "example.org", "refused no"},
		{"carol-x", "example.org", "refused no"},

		// the catch-all
		{"whoever", "example.org", "dave@example.org=dave, alice@example.com=alice"},
		{"who-ever", "example.org", "dave-ever@example.org=dave detail ever, alice+ever@example.com=alice detail ever"},
		{"*", "example.org", "dave@example.org=dave, alice@example.com=alice"},
		{"dave-x", "example.org", "dave-x@example.org=dave detail x"},
		{"dave+x", "example.org", "dave@example.org=dave, alice@example.com=alice"},

		// the next hop knows
		{"Who+x", "next.example", "Who+x@next.example= detail x next hop"},
		{"../x", "next.example", "../x@next.example= next hop"},
		{"list+x", "next.example", "one+x@next.example= detail x next hop, alice+x@example.com=alice detail x"},
		{"there", "example.com", "anyone@next.example= next hop, tagged+y@next.example= detail y next hop"},
		{"there+z", "example.com", "anyone+z@next.example= detail z next hop, tagged+y@next.example= detail y next hop"},
		{"postmaster", "next.example", "postmaster@next.example= next hop"},

		// the postmaster
		{"postmaster", "example.com", "alice@example.com=alice"},
		{"abuse", "example.com", "alice@example.com=alice"},
		{"Abuse+x", "example.com", "alice+x@example.com=alice detail x"},
		{"PostMaster", "plain.example", "PostMaster@plain.example=postmaster"},
		{"abuse", "plain.example", "postmaster@plain.example=postmaster"},
		{"postmaster", "example.org", "dave@example.org=dave, alice@example.com=alice"},
		{"abuse", "example.org", "dave@example.org=dave, alice@example.com=alice"},
		{"PostMaster", "", "dave@example.org=dave, alice@example.com=alice"},
		{"postmaster", "MX1.sub.example.org", "dave@example.org=dave, alice@example.com=alice"},
		{"postmaster", "other.example.org", "not served"},
		{"abuse", "", "not served"},
	}
	for _, tt := range tests {
		if got := r.Lookup(tt.local, tt.domain).describe(); got != tt.want {
			t.Errorf("%s@%s: got %q, want %q", tt.local, tt.domain, got, tt.want)
		}
	}
}

func TestPostmaster(t *testing.T) {
	a, b, c := "domain='a.example'\nmailboxes=[]", "domain='b.example'\nmailboxes=[]\nalias_domains=['deep.c.example']", "domain='c.example'\nmailboxes=[]"
	catchAll := "domain='a.example'\n[aliases]\n'*'=['x']\nx=['postmaster@b.example']"
	back := "domain='b.example'\n[aliases]\n'*'=['postmaster@a.example']"
	tests := []struct {
		name, hostname string
		maps           []string
		local, domain  string
		want           string
	}{
		{"first", "mx.other.example", []string{c, b, a}, "postmaster", "", "postmaster@a.example=postmaster"},
		{"no hostname", "", []string{c, b, a}, "postmaster", "", "postmaster@a.example=postmaster"},
		{"own", "C.example", []string{a, b, c}, "postmaster", "", "postmaster@c.example=postmaster"},
		{"parent", "mx.eu.c.example", []string{a, b, c}, "Postmaster", "", "Postmaster@c.example=postmaster"},
		{"nearest", "mx.deep.c.example", []string{a, b, c}, "postmaster", "", "postmaster@b.example=postmaster"},
		{"catch-all to itself", "", []string{"domain='a.example'\n[aliases]\n'*'=['postmaster']"}, "x", "a.example", "postmaster@a.example=postmaster"},
		{"postmaster and others", "", []string{"domain='a.example'\nmailboxes=['al']\n[aliases]\n'*'=['postmaster','al']"}, "postmaster", "a.example", "postmaster@a.example=postmaster"},
		{"catch-alls that lead to one another", "", []string{catchAll, back}, "postmaster", "b.example", "postmaster@b.example=postmaster"},
		{"the other side", "", []string{catchAll, back}, "postmaster", "a.example", "postmaster@b.example=postmaster"},
		{"refused abuse", "", []string{"domain='a.example'\nmailboxes=[]\n[refuse]\nabuse='no'"}, "abuse", "a.example", "refused no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := build(sources(tt.maps...), tt.hostname)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Lookup(tt.local, tt.domain).describe(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRecipients(t *testing.T) {
	r := recipients(t, nextExample, exampleCom, plainExample, exampleOrg)
	if got, want := r.Domains(), []string{"example.com", "example.org", "next.example", "plain.example"}; !slices.Equal(got, want) {
		t.Errorf("domains %q, not %q", got, want)
	}
	if got, want := r.Mailboxes(), 10; got != want { // 6 at example.com, 2 at example.org, a+b and its postmaster
		t.Errorf("%d mailboxes, not %d", got, want)
	}
	if again := recipients(t, nextExample, exampleCom, plainExample, exampleOrg); again.ID() != r.ID() {
		t.Errorf("the same maps are %s and %s", r.ID(), again.ID())
	}
	if other := recipients(t, nextExample, exampleCom+"#", plainExample, exampleOrg); other.ID() == r.ID() {
		t.Errorf("other maps are %s too", r.ID())
	}
}

// FuzzLookup asks for any address in any map that loads, and holds each member
// to what Member promises: looked up again, as the next hop does, it is found as
// that member and no other.
func FuzzLookup(f *testing.F) {
	f.Add(exampleCom, exampleOrg, "all+x", "example.net")
	f.Add(exampleOrg, nextExample, "there", "example.org")
	f.Add("domain='a'\ndelimiter='='\nmailboxes=['a=b']\n[aliases]\n'x=y'=['a']\na=['c','c=d']\nc=['p@b']\n'*'=['x']", "domain='b'\nmailboxes=['p']", "a=z", "A")
	f.Fuzz(func(t *testing.T, one, two, local, domain string) {
		r, err := build(sources(one, two, nextExample, "domain='example.com'\nmailboxes=['alice','bob','carol','dave']"), "mx.example.org")
		if err != nil {
			if r, err = build(sources(one, two), "mx.example.org"); err != nil {
				return
			}
		}
		result := r.Lookup(local, domain)
		if (result.Status == Known) != (len(result.Members) > 0) || (result.Status == Refused) != (result.Text != "") {
			t.Fatalf("%+v", result)
		}
		for i, m := range result.Members {
			if slices.Contains(result.Members[:i], m) {
				t.Errorf("%+v is there twice", m)
			}
			if !slices.Contains(r.Domains(), m.Domain) {
				t.Errorf("%+v is in no domain of ours", m)
			}
			if m.NextHop != (m.User == "") || strings.ContainsAny(m.User, "/\x00") || strings.HasPrefix(m.User, ".") {
				t.Errorf("%+v is no safe name", m)
			}
			again := r.Lookup(m.Local, m.Domain)
			if again.Status != Known || len(again.Members) != 1 || again.Members[0] != m {
				t.Errorf("%+v is, for the next hop, %+v", m, again)
			}
		}
		if upper := r.Lookup(local, strings.ToUpper(domain)); upper.Status != result.Status {
			t.Errorf("%q is %v, and in upper case %v", domain, result.Status, upper.Status)
		}
	})
}

func FuzzFold(f *testing.F) {
	f.Add("Alice+Tag")
	f.Add("ΣΑΣ straße İıſK e\u0301 Å ẞ ΐ")
	f.Fuzz(func(t *testing.T, s string) {
		once := foldLocal(nil, s)
		if twice := foldLocal(nil, string(once)); string(twice) != string(once) {
			t.Errorf("%q folds to %q, and that to %q", s, once, twice)
		}
		domain := foldDomain(nil, s)
		if again := foldDomain(nil, string(domain)); len(domain) > 0 && domain[len(domain)-1] != '.' && string(again) != string(domain) {
			t.Errorf("%q folds to %q, and that to %q", s, domain, again)
		}
		if checked, err := checkDomain(s); err == nil {
			if got := foldDomain(nil, s); string(got) != checked {
				t.Errorf("%q is called %q and looked up as %q", s, checked, got)
			}
			if strings.ContainsAny(checked, "/\x00") || strings.HasPrefix(checked, ".") || len(checked) > maxDomain {
				t.Errorf("%q is no safe name", checked)
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	r := recipients(b, exampleCom, exampleOrg, nextExample)
	for _, address := range []string{"alice@example.com", "Alice+Tag@example.com", "team@example.net", "team+tag@example.com", "nobody@example.com", "josé@bücher.example", "x@example.edu"} {
		b.Run(address, func(b *testing.B) {
			b.ReportAllocs()
			local, domain, _ := strings.Cut(address, "@")
			for b.Loop() {
				r.Lookup(local, domain)
			}
		})
	}
}

// A small map cannot have each of many aliases be one for all.
func TestManyLargeAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("domain = 'a.example'\nmailboxes = ['postmaster'")
	for i := range maxMembers - 1 {
		fmt.Fprintf(&b, ", 'u%d'", i)
	}
	b.WriteString("]\n[aliases]\nall = ['postmaster'")
	for i := range maxMembers - 1 {
		fmt.Fprintf(&b, ", 'u%d'", i)
	}
	b.WriteString("]\n")
	with := func(many int) string {
		s := b.String()
		for i := range many {
			s += fmt.Sprintf("x%d = ['all']\n", i)
		}
		return s
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "a.toml")
	write(t, name, with(90))
	if _, err := LoadRecipients(dir, ""); err != nil {
		t.Errorf("90 names for 10,000 mailboxes: %v", err)
	}
	write(t, name, with(20_000))
	_, err := LoadRecipients(dir, "")
	var ms Mistakes
	if !errors.As(err, &ms) || len(ms) != 1 || ms[0].Line == 0 || !strings.Contains(ms[0].Message, "1000000 mailboxes") {
		t.Errorf("20,000 names for 10,000 mailboxes: %.200v", err)
	}
}
